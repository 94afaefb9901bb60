//! The members of an object, one after the other: for objects whose unknown members are noted or
//! kept. Of any other a struct is read.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::json::text;
use super::super::place::Wrong;

/// Calls `visit` with the name and the value of every member of the object `json`, in order, but
/// not with those that are `null`: to both APIs that is the same as absent.
pub(super) fn members<'a>(
    json: &'a str,
    visit: impl FnMut(&str, &'a RawValue),
) -> Result<(), Wrong> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = reader.deserialize_map(Each(visit));
    read.and_then(|()| reader.end())
        .map_err(|_| Wrong::new("must be an object"))
}

struct Each<F>(F);

impl<'a, F: FnMut(&str, &'a RawValue)> Visitor<'a> for Each<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        // As text rather than as a string, since a name may hold a lone surrogate.
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if value.get() != "null" {
                (self.0)(&text(name).unwrap_or_default(), value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    fn read(json: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        let object = members(json, |name, value| {
            found.push((name.to_owned(), value.get().to_owned()));
        });
        object.ok().map(|()| found)
    }

    #[test]
    fn visits_in_order_without_nulls_and_reads_escaped_names() {
        let json =
            r#" { "b" : [1, 2], "n": null, "\u0061\ud800": 12345678901234567890.0e1, "b": {} } "#;
        let expected = [
            ("b", "[1, 2]"),
            ("a\u{fffd}", "12345678901234567890.0e1"),
            ("b", "{}"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(json).unwrap(), expected);
    }

    #[test]
    fn nothing_but_an_object_is_one() {
        assert_eq!(read("{}").unwrap(), []);
        for json in ["[]", "[[\"a\",1]]", "\"{}\"", "1", "", "{\"a\":1", "{}{}"] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).unwrap().len(), 1);
    }
}
