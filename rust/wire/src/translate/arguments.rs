//! A tool call's arguments, which are JSON in a string, and the input they become, which is an
//! object.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::json;
use crate::scan::Members;

/// The input of a tool call: an object, whatever the arguments are.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Input<'a> {
    /// The object as it stands in the body.
    Given(&'a RawValue),
    /// The object as it stood in a string.
    Read(Box<RawValue>),
    /// What is no object: no schema of a tool accepts it, and the model sees what it wrote.
    Malformed {
        #[serde(rename = "_malformed_arguments")]
        text: Cow<'a, str>,
    },
    /// There were none.
    Empty {},
}

impl<'a> Input<'a> {
    /// The input that `arguments`, as they stand in a body, become.
    pub(super) fn given(arguments: Option<&'a RawValue>) -> Self {
        let Some(raw) = arguments else {
            return Self::Empty {};
        };
        match json::text(raw) {
            Some(text) => Self::of(text),
            // Some clients send the object itself.
            None if is_object(raw.get()) => Self::Given(raw),
            None => Self::Malformed {
                text: raw.get().into(),
            },
        }
    }

    /// The input that the arguments `text` become.
    pub(super) fn of(text: Cow<'a, str>) -> Self {
        read(&text)
            // Some models write the JSON text as a JSON string once more.
            .or_else(|| read(&json::text(serde_json::from_str(&text).ok()?)?))
            .unwrap_or(Self::Malformed { text })
    }
}

/// The input that `text` is, if it is one.
fn read(text: &str) -> Option<Input<'static>> {
    if text.trim().is_empty() {
        return Some(Input::Empty {});
    }
    let object: &RawValue = serde_json::from_str(text).ok()?;
    is_object(text).then(|| Input::Read(object.to_owned()))
}

/// Whether `text` is an object that nests no deeper than a request may: what goes on would come
/// back with the next one.
pub(super) fn is_object(text: &str) -> bool {
    let Ok(mut members) = Members::of(text.as_bytes()) else {
        return false;
    };
    loop {
        match members.next() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::Input;

    fn input(arguments: &str) -> String {
        let raw: &RawValue = serde_json::from_str(arguments).unwrap();
        serde_json::to_string(&Input::given(Some(raw))).unwrap()
    }

    /// The input that `text`, in a JSON string, becomes.
    fn read(text: &str) -> String {
        input(&serde_json::to_string(text).unwrap())
    }

    fn malformed(text: &str) -> String {
        serde_json::json!({ "_malformed_arguments": text }).to_string()
    }

    #[test]
    fn an_object_keeps_its_order_and_every_digit() {
        let object = r#"{"z":12345678901234567890,"a":1.0,"a":{"b":["\ud800"]}}"#;
        assert_eq!(read(object), object);
        assert_eq!(read(&format!(" {object}\n")), object);
        assert_eq!(input(object), object);
        assert_eq!(read(&serde_json::to_string(object).unwrap()), object);
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        for nothing in ["", " \n", r#""""#] {
            assert_eq!(read(nothing), "{}");
        }
        assert_eq!(serde_json::to_string(&Input::given(None)).unwrap(), "{}");
    }

    #[test]
    fn what_is_no_object_is_shown_to_the_model() {
        let twice = serde_json::to_string("[1]").unwrap();
        for text in [r#"{"path": "/etc"#, "[1]", "null", "7", "ls -l", &twice] {
            assert_eq!(read(text), malformed(text));
        }
        assert_eq!(input("[1, 2]"), malformed("[1, 2]"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
        assert_eq!(read(&deep(100)), deep(100));
        assert_eq!(read(&deep(100_000)), malformed(&deep(100_000)));
    }

    proptest! {
        #[test]
        fn any_arguments_give_an_object(text in ".*|[{}\\[\\]\":,0-9a\\\\ ]{0,20}") {
            let value: serde_json::Value = serde_json::from_str(&read(&text)).unwrap();
            prop_assert!(value.is_object());
        }
    }
}
