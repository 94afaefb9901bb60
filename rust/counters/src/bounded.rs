//! A bound on how many values a label takes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::series;

/// Admits the first `cap` distinct values of a label; all later ones are `other`.
///
/// For labels whose values come from clients. Each process admits on its own.
#[derive(Debug)]
pub struct Bounded {
    cap: usize,
    admitted: Mutex<HashSet<Box<str>>>,
}

impl Bounded {
    /// The value all values beyond the bound are counted under.
    pub const OTHER: &'static str = "other";

    /// Room for `cap` values beside [`Self::OTHER`].
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            admitted: Mutex::default(),
        }
    }

    /// Returns `value` as the label takes it, or [`Self::OTHER`] when there is no room for one more.
    pub fn admit<'value>(&self, value: &'value str) -> &'value str {
        let value = series::cut(value);
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.contains(value) {
            return value;
        }
        if admitted.len() >= self.cap {
            return Self::OTHER;
        }
        admitted.insert(value.into());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn a_million_values_take_no_more_room_than_the_bound() {
        let bounded = Bounded::new(2);
        assert_eq!(bounded.admit("a"), "a");
        assert_eq!(bounded.admit("b"), "b");
        assert!((0..1_000_000).all(|n| bounded.admit(&n.to_string()) == Bounded::OTHER));
        assert_eq!(bounded.admit("a"), "a");
        assert_eq!(bounded.admitted.lock().unwrap().len(), 2);
    }
}
