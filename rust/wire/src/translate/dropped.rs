//! The members of a request that were left out on the way, for the header `x-gateway-dropped` and a
//! metric.

use std::borrow::Cow;

/// The most names that are told; a header has to stay small.
const NAMES: usize = 16;
const NAME_BYTES: usize = 64;

/// What was left out, each name once and in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped(Vec<Cow<'static, str>>);

impl Dropped {
    /// Notes a member by the name that the client gave it.
    pub fn note(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        let plain = (1..=NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b',');
        let name = if plain { name } else { Cow::Borrowed("other") };
        if self.0.len() < NAMES && !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The value of the header; `None` if nothing was left out.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Dropped;

    #[test]
    fn each_name_once_and_none_that_breaks_a_header() {
        let mut dropped = Dropped::default();
        assert_eq!(dropped.header(), None);
        for name in [
            "top_k",
            "temperature>1",
            "top_k",
            "a,b",
            "",
            "line\r\nbreak",
        ] {
            dropped.note(name);
        }
        assert_eq!(dropped.header().unwrap(), "top_k, temperature>1, other");
    }

    #[test]
    fn a_flood_of_names_is_cut() {
        let mut dropped = Dropped::default();
        for number in 0..1000 {
            dropped.note(format!("member_{number}"));
        }
        assert_eq!(dropped.names().count(), 16);
    }
}
