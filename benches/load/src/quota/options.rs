//! The command line.

pub(crate) const USAGE: &str = "usage: load-quota --url redis://... --users N [--from N] [--windows 1-6] [--calls N [--settled]]\n\
    one request for each user from --from on, or --calls requests with their settlements for any of them;\n\
    --settled: requests that are settled as they are reserved\n";

/// A tier that has more is rare.
pub(crate) const MOST_WINDOWS: usize = 6;

/// Everything a run needs to know.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) users: u64,
    pub(crate) from: u64,
    pub(crate) windows: usize,
    pub(crate) calls: Option<u64>,
    pub(crate) settled: bool,
}

impl Options {
    /// The options on a command line.
    pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut options = Self {
            url: String::new(),
            users: 0,
            from: 0,
            windows: 1,
            calls: None,
            settled: false,
        };
        while let Some(argument) = arguments.next()? {
            let Long(name) = argument else {
                return Err(argument.unexpected());
            };
            match name {
                "url" => options.url = arguments.value()?.string()?,
                "users" => options.users = arguments.value()?.parse()?,
                "from" => options.from = arguments.value()?.parse()?,
                "windows" => options.windows = arguments.value()?.parse()?,
                "settled" => options.settled = true,
                "calls" => options.calls = Some(arguments.value()?.parse()?),
                _ => return Err(argument.unexpected()),
            }
        }
        if options.url.is_empty() || options.users <= options.from {
            return Err("--url and --users, more of them than --from, are needed".into());
        }
        if !(1..=MOST_WINDOWS).contains(&options.windows) {
            return Err(format!("--windows must be 1 to {MOST_WINDOWS}").into());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, lexopt::Error> {
        Options::parse(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn refuses_runs_without_users_or_with_windows_that_no_tier_has() {
        assert!(parse(&["--url", "redis://h", "--users", "5", "--windows", "6"]).is_ok());
        assert!(parse(&["--url", "redis://h", "--users", "5", "--windows", "7"]).is_err());
        assert!(parse(&["--url", "redis://h", "--users", "5", "--from", "5"]).is_err());
        assert!(parse(&["--users", "5"]).is_err());
    }
}
