//! Whether a tool's schema is one that `OpenAI` takes with `strict: true`.
//!
//! Source: `OpenAI`, "Structured outputs", supported schemas: every object is closed and requires
//! all its properties. Keywords that are not certain to be taken count against a schema: without
//! `strict` the tool still works, with it the whole request would be refused.

use serde_json::{Map, Value};

/// The largest schema looked at; property names, enums and constants together have 120 000
/// characters at most.
const LIMIT_BYTES: usize = 256 * 1024;

/// How deep objects may nest.
const DEPTH: u32 = 10;

/// Keywords whose value is not a schema.
const PLAIN: [&str; 16] = [
    "type",
    "title",
    "description",
    "enum",
    "const",
    "$ref",
    "$schema",
    "pattern",
    "format",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
];

/// Whether `schema`, JSON text, already meets the strict rules.
pub(super) fn fits(schema: &str) -> bool {
    if schema.len() > LIMIT_BYTES {
        return false;
    }
    match serde_json::from_str(schema) {
        Ok(Value::Object(root)) => is_object(&root) && closed(&root, 1),
        _ => false,
    }
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let names_it = |kind: &Value| kind == "object";
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(names_it),
        kind => kind.is_some_and(names_it) || schema.contains_key("properties"),
    }
}

fn closed(schema: &Map<String, Value>, depth: u32) -> bool {
    let keywords_fit = schema
        .iter()
        .all(|(keyword, value)| match keyword.as_str() {
            "properties" | "$defs" | "definitions" => all_closed(value.as_object(), depth),
            "anyOf" => value
                .as_array()
                .is_some_and(|options| options.iter().all(|option| is_closed(option, depth))),
            "items" => is_closed(value, depth),
            "additionalProperties" | "required" => true,
            keyword => PLAIN.contains(&keyword),
        });
    keywords_fit && (!is_object(schema) || requires_all(schema))
}

fn all_closed(schemas: Option<&Map<String, Value>>, depth: u32) -> bool {
    schemas.is_some_and(|schemas| schemas.values().all(|schema| is_closed(schema, depth)))
}

fn is_closed(schema: &Value, depth: u32) -> bool {
    let schema = schema.as_object();
    depth < DEPTH && schema.is_some_and(|schema| closed(schema, depth + 1))
}

fn requires_all(schema: &Map<String, Value>) -> bool {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    let required: std::collections::HashSet<_> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && required.len() == properties.len()
        && properties
            .keys()
            .all(|property| required.contains(property.as_str()))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_schema_that_is_closed_everywhere_fits() {
        for schema in [
            r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#,
            r#"{"type":"object","properties":{},"additionalProperties":false}"#,
            r##"{"type":"object","description":"d","properties":{
                "path":{"type":["string","null"],"enum":["a",null]},
                "edits":{"type":"array","minItems":1,"items":{"anyOf":[
                    {"type":"string"},{"$ref":"#/$defs/edit"}]}}},
                "required":["edits","path"],"additionalProperties":false,
                "$defs":{"edit":{"type":"object","properties":{"line":{"type":"integer"}},
                    "required":["line"],"additionalProperties":false}}}"##,
        ] {
            assert!(fits(schema), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_openai_would_refuse_does_not() {
        let closed = r#""additionalProperties":false"#;
        let with = |property: &str| {
            format!(
                r#"{{"type":"object","properties":{{"a":{property}}},"required":["a"],{closed}}}"#
            )
        };
        assert!(fits(&with(r#"{"type":"string"}"#)));
        for schema in [
            // Optional property, open object, no object at all.
            format!(r#"{{"type":"object","properties":{{"a":{{}}}},"required":[],{closed}}}"#),
            format!(r#"{{"type":"object","properties":{{"a":{{}}}},"required":["b"],{closed}}}"#),
            r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#.to_owned(),
            r#"{"type":"array","items":{"type":"string"}}"#.to_owned(),
            format!(r#"{{"anyOf":[],{closed}}}"#),
            "{}".to_owned(),
            // The same, further inside.
            with(r#"{"type":"object"}"#),
            with(
                r#"{"type":["object","null"],"properties":{"b":{}},"additionalProperties":false}"#,
            ),
            with(r#"{"type":"array","items":{"properties":{"b":{}}}}"#),
            with(r#"{"anyOf":[{"type":"object"}]}"#),
            // Keywords that are not taken.
            with(r#"{"oneOf":[{"type":"string"}]}"#),
            with(r#"{"type":"string","default":"x"}"#),
            with(r#"{"type":"array","items":true}"#),
            with(&(r#"{"anyOf":["#.repeat(12) + "{}" + &"]}".repeat(12))),
            with(&format!(r#"{{"description":"{}"}}"#, "x".repeat(300_000))),
        ] {
            assert!(!fits(&schema), "{schema}");
        }
    }
}
