//! The arguments of a tool call: text that should be a JSON object.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::json;
use super::completion::Why;

const NOT_JSON: Why = "upstream sent tool arguments that are not JSON";
const SPACE: [char; 4] = [' ', '\n', '\r', '\t'];

/// The object that `text` is: nothing is an empty one, and JSON inside a JSON string is read once
/// more.
pub(super) fn object(text: &str) -> Option<Cow<'_, str>> {
    plain_object(text).or_else(|| {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let inner = json::text(raw)?;
        plain_object(&inner).map(|object| Cow::Owned(object.into_owned()))
    })
}

fn plain_object(text: &str) -> Option<Cow<'_, str>> {
    match text.trim_matches(SPACE) {
        "" => Some(Cow::Borrowed("{}")),
        text if text.starts_with('{') => serde_json::from_str(text).ok().map(json::compact),
        _ => None,
    }
}

/// An object for arguments that are none: no schema of a tool accepts it, and the model sees what
/// it did.
pub(super) fn malformed(text: &str) -> String {
    // Writing a string into a string has no way to fail.
    let text = serde_json::to_string(text).unwrap_or_default();
    format!(r#"{{"_malformed_arguments":{text}}}"#)
}

/// The arguments of one call as they come in.
///
/// An object is passed on while it grows. What does not begin as one is kept, so that it can be
/// mended as a whole.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    text: String,
    sent_bytes: usize,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Blank,
    Growing(Depth),
    Whole,
    Other,
}

/// How deep in an object the next byte is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Depth {
    open: usize,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// Whether `byte` ends the object.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.open += 1,
            b'}' | b']' => {
                self.open -= 1;
                return self.open == 0;
            }
            _ => {}
        }
        false
    }
}

impl Arguments {
    /// Adds a piece.
    ///
    /// # Errors
    ///
    /// If an object has ended that is not JSON, or is followed by more than the brackets that
    /// streaming parsers are known to repeat.
    pub(super) fn push(&mut self, piece: &str) -> Result<(), Why> {
        let before_bytes = self.text.len();
        self.text.push_str(piece);
        let end = piece.bytes().position(|byte| self.ends_with(byte));
        if self.state != State::Whole {
            return Ok(());
        }
        let end_bytes = end.map_or(before_bytes, |at| before_bytes + at + 1);
        let rest = self.text.split_off(end_bytes);
        let noise = rest
            .trim_matches([' ', '\n', '\r', '\t', '}', ']', '"'])
            .is_empty();
        let whole = end.is_none() || serde_json::from_str::<IgnoredAny>(&self.text).is_ok();
        if whole && noise {
            Ok(())
        } else {
            Err(NOT_JSON)
        }
    }

    fn ends_with(&mut self, byte: u8) -> bool {
        match &mut self.state {
            State::Blank if b" \n\r\t".contains(&byte) => {}
            State::Blank if byte == b'{' => {
                self.state = State::Growing(Depth {
                    open: 1,
                    ..Depth::default()
                });
            }
            State::Blank => self.state = State::Other,
            State::Growing(depth) => {
                if depth.ends_with(byte) {
                    self.state = State::Whole;
                    return true;
                }
            }
            State::Whole | State::Other => {}
        }
        false
    }

    /// Whether the object is there: nothing can be added to it.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Whether there are none.
    pub(super) fn is_blank(&self) -> bool {
        self.state == State::Blank
    }

    /// What may be passed on and was not yet.
    pub(super) fn take(&mut self) -> &str {
        if !matches!(self.state, State::Growing(_) | State::Whole) {
            return "";
        }
        let start_bytes = std::mem::replace(&mut self.sent_bytes, self.text.len());
        self.text.get(start_bytes..).unwrap_or_default()
    }

