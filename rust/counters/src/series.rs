//! The text of a series: `name{label="value",…}`, which is also its key.

/// Label values are cut to this many characters.
const MAX_VALUE_CHARS: usize = 120;

const OVERFLOW_LABELS: &str = "{overflow=\"true\"}";

/// `value`, cut to the length a label may have.
pub(crate) fn cut(value: &str) -> &str {
    if value.len() <= MAX_VALUE_CHARS {
        return value;
    }
    value
        .char_indices()
        .nth(MAX_VALUE_CHARS)
        .map_or(value, |(end, _)| &value[..end])
}

/// The series of `name` with `labels`; the same whatever order the labels are given in.
pub(crate) fn key(name: &str, labels: &[(&'static str, &str)]) -> String {
    if !labels.is_sorted_by_key(|(label, _)| *label) {
        let mut sorted = labels.to_vec();
        sorted.sort_by_key(|(label, _)| *label);
        return key(name, &sorted);
    }
    let mut text = String::with_capacity(96);
    text.push_str(name);
    for (position, (label, value)) in labels.iter().enumerate() {
        text.push(if position == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        push_escaped(&mut text, cut(value));
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

/// The series that stands in for all those of a family that found no room.
pub(crate) fn overflow_key(name: &str) -> String {
    format!("{name}{OVERFLOW_LABELS}")
}

/// Whether these labels are the ones of [`overflow_key`].
pub(crate) fn is_overflow(labels: &str) -> bool {
    labels == OVERFLOW_LABELS
}

/// A key's family name and its labels with the braces, if it has any.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.split_at(key.find('{').unwrap_or(key.len()))
}

fn push_escaped(text: &mut String, value: &str) {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if value.bytes().all(is_plain) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ if character.is_control() => text.push(char::REPLACEMENT_CHARACTER),
            _ => text.push(character),
        }
    }
}
