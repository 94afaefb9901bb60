//! Windows of a tier: how much of what may be used in how long.

/// What a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Requests to a model.
    Requests,
    /// Turns that a person typed: requests whose last message is no tool's result.
    Prompts,
    /// Input and output, cache reads weighted.
    Tokens,
    /// Requests in flight at once. Has no period: a place is free again when its request ends.
    Concurrent,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 4] = [
        Self::Requests,
        Self::Prompts,
        Self::Tokens,
        Self::Concurrent,
    ];

    /// The word for the configuration and `/quota`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Prompts => "prompts",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
        }
    }

    /// The unit that a word stands for, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == word)
    }
}

/// How long a window lasts, by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// A minute of the clock.
    Minute,
    /// An hour of the clock.
    Hour,
    /// From midnight to midnight of the calendar's time zone.
    Day,
    /// From Monday's midnight to the next (ISO 8601).
    Week,
    /// From the first's midnight to the next first's.
    Month,
}

impl Period {
    /// Every period, the shortest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word for the configuration and `/quota`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The period that a word stands for, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == word)
    }
}

/// At most `limit` of `unit` in each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// What is counted.
    pub unit: Unit,
    /// How long it is counted for; none for [`Unit::Concurrent`], and only for that.
    pub period: Option<Period>,
    /// How much is allowed; none means unlimited.
    pub limit: Option<u64>,
}

impl Window {
    /// The window of these words; `None` if one of them is none, or they do not go together.
    pub fn parse(unit: &str, period: Option<&str>, limit: Option<u64>) -> Option<Self> {
        let unit = Unit::parse(unit)?;
        let period = period.map(Period::parse);
        let period = match (unit, period) {
            (Unit::Concurrent, None) => None,
            (Unit::Concurrent, Some(_)) | (_, None | Some(None)) => return None,
            (_, Some(period)) => period,
        };
        Some(Self {
            unit,
            period,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_for_what_it_names() {
        for unit in Unit::ALL {
            assert_eq!(Unit::parse(unit.as_str()), Some(unit));
        }
        for period in Period::ALL {
            assert_eq!(Period::parse(period.as_str()), Some(period));
        }
        assert_eq!(Unit::parse("Requests"), None);
        assert_eq!(Period::parse(""), None);
    }

    #[test]
    fn only_places_among_concurrent_requests_have_no_period() {
        assert!(Window::parse("concurrent", None, Some(8)).is_some());
        assert!(Window::parse("concurrent", Some("day"), Some(8)).is_none());
        assert!(Window::parse("tokens", None, Some(8)).is_none());
        assert!(Window::parse("tokens", Some("fortnight"), Some(8)).is_none());
        let daily = Window::parse("requests", Some("day"), None).unwrap();
        assert_eq!(
            (daily.unit, daily.period),
            (Unit::Requests, Some(Period::Day))
        );
    }
}
