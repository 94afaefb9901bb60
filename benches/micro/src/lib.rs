//! What the micro-benchmarks work on: conversations as coding agents send them, and streams as servers answer them.

use std::fmt::Write as _;

use bytes::Bytes;

const CODE: &str = r"fn total(prices: &[u64]) -> u64 {\n    prices.iter().sum() // in cents, \u00e4 no floats\n}\n";

/// A request of the Anthropic Messages API of about `bytes`: turns with code, tool calls and their results.
#[must_use]
pub fn conversation(bytes: usize) -> Bytes {
    let mut messages = String::new();
    let mut turn = 0;
    while messages.len() < bytes {
        turn += 1;
        let code = CODE.repeat(8);
        let _ = write!(
            messages,
            r#"{{"role":"assistant","content":[{{"type":"text","text":"{code}"}},{{"type":"tool_use","id":"toolu_{turn}","name":"Read","input":{{"file_path":"src/main.rs","offset":{turn}}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{turn}","content":"{code}"}}]}},"#
        );
    }
    let body = format!(
        r#"{{"model":"claude-opus-5-5","max_tokens":32000,"stream":true,"system":[{{"type":"text","text":"You are an agent."}}],"messages":[{messages}{{"role":"user","content":"Go on."}}],"tools":[{{"name":"Read","input_schema":{{"type":"object","properties":{{"file_path":{{"type":"string"}},"offset":{{"type":"integer"}}}}}}}}]}}"#
    );
    Bytes::from(body)
}

/// A stream of the Anthropic API with so many deltas, as one piece.
#[must_use]
pub fn anthropic_stream(deltas: usize) -> Bytes {
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" some words\"}}\n\n";
    Bytes::from(delta.repeat(deltas))
}

/// A stream of the `OpenAI` API with so many chunks, as one piece.
#[must_use]
pub fn openai_stream(chunks: usize) -> Bytes {
    let chunk = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" some words\"},\"finish_reason\":null}]}\n\n";
    Bytes::from(chunk.repeat(chunks))
}