    /// What is still owed when nothing more will come.
    ///
    /// # Errors
    ///
    /// If half an object was passed on, unless the answer says itself that it was `cut`.
    pub(super) fn owed(&self, cut: bool) -> Result<Cow<'_, str>, Why> {
        match self.state {
            State::Growing(_) if !cut => Err(NOT_JSON),
            State::Blank | State::Growing(_) | State::Whole => Ok(Cow::Borrowed("")),
            State::Other => Ok(object(&self.text).unwrap_or_else(|| malformed(&self.text).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, NOT_JSON, malformed, object};

    #[test]
    fn an_object_is_read_once_more_from_a_string_and_never_guessed() {
        for (text, expected) in [
            ("", Some("{}")),
            (" \n", Some("{}")),
            (
                r#" {"a" : [1.0, 12345678901234567890]} "#,
                Some(r#"{"a":[1.0,12345678901234567890]}"#),
            ),
            (r#""{\"a\": 1}""#, Some(r#"{"a":1}"#)),
            (r#""""#, Some("{}")),
            (r#""\"{}\"""#, None),
            (r#""%""#, None),
            (r#"{"a":1}}"#, None),
            (r#"{"a":"#, None),
            ("[1]", None),
            ("null", None),
            ("ls -l", None),
        ] {
            assert_eq!(object(text).as_deref(), expected, "{text}");
        }
        assert_eq!(
            malformed("say \"no\"\n"),
            r#"{"_malformed_arguments":"say \"no\"\n"}"#
        );
    }

    /// What is passed on of `pieces`, and what is owed at the end.
    fn passed(pieces: &[&str], cut: bool) -> (Vec<String>, Result<String, &'static str>) {
        let mut arguments = Arguments::default();
        let mut taken = Vec::new();
        for piece in pieces {
            if let Err(why) = arguments.push(piece) {
                return (taken, Err(why));
            }
            taken.push(arguments.take().to_owned());
        }
        (taken, arguments.owed(cut).map(Into::into))
    }

    #[test]
    fn an_object_is_passed_on_as_it_grows() {
        for (pieces, taken) in [
            (
                &["{\"a\"", ":\"}\\\"", "]\"}"][..],
                &["{\"a\"", ":\"}\\\"", "]\"}"][..],
            ),
            (&[" ", "{", "}"], &["", " {", "}"]),
            (&["{}", "\n", "}", "]\"}"], &["{}", "", "", ""]),
            (&["{}}\n"], &["{}"]),
            (&["", ""], &["", ""]),
        ] {
            let (got, owed) = passed(pieces, false);
            assert_eq!(got, taken, "{pieces:?}");
            assert_eq!(owed, Ok(String::new()), "{pieces:?}");
        }
    }

    #[test]
    fn what_is_no_object_is_kept_and_mended_at_the_end() {
        for (pieces, owed) in [
            (&["\"{\\\"a\\\"", ": 1}\""][..], r#"{"a":1}"#),
            (&["ls ", "-l"], r#"{"_malformed_arguments":"ls -l"}"#),
            (&["[{}", "]"], r#"{"_malformed_arguments":"[{}]"}"#),
        ] {
            let (got, end) = passed(pieces, false);
            assert!(got.iter().all(String::is_empty));
            assert_eq!(end.as_deref(), Ok(owed));
        }
    }

    #[test]
    fn half_an_object_is_an_error_unless_the_answer_was_cut() {
        assert_eq!(passed(&["{\"a\":"], false).1, Err(NOT_JSON));
        assert_eq!(passed(&["{\"a\":"], true).1, Ok(String::new()));
    }

    #[test]
    fn an_object_that_is_not_json_or_is_not_alone_is_an_error() {
        for pieces in [
            &["{\"a\": }"][..],
            &["{\"a\":[}}"],
            &["{]"],
            &["{}{}"],
            &["{\"a\":1}", "{\"b\":2}"],
            &["{\"a\":1}", "x"],
        ] {
            assert_eq!(passed(pieces, true).1, Err(NOT_JSON), "{pieces:?}");
        }
    }
}
