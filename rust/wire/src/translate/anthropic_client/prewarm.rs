//! The answer to a request for no token at all: with it a client fills Anthropic's prompt cache,
//! and there is nothing to ask of another upstream.

use sha2::{Digest, Sha256};

use super::super::Known;
use super::object::Object;
use super::usage::Usage;
use super::writer::Writer;

const STOP_REASON: &str = "max_tokens";

/// A message without content, or the stream of one; the same for the same request.
pub(super) fn answer(model: &str, stream: bool, request: &[u8]) -> Known {
    let stem = format!("{:.24x}", Sha256::digest(request));
    let usage = Usage::default();
    if stream {
        let mut body = Vec::new();
        let mut writer = Writer::default();
        writer.message_start(&mut body, &stem, model, &usage);
        writer.end(&mut body, STOP_REASON, None, &usage);
        return Known { stream, body };
    }
    let mut message = Object::new(256);
    message.text("id", &format!("msg_{stem}"));
    message.text("type", "message");
    message.text("role", "assistant");
    message.text("model", model);
    message.json("content", "[]");
    message.text("stop_reason", STOP_REASON);
    message.json("stop_sequence", "null");
    message.json("usage", usage.to_json());
    Known {
        stream,
        body: message.close(),
    }
}
