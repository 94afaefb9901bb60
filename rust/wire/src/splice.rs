//! The request's own bytes, with another model name in them.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

/// The pieces of `body` with the JSON string at `span` (quotes included, see `Peek::model_span`)
/// replaced by `model`.
///
/// The pieces before and after are slices of `body`: nothing but the name is copied. A name that
/// is the same already gives one piece, `body` itself, so that pass-through stays byte-identical.
#[must_use]
pub fn splice(body: &Bytes, span: Range<usize>, model: &str) -> Vec<Bytes> {
    let Some(old) = body.get(span.clone()) else {
        return vec![body.clone()];
    };
    if serde_json::from_slice::<Cow<'_, str>>(old).is_ok_and(|old| old == model) {
        return vec![body.clone()];
    }
    let new = Bytes::from(serde_json::Value::from(model).to_string());
    [body.slice(..span.start), new, body.slice(span.end..)]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::splice;
    use crate::{Operation, peek};

    fn spliced(body: &str, model: &str) -> (String, usize) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let span = peek(&body, Operation::Messages).unwrap().model_span;
        let pieces = splice(&body, span, model);
        (String::from_utf8(pieces.concat()).unwrap(), pieces.len())
    }

    #[test]
    fn replaces_the_name_and_nothing_else() {
        let body = r#"{ "messages":[{"model":"inner"}] ,"model" : "old","x":"\ud800"}"#;
        let expected = r#"{ "messages":[{"model":"inner"}] ,"model" : "new","x":"\ud800"}"#;
        assert_eq!(spliced(body, "new"), (expected.to_owned(), 3));
    }

    #[test]
    fn keeps_the_body_whole_when_the_name_is_the_same() {
        let body = r#"{"model":"s\u0061me","messages":[]}"#;
        assert_eq!(spliced(body, "same"), (body.to_owned(), 1));
    }

    #[test]
    fn shares_the_memory_of_the_body() {
        let body = Bytes::from_static(br#"{"model":"old","messages":[]}"#);
        let pieces = splice(&body, 9..14, "new");
        assert_eq!(pieces[0].as_ptr(), body.as_ptr());
        assert_eq!(pieces[2].as_ptr(), body[14..].as_ptr());
    }

    proptest! {
        #[test]
        fn any_name_is_escaped_into_valid_json(model in "\\PC*|[\\x00-\\x7f]*") {
            let (text, _) = spliced(r#"{"model":"old","messages":[]}"#, &model);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["model"].as_str(), Some(model.as_str()));
        }
    }
}
