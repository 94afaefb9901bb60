//! The arguments of a tool call in a stream: text that should become a JSON object.

use super::super::arguments::{Input, is_object};
use super::completion::Why;

const NOT_JSON: Why = "upstream sent tool arguments that are not JSON";

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
        let whole = end.is_none() || is_object(&self.text);
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
    pub(super) fn owed(&self, cut: bool) -> Result<String, Why> {
        match self.state {
            State::Growing(_) if !cut => Err(NOT_JSON),
            State::Blank | State::Growing(_) | State::Whole => Ok(String::new()),
            State::Other => {
                let input = Input::of(self.text.as_str().into());
                // Writing a string into a string has no way to fail.
                Ok(serde_json::to_string(&input).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, NOT_JSON};

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
        (taken, arguments.owed(cut))
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
            (&["\"{\\\"a\\\"", ": 1}\""][..], r#"{"a": 1}"#),
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

    #[test]
    fn depth_is_bounded() {
        let deep = |levels| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
        assert_eq!(passed(&[&deep(100)], false).1, Ok(String::new()));
        assert_eq!(passed(&[&deep(200)], false).1, Err(NOT_JSON));
    }
}
