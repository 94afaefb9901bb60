//! JSON as text: pieces of a body that are carried over without being built.
//!
//! Numbers are never read as floats and members keep their order, since what is not looked at is
//! copied as it stands.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The text of a JSON string, `None` for any other value.
///
/// A lone surrogate, which clients that cut text in the middle of a character do send, becomes
/// U+FFFD.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let decoded: Result<String, _> = serde_json::from_str(json);
    Some(Cow::Owned(decoded.unwrap_or_else(|_| lossy(inner))))
}

/// The text of a string that holds a lone surrogate somewhere.
fn lossy(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escaped) = rest.split_at(at);
        text.push_str(plain);
        // Twelve bytes are a pair of surrogates, six one escape of four digits, two any other.
        let decoded = [12, 6, 2].into_iter().find_map(|length| {
            let escape = escaped.get(..length)?;
            let character: String = serde_json::from_str(&format!("\"{escape}\"")).ok()?;
            (character.chars().count() == 1).then_some((character, length))
        });
        let (character, length) = decoded.unwrap_or_else(|| ("\u{fffd}".to_owned(), 6));
        text.push_str(&character);
        rest = escaped.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// The elements of a JSON array, `None` for any other value.
pub(crate) fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// The value on one line, without spaces between its parts.
pub(crate) fn compact(raw: &RawValue) -> Cow<'_, str> {
    let json = raw.get();
    let mut compact = String::new();
    let mut kept_to = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {
                compact.push_str(json.get(kept_to..at).unwrap_or_default());
                kept_to = at + 1;
            }
            _ => {}
        }
    }
    if kept_to == 0 {
        return Cow::Borrowed(json);
    }
    compact.push_str(json.get(kept_to..).unwrap_or_default());
    Cow::Owned(compact)
}

/// Writes `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory has no way to fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{compact, list, push_string, text};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn reads_text_and_replaces_lone_surrogates_only() {
        for (json, expected) in [
            (r#""plain""#, "plain"),
            (r#""a\nb\"c\u00e9""#, "a\nb\"cé"),
            (r#""\ud83d\ude00 \ud83d!""#, "😀 \u{fffd}!"),
            (r#""\ude00\n\ud83d""#, "\u{fffd}\n\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""""#, ""),
        ] {
            assert_eq!(text(&raw(json)).as_deref(), Some(expected), "{json}");
        }
        assert_eq!(text(&raw("1")), None);
    }

    #[test]
    fn compacts_outside_strings_only_and_keeps_numbers() {
        let json = "{ \"a b\" : [ 1.0e5,\n12345678901234567890 , \"x \\\" y\" ] }";
        let expected = "{\"a b\":[1.0e5,12345678901234567890,\"x \\\" y\"]}";
        assert_eq!(compact(&raw(json)), expected);
        assert!(matches!(
            compact(&raw(expected)),
            std::borrow::Cow::Borrowed(_)
        ));
    }

    #[test]
    fn splits_lists_and_writes_strings() {
        let value = raw("[1, {\"a\": 2}]");
        let items: Vec<_> = list(&value)
            .unwrap()
            .iter()
            .map(|item| item.get())
            .collect();
        assert_eq!(items, ["1", "{\"a\": 2}"]);
        assert!(list(&raw("{}")).is_none());
        let mut out = Vec::new();
        push_string(&mut out, "a\"\n");
        assert_eq!(out, br#""a\"\n""#);
    }
}
