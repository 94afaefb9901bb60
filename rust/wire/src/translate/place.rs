//! What is wrong with a request and where in it, and how the values that may be wrong are read.

use std::borrow::Cow;
use std::fmt::Display;

use fault::{Fault, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;

/// A member that may be missing; `null` is the same to both APIs.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// A mistake in a request; its place grows outwards while it is handed up.
#[derive(Debug)]
pub(super) struct Wrong {
    place: String,
    says: String,
}

impl Wrong {
    /// A mistake of the value that is being read; `says` goes on after the name of its place.
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

    /// The refusal of a mistake in the request's `member`: `` `messages.3.role` must be … ``
    pub(super) fn fault(self, member: &'static str) -> Fault {
        let message = format!("`{member}{}` {}", self.place, self.says);
        Fault::new(Kind::InvalidRequest, message).with_param(member)
    }
}

/// Says where a value was read that may be wrong.
pub(super) trait At<T> {
    /// The same result, of the member or element `place`.
    fn at(self, place: impl Display) -> Result<T, Wrong>;

    /// The same result, of the request's `member`.
    fn fault(self, member: &'static str) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Wrong> {
    fn at(self, place: impl Display) -> Self {
        self.map_err(|wrong| wrong.at(place))
    }

    fn fault(self, member: &'static str) -> Result<T, Fault> {
        self.map_err(|wrong| wrong.fault(member))
    }
}

/// A string that has to be there.
pub(super) fn text(raw: Raw<'_>) -> Result<Cow<'_, str>, Wrong> {
    raw.and_then(json::text)
        .ok_or_else(|| Wrong::new("must be a string"))
}

/// A string that may be there.
pub(super) fn optional_text(raw: Raw<'_>) -> Result<Option<Cow<'_, str>>, Wrong> {
    raw.map(|raw| text(Some(raw))).transpose()
}

/// A flag that may be there.
pub(super) fn flag(raw: Raw<'_>) -> Result<Option<bool>, Wrong> {
    match raw.map(RawValue::get) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Wrong::new("must be true or false")),
    }
}

/// The elements of a list; none if it is not there.
pub(super) fn list(raw: Raw<'_>) -> Result<Vec<&RawValue>, Wrong> {
    raw.map_or(Ok(Vec::new()), |raw| {
        json::list(raw).ok_or_else(|| Wrong::new("must be a list"))
    })
}

/// The members of an object that has to be there.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: Raw<'a>) -> Result<T, Wrong> {
    // A derived reader would also take a list, by position.
    let json = raw.map(RawValue::get).filter(|json| json.starts_with('{'));
    let json = json.ok_or_else(|| Wrong::new("must be an object"))?;
    serde_json::from_str(json)
        .map_err(|_| Wrong::new("must be an object that names no member twice"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::{At, Raw, Wrong, object};

    #[derive(Debug, Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Raw<'a>,
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_fault_names_the_place_and_the_member_at_the_top() {
        let wrong: Result<(), _> = Err(Wrong::new("must be a string"));
        let fault = wrong.at("role").at(3).fault("messages").unwrap_err();
        assert_eq!(fault.message, "`messages.3.role` must be a string");
        assert_eq!(fault.param, Some("messages"));
    }

    #[test]
    fn an_object_is_no_list_and_has_each_member_once() {
        let part: Part<'_> = object(Some(raw(r#"{"text":1,"other":2}"#))).unwrap();
        assert_eq!(part.text.map(RawValue::get), Some("1"));
        for json in ["[1]", "1", r#"{"text":1,"text":2}"#] {
            assert!(object::<Part<'_>>(Some(raw(json))).is_err(), "{json}");
        }
        assert!(object::<Part<'_>>(None).is_err());
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let part: Part<'_> = object(Some(raw(r#"{"text":null}"#))).unwrap();
        assert!(part.text.is_none());
    }
}
