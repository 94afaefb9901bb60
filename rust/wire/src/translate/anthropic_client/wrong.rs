//! What is wrong with a request, and where in it.

use std::fmt::Display;

use fault::{Fault, Kind};

/// A mistake in a request; its place grows outwards while it is handed up.
#[derive(Debug)]
pub(super) struct Wrong {
    place: String,
    says: String,
}

impl Wrong {
    /// A mistake of the value that is being read.
    pub(super) fn new(says: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            says: says.into(),
        }
    }

    /// The same, of the member or element `place` of the value that is being read.
    pub(super) fn at(self, place: impl Display) -> Self {
        Self {
            place: format!(".{place}{}", self.place),
            ..self
        }
    }

    /// The refusal, `messages.3.content.1.source: …`, of a mistake in the request's `member`.
    pub(super) fn fault(self, member: &'static str) -> Fault {
        let message = format!("{member}{}: {}", self.place, self.says);
        Fault::new(Kind::InvalidRequest, message).with_param(member)
    }
}

/// Says where a value was read that may be wrong.
pub(super) trait At {
    /// The same result, of the member or element `place`.
    fn at(self, place: impl Display) -> Self;
}

impl<T> At for Result<T, Wrong> {
    fn at(self, place: impl Display) -> Self {
        self.map_err(|wrong| wrong.at(place))
    }
}
