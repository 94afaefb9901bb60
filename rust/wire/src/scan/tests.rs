use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{DEPTH_LIMIT, Malformed, Members, plain_length};

fn check(text: &str) -> Result<usize, Malformed> {
    let mut members = Members::of(text.as_bytes())?;
    let mut count = 0;
    while members.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

// What serde_json ignores it validates by grammar only, surrogates and exponents included.
fn oracle(text: &str) -> bool {
    text.trim_start_matches([' ', '\n', '\r', '\t'])
        .starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn document() -> impl Strategy<Value = String> {
    let string = "(\\PC|\\\\n|\\\\\"|\\\\u[0-9a-fA-F]{4}|[ -!#-\\[\\]-~]{0,40}){0,6}"
        .prop_map(|content: String| format!("\"{}\"", content.replace('"', "\\\"")));
    let scalar = prop_oneof![
        string.clone(),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?",
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    let space = "[ \\n\\r\\t]{0,2}";
    let value = scalar.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space)
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(","))),
            (prop::collection::vec((string.clone(), inner), 0..5), space).prop_map(
                |(members, space)| {
                    let members: Vec<String> = members
                        .iter()
                        .map(|(k, v)| format!("{k}{space}:{space}{v}"))
                        .collect();
                    format!("{{{space}{}{space}}}", members.join(","))
                }
            ),
        ]
    });
    prop::collection::vec(value, 0..4).prop_map(|values| {
        let members: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(i, value)| format!("\"k{i}\": {value}"))
            .collect();
        format!("{{{}}}", members.join(" ,"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_serde_json_on_documents(text in document()) {
        prop_assert_eq!(check(&text).is_ok(), oracle(&text), "{}", text);
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_documents(
        text in document(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, "[{}\\[\\]:,\"\\\\ -.+0-9eEutfn\\x00-\\x1f]"),
            1..4,
        ),
    ) {
        let mut characters: Vec<char> = text.chars().collect();
        for (place, action, replacement) in edits {
            let at = place.index(characters.len() + 1);
            let replacement = replacement.chars().next().unwrap();
            match action {
                0 => characters.insert(at, replacement),
                1 if at < characters.len() => { characters.remove(at); }
                2 if at < characters.len() => characters[at] = replacement,
                _ => characters.truncate(at),
            }
        }
        let text: String = characters.into_iter().collect();
        prop_assert_eq!(check(&text).is_ok(), oracle(&text), "{}", text);
    }

    #[test]
    fn finds_the_first_byte_that_matters(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        let expected = bytes.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\');
        prop_assert_eq!(plain_length(&bytes), expected.unwrap_or(bytes.len()));
    }
}

#[test]
fn skips_values_of_every_shape() {
    let text = r#" {"a":[],"b":{},"c":[{"d":[1,-0.5e+3,null]},"\ud800"],"e":true , "f":""} "#;
    assert_eq!(check(text), Ok(5));
    assert_eq!(check("{}"), Ok(0));
}

#[test]
fn says_where_and_why_it_stopped() {
    for (text, at, what) in [
        ("", 0, "unexpected end"),
        ("[]", 0, "expected an object"),
        ("{,}", 1, "expected a member name in double quotes"),
        (r#"{"a" 1}"#, 5, "expected ':'"),
        (r#"{"a":NaN}"#, 5, "expected a value"),
        (r#"{"a":-Infinity}"#, 6, "expected a digit"),
        (r#"{"a":01}"#, 6, "expected ',' or '}'"),
        (r#"{"a":[1}"#, 7, "expected ',' or ']'"),
        (r#"{"a":{"b":1]"#, 11, "expected ',' or '}'"),
        (r#"{"a":1,}"#, 7, "expected a member name in double quotes"),
        (r#"{"a":[1,]}"#, 8, "expected a value"),
        (r#"{"a":"\x"}"#, 6, "invalid escape in a string"),
        (
            "{\"a\":\"\n\"}",
            6,
            "unescaped control character in a string",
        ),
        (r#"{"a":"b"#, 7, "unexpected end"),
        (r#"{"a":1}{}"#, 7, "unexpected data after the object"),
    ] {
        assert_eq!(check(text), Err(Malformed { at, what }), "{text}");
    }
}

#[test]
fn accepts_the_depth_limit_and_refuses_one_more() {
    let nested = |depth: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    assert_eq!(check(&nested(DEPTH_LIMIT as usize)), Ok(1));
    for depth in [DEPTH_LIMIT as usize + 1, 100_000] {
        assert_eq!(
            check(&nested(depth)).unwrap_err().what,
            "nested deeper than 128 levels"
        );
    }
    let objects = r#"{"a":"#.repeat(100_000);
    assert_eq!(
        check(&objects).unwrap_err().what,
        "nested deeper than 128 levels"
    );
}

#[test]
fn elements_of_an_array_are_found_like_members() {
    let text = r#" [ {"a":[1]} ,"b", 2 ] "#;
    let mut elements = Members::of_array(text.as_bytes()).unwrap();
    let mut found = Vec::new();
    while let Some((key, value)) = elements.next().unwrap() {
        assert!(key.is_empty());
        found.push(&text[value.span]);
    }
    assert_eq!(found, [r#"{"a":[1]}"#, r#""b""#, "2"]);
    for text in ["{}", "[1}", "[1 2]", "[,1]", "[1,]"] {
        let read = Members::of_array(text.as_bytes()).and_then(|mut elements| {
            while elements.next()?.is_some() {}
            Ok(())
        });
        assert!(read.is_err(), "{text}");
    }
}
