//! What the micro-benchmarks work on: requests as coding agents send them, and frames as servers answer them.

/// A part of a long text, as JSON writes it: short lines, quotes.
pub const PROSE: &str = r#"Use this tool when you need to read a file.\n\n- It is \"fast\" and safe.\n  - lines of fifty bytes or so, then a break, as in prompts\n"#;
/// Another, of letters beyond ASCII.
pub const UNICODE: &str =
    r"Größe — “quoted” text, naïve café, with a dash – here\n日本語のテキスト\n";
/// Another, without any escape.
pub const BASE64: &str = "QmFzZTY0IGltYWdlIGRhdGEgaGFzIG5vIGVzY2FwZXMgYXQgYWxsLCBvbmUgbG9uZyBydW4";

/// A frame of a stream of the Anthropic API.
pub const ANTHROPIC_FRAME: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
    \"delta\":{\"type\":\"text_delta\",\"text\":\"some words of it\"}}\n\n";
/// A frame of a stream of the `OpenAI` API.
pub const OPENAI_FRAME: &str = "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
    \"created\":1790000000,\"model\":\"qwen3-32b\",\"choices\":[{\"index\":0,\"delta\":\
    {\"content\":\"some words\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";

/// A first request of Claude Code in shape: long texts, and tool schemas. Of `target_bytes`, but never under 12 kB.
#[must_use]
pub fn request(target_bytes: usize, text: &str) -> String {
    let mut body = String::from(
        r#"{"model":"claude-opus-5-5","max_tokens":32000,"stream":true,"system":[{"type":"text","text":""#,
    );
    let tool = |index: usize| {
        format!(
            r#"{{"name":"tool_{index}","description":"{text}","input_schema":{{"type":"object","properties":{{"path":{{"type":"string","description":"the absolute path"}},"limit":{{"type":"number"}}}},"required":["path"]}}}}"#
        )
    };
    let tools = (0..30).map(tool).collect::<Vec<_>>().join(",");
    while body.len() + tools.len() < target_bytes {
        body.push_str(text);
    }
    body.push_str(r#""}],"tools":["#);
    body.push_str(&tools);
    body.push_str(r#"],"messages":[{"role":"user","content":"hello"}]}"#);
    body
}

/// A session of Claude Code in shape: its first request, and turns in which it reads files.
#[must_use]
pub fn session(target_bytes: usize, text: &str) -> String {
    let mut body = request(60_000, text);
    let end = r#"{"role":"user","content":"hello"}]}"#;
    body.truncate(body.len() - end.len());
    body.push_str(end.trim_end_matches("]}"));
    for turn in 0.. {
        if body.len() > target_bytes {
            break;
        }
        let file = text.repeat(30);
        let thinking = format!(r#"{{"type":"thinking","thinking":"{text}","signature":"gw1.x"}}"#);
        let call = format!(
            r#"{{"type":"tool_use","id":"toolu_{turn}","name":"tool_1","input":{{"path":"/{turn}"}}}}"#
        );
        let result = format!(
            r#"{{"type":"tool_result","tool_use_id":"toolu_{turn}","content":"{file}","is_error":false}}"#
        );
        for part in [
            r#",{"role":"assistant","content":["#,
            &thinking,
            ",",
            &call,
            r#"]},{"role":"user","content":["#,
            &result,
            "]}",
        ] {
            body.push_str(part);
        }
    }
    body.push_str("]}");
    body
}
