//! The command line.

use std::io;
use std::net::SocketAddr;

use load::message::invalid;
use load::script::Script;

pub(crate) const USAGE: &str = "usage: load-client --url URL [--token T] [--mode stream|request] [--connections N] \
    [--duration-s S | --count N] [--events E] [--pause-us P] [--text-bytes N] [--body-bytes B] [--model M] \
    [--header 'name: value']...\n";

/// No run is longer, whatever was asked for.
const LONGEST_S: f64 = 105.0;

/// What answers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Server-sent events.
    Stream,
    /// One JSON document.
    Request,
}

/// `http://host:port/path`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Target {
    fn parse(url: &str) -> io::Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| invalid("--url must begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.len() > 1 { path } else { "/v1/messages" };
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The address to connect to, looked up once.
    pub(crate) async fn resolve(&self) -> io::Result<SocketAddr> {
        let named = if self.authority.contains(':') {
            self.authority.clone()
        } else {
            format!("{}:80", self.authority)
        };
        tokio::net::lookup_host(named)
            .await?
            .next()
            .ok_or_else(|| invalid("--url: no such host"))
    }
}

/// Everything a run needs to know.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) token: String,
    pub(crate) mode: Mode,
    pub(crate) connections: u32,
    pub(crate) duration_s: f64,
    /// Exchanges of all connections together, where time is not the limit.
    pub(crate) count: Option<u64>,
    pub(crate) script: Script,
    pub(crate) body_bytes: usize,
    pub(crate) model: String,
    pub(crate) headers: Vec<String>,
}

impl Options {
    /// The options on a command line.
    pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut url = None;
        let mut options = Self {
            target: Target {
                authority: String::new(),
                path: String::new(),
            },
            token: "none".to_owned(),
            mode: Mode::Stream,
            connections: 1,
            duration_s: 5.0,
            count: None,
            script: Script {
                events: 200,
                ..Script::default()
            },
            body_bytes: 1024,
            model: "bench".to_owned(),
            headers: Vec::new(),
        };
        while let Some(argument) = arguments.next()? {
            let Long(name) = argument else {
                return Err(argument.unexpected());
            };
            match name {
                "url" => url = Some(arguments.value()?.string()?),
                "token" => options.token = arguments.value()?.string()?,
                "mode" => options.mode = arguments.value()?.parse_with(mode)?,
                "connections" => options.connections = arguments.value()?.parse()?,
                "duration-s" => options.duration_s = arguments.value()?.parse()?,
                "count" => options.count = Some(arguments.value()?.parse()?),
                "events" => options.script.events = arguments.value()?.parse()?,
                "pause-us" => options.script.pause_us = arguments.value()?.parse()?,
                "text-bytes" => options.script.text_bytes = arguments.value()?.parse()?,
                "body-bytes" => options.body_bytes = arguments.value()?.parse()?,
                "model" => options.model = arguments.value()?.string()?,
                "header" => options.headers.push(arguments.value()?.string()?),
                _ => return Err(argument.unexpected()),
            }
        }
        options.target =
            Target::parse(&url.ok_or("--url is missing")?).map_err(|e| e.to_string())?;
        options.checked()
    }

    fn checked(mut self) -> Result<Self, lexopt::Error> {
        if !(1..=10_000).contains(&self.connections) {
            return Err("--connections must be 1 to 10000".into());
        }
        if self.count.is_some() {
            self.duration_s = LONGEST_S;
        }
        if !(0.0..=LONGEST_S).contains(&self.duration_s) {
            return Err(format!("--duration-s must be 0 to {LONGEST_S}").into());
        }
        Ok(self)
    }
}

fn mode(word: &str) -> Result<Mode, &'static str> {
    match word {
        "stream" => Ok(Mode::Stream),
        "request" => Ok(Mode::Request),
        _ => Err("must be stream or request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, lexopt::Error> {
        Options::parse(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn a_url_without_path_means_messages() {
        let options = parse(&["--url", "http://localhost:80"]).unwrap();
        assert_eq!(options.target.path, "/v1/messages");
        let options = parse(&["--url", "http://localhost:80/x/v1/messages"]).unwrap();
        assert_eq!(options.target.path, "/x/v1/messages");
        assert_eq!(options.target.authority, "localhost:80");
    }

    #[test]
    fn refuses_runs_without_bound() {
        assert!(parse(&["--url", "http://h", "--duration-s", "600"]).is_err());
        assert!(parse(&["--url", "http://h", "--duration-s", "NaN"]).is_err());
        assert!(parse(&["--url", "http://h", "--connections", "0"]).is_err());
        assert!(parse(&["--connections", "1"]).is_err());
    }
}
