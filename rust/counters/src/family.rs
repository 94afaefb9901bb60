//! What is measured: families, declared by the caller as constants.

use std::collections::HashSet;
use std::io;

use crate::layout::{Kind, Shape};

/// The most finite buckets a histogram may have.
const MAX_BUCKETS: usize = 64;

/// Lookups that got no series of their own: the file was full, or the family was not declared as it
/// was used. Rendered with every page; anything but 0 deserves a look.
pub const OVERFLOW: Family = Family {
    name: "counters_overflow_total",
    help: "Lookups of a series for which there was no room, counted in the family's overflow series",
    kind: FamilyKind::Counter,
};

/// A named group of series of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// The metric name, `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub name: &'static str,
    /// One sentence for the `HELP` line.
    pub help: &'static str,
    /// How its series count and how they are merged over the workers.
    pub kind: FamilyKind,
}

/// How the series of a family count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FamilyKind {
    /// Only grows; the sum over all workers, dead ones included.
    Counter,
    /// Goes up and down; the sum over the workers that are alive.
    Gauge,
    /// The value with the newest stamp over all workers; rendered as a gauge.
    Latest,
    /// Seconds, in buckets with these upper bounds: finite, ascending, at most 64; `+Inf` is implied.
    Histogram(&'static [f64]),
}

impl FamilyKind {
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Counter => Shape {
                kind: Kind::Counter,
                cells: 1,
            },
            Self::Gauge => Shape {
                kind: Kind::Gauge,
                cells: 1,
            },
            Self::Latest => Shape {
                kind: Kind::Latest,
                cells: 3,
            },
            Self::Histogram(bounds) => Shape {
                kind: Kind::Histogram,
                cells: bounds.len() + 2,
            },
        }
    }

    pub(crate) const fn type_word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Latest => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Refuses a declaration that could not be rendered as a valid page.
pub(crate) fn check(families: &[&Family]) -> io::Result<()> {
    let mut names = HashSet::from([OVERFLOW.name]);
    for family in families {
        if !is_metric_name(family.name) {
            return Err(invalid(
                family,
                "its name must match [a-zA-Z_:][a-zA-Z0-9_:]*",
            ));
        }
        if !names.insert(family.name) {
            return Err(invalid(family, "it is declared twice"));
        }
        if let FamilyKind::Histogram(bounds) = family.kind
            && (bounds.len() > MAX_BUCKETS
                || !bounds.iter().all(|bound| bound.is_finite())
                || !bounds.is_sorted_by(|left, right| left < right))
        {
            return Err(invalid(
                family,
                "its bounds must be finite, ascending and at most 64",
            ));
        }
    }
    Ok(())
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

fn invalid(family: &Family, reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("metric family {}: {reason}", family.name),
    )
}

#[cfg(test)]
mod tests {
    use super::{Family, FamilyKind, OVERFLOW, check};

    const GOOD: Family = Family {
        name: "good_total",
        help: "",
        kind: FamilyKind::Counter,
    };

    #[test]
    fn refuses_what_would_not_render_as_a_valid_page() {
        let with_kind = |kind| Family { kind, ..GOOD };
        assert!(check(&[&GOOD]).is_ok());
        assert!(check(&[&GOOD, &GOOD]).is_err());
        assert!(check(&[&OVERFLOW]).is_err());
        for name in ["", "1st", "a-b", "a b", "ä"] {
            assert!(check(&[&Family { name, ..GOOD }]).is_err(), "{name:?}");
        }
        for bounds in [
            &[1.0, 1.0][..],
            &[2.0, 1.0],
            &[f64::INFINITY],
            &[f64::NAN],
            &[0.0; 65],
        ] {
            assert!(
                check(&[&with_kind(FamilyKind::Histogram(bounds))]).is_err(),
                "{bounds:?}"
            );
        }
    }
}
