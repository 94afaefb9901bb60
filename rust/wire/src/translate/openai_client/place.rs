//! Where something stands in a request, and how it is read there.

use std::borrow::Cow;
use std::fmt;

use fault::{Fault, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json;

/// A place in the request, as a client is told it: `messages.3.content.1.image_url`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// A member of the request itself.
    Top(&'static str),
    /// A member of the object at a place.
    Member(&'a Place<'a>, &'static str),
    /// An element of the list at a place.
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(super) fn member(&self, name: &'static str) -> Place<'_> {
        Place::Member(self, name)
    }

    pub(super) fn item(&self, index: usize) -> Place<'_> {
        Place::Item(self, index)
    }

    /// The fault that `problem` is at this place; `problem` goes on after its name.
    pub(super) fn refuse(&self, problem: impl fmt::Display) -> Fault {
        let message = format!("`{self}` {problem}");
        Fault::new(Kind::InvalidRequest, message).with_param(self.top())
    }

    /// The text that stands here; `None` if nothing does.
    pub(super) fn text<'r>(
        &self,
        raw: Option<&'r RawValue>,
    ) -> Result<Option<Cow<'r, str>>, Fault> {
        let text = |raw| json::text(raw).ok_or_else(|| self.refuse("must be a string"));
        raw.map(text).transpose()
    }

    /// The text that has to stand here.
    pub(super) fn some_text<'r>(&self, raw: Option<&'r RawValue>) -> Result<Cow<'r, str>, Fault> {
        self.text(raw)?
            .ok_or_else(|| self.refuse("must be a string"))
    }

    /// The object that has to stand here.
    pub(super) fn object<'r, T: Deserialize<'r>>(
        &self,
        raw: Option<&'r RawValue>,
    ) -> Result<T, Fault> {
        // A derived reader would also take a list, by position.
        let json = raw.map(RawValue::get).filter(|json| json.starts_with('{'));
        let json = json.ok_or_else(|| self.refuse("must be an object"))?;
        serde_json::from_str(json)
            .map_err(|_| self.refuse("must be an object with each member once"))
    }

    /// The list that stands here; empty if nothing does.
    pub(super) fn list<'r>(&self, raw: Option<&'r RawValue>) -> Result<Vec<&'r RawValue>, Fault> {
        raw.map_or(Ok(Vec::new()), |raw| {
            json::list(raw).ok_or_else(|| self.refuse("must be a list"))
        })
    }

    /// Whether `true` stands here.
    pub(super) fn flag(&self, raw: Option<&RawValue>) -> Result<Option<bool>, Fault> {
        match raw.map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.refuse("must be true or false")),
        }
    }

    fn top(&self) -> &'static str {
        match self {
            Self::Top(name) => name,
            Self::Member(place, _) | Self::Item(place, _) => place.top(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(name) => formatter.write_str(name),
            Self::Member(place, name) => write!(formatter, "{place}.{name}"),
            Self::Item(place, index) => write!(formatter, "{place}.{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::Place;

    #[derive(Debug, Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_fault_names_the_place_and_the_member_at_the_top() {
        let top = Place::Top("messages");
        let fault = top.item(3).member("role").refuse("must be a string");
        assert_eq!(fault.message, "`messages.3.role` must be a string");
        assert_eq!(fault.param, Some("messages"));
    }

    #[test]
    fn an_object_is_no_list_and_has_each_member_once() {
        let place = Place::Top("tools");
        let part: Part<'_> = place.object(Some(raw(r#"{"text":1,"other":2}"#))).unwrap();
        assert_eq!(part.text.map(RawValue::get), Some("1"));
        for json in ["[1]", "1", "null", r#"{"text":1,"text":2}"#] {
            assert!(place.object::<Part<'_>>(Some(raw(json))).is_err(), "{json}");
        }
        assert!(place.object::<Part<'_>>(None).is_err());
    }
}
