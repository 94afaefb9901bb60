//! The request that every client sends: a valid Anthropic one, as long as asked for.

use std::fmt::Write as _;

use crate::options::{Mode, Options};

const PROSE: &str = "You are a careful assistant who reads the whole file before changing a line of it.\\n\\n\
    - Say what you found, with its place.\\n- Ask when two readings are possible, and \\\"wait\\\" for the answer.\\n";

/// Head and body of the request, the body exactly `body_bytes` long where that is possible at all.
pub(crate) fn bytes(options: &Options) -> Vec<u8> {
    let body = body(options);
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\naccept: */*\r\nuser-agent: load-client\r\n",
        options.target.path, options.target.authority, options.token
    );
    for header in &options.headers {
        let _ = write!(head, "{header}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    [head, body].concat().into_bytes()
}

/// Members in the order in which Claude Code writes them: what a gateway needs is at both ends.
fn body(options: &Options) -> String {
    let before = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":"{}"}}],"system":""#,
        options.model,
        options.script.marker()
    );
    let stream = if options.mode == Mode::Stream {
        r#","stream":true"#
    } else {
        ""
    };
    let after = format!(r#"","metadata":{{"user_id":"bench"}},"max_tokens":1024{stream}}}"#);
    let room = options
        .body_bytes
        .saturating_sub(before.len() + after.len());
    let system = PROSE.repeat(room / PROSE.len());
    let rest = room - system.len();
    format!("{before}{system}{:.<rest$}{after}", "")
}

#[cfg(test)]
mod tests {
    use load::script::{Script, wants_stream};

    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let url = ["--url", "http://localhost:1"];
        Options::parse(lexopt::Parser::from_args(url.iter().chain(arguments))).unwrap()
    }

    #[test]
    fn a_body_is_json_of_the_length_asked_for() {
        for length in [1024, 61_440] {
            let options = options(&["--body-bytes", &length.to_string(), "--mode", "request"]);
            let body = body(&options);
            assert_eq!(body.len(), length);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["max_tokens"], 1024);
            assert!(!wants_stream(body.as_bytes()));
        }
    }

    #[test]
    fn the_upstream_finds_what_is_asked_for() {
        let options = options(&["--events", "7", "--pause-us", "9", "--text-bytes", "50"]);
        let body = body(&options);
        let script = Script {
            events: 7,
            pause_us: 9,
            text_bytes: 50,
        };
        assert_eq!(Script::find(body.as_bytes()), script);
        assert!(wants_stream(body.as_bytes()));
    }
}
