//! What the Messages API may send: reads a stream as strictly as its strictest client.
//!
//! Written from Anthropic's "Streaming messages" and from what its SDKs throw on; it shares no code
//! with the gateway.

use std::collections::HashSet;

use serde_json::Value;

/// A message put together from its events.
#[derive(Debug, Default, PartialEq)]
pub struct Message {
    pub id: String,
    pub model: String,
    /// `usage` of `message_start`.
    pub first_usage: Value,
    pub blocks: Vec<Block>,
    /// `None` where an error broke the message off.
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    /// `usage` of `message_delta`.
    pub usage: Value,
    pub pings: usize,
    /// Type and message of the error that it ended with.
    pub error: Option<(String, String)>,
}

#[derive(Debug, PartialEq)]
pub enum Block {
    Text(String),
    Thinking {
        thinking: String,
        signature: String,
    },
    ToolUse {
        id: String,
        name: String,
        /// JSON text; `{}` if nothing was sent.
        input: String,
    },
}

const STOP_REASONS: [&str; 5] = [
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",
];
const ERRORS: [&str; 10] = [
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
];

#[derive(Default)]
struct Reader {
    message: Message,
    started: bool,
    open: bool,
    ended: bool,
}

/// The message that the stream tells, up to its end or to an error.
pub fn anthropic(stream: &[u8]) -> Result<Message, String> {
    let text = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
    let text = text
        .strip_suffix("\n\n")
        .ok_or("the last event is not whole")?;
    let mut reader = Reader::default();
    for frame in text.split("\n\n") {
        let result = reader.frame(frame);
        result.map_err(|why| format!("{why} in {frame:?}"))?;
    }
    if reader.ended {
        Ok(reader.message)
    } else {
        Err("the stream just stops".to_owned())
    }
}

impl Reader {
    fn frame(&mut self, frame: &str) -> Result<(), String> {
        let lines: Vec<_> = frame.split(['\n', '\r']).collect();
        let [name, data] = lines[..] else {
            return Err(format!("{} lines", lines.len()));
        };
        let name = name.strip_prefix("event: ").ok_or("no event name")?;
        let data = data.strip_prefix("data: ").ok_or("no data")?;
        let data: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        if data["type"] != name {
            return Err("its name is not its type".to_owned());
        }
        if self.ended {
            return Err("something after the end".to_owned());
        }
        if !self.started && name != "message_start" {
            return Err("something before message_start".to_owned());
        }
        match name {
            "message_start" => self.message_start(&data["message"]),
            "ping" => {
                self.message.pings += 1;
                Ok(())
            }
            "content_block_start" => self.block_start(&data),
            "content_block_delta" => self.block_delta(&data),
            "content_block_stop" => self.block_stop(&data),
            "message_delta" => self.message_delta(&data),
            "message_stop" => self.message_stop(),
            "error" => self.error(&data["error"]),
            _ => Err("no event of this API".to_owned()),
        }
    }

    fn message_start(&mut self, message: &Value) -> Result<(), String> {
        check(!self.started, "a second message_start")?;
        check(
            message["type"] == "message" && message["role"] == "assistant",
            "no message",
        )?;
        check(
            message["content"] == Value::Array(Vec::new()),
            "content at the start",
        )?;
        check(
            message.get("stop_reason").is_some_and(Value::is_null),
            "stop_reason",
        )?;
        check(
            message.get("stop_sequence").is_some_and(Value::is_null),
            "stop_sequence",
        )?;
        self.message.id = id(&message["id"])?;
        check(
            self.message.id.starts_with("msg_"),
            "an id of something else",
        )?;
        self.message.model = string(&message["model"])?;
        self.message.first_usage = usage(&message["usage"])?;
        self.started = true;
        Ok(())
    }

    fn block_start(&mut self, data: &Value) -> Result<(), String> {
        check(!self.open, "a second open block")?;
        check(
            self.message.stop_reason.is_none(),
            "a block after message_delta",
        )?;
        check(
            data["index"] == self.message.blocks.len(),
            "a gap in the indexes",
        )?;
        let block = &data["content_block"];
        let block = match block["type"].as_str() {
            Some("text") => Block::Text(empty(&block["text"])?),
            Some("thinking") => Block::Thinking {
                thinking: empty(&block["thinking"])?,
                signature: empty(&block["signature"])?,
            },
            Some("tool_use") => {
                check(
                    block["input"] == serde_json::json!({}),
                    "input at the start",
                )?;
                let name = string(&block["name"])?;
                check(!name.is_empty(), "no name")?;
                Block::ToolUse {
                    id: id(&block["id"])?,
                    name,
                    input: String::new(),
                }
            }
            _ => return Err("no block of this API".to_owned()),
        };
        self.message.blocks.push(block);
        self.open = true;
        Ok(())
    }

    /// The open block, if `data` is about it.
    fn open_block(&mut self, data: &Value) -> Result<&mut Block, String> {
        check(self.open, "no block is open")?;
        let count = self.message.blocks.len();
        check(data["index"] == count - 1, "another block's index")?;
        let block = self.message.blocks.last_mut();
        block.ok_or_else(|| "no block".to_owned())
    }

    fn block_delta(&mut self, data: &Value) -> Result<(), String> {
        let delta = &data["delta"];
        let kind = string(&delta["type"])?;
        let (old, member) = match (self.open_block(data)?, kind.as_str()) {
            (Block::Text(text), "text_delta") => (text, "text"),
            (
                Block::Thinking {
                    thinking,
                    signature,
                },
                "thinking_delta",
            ) => {
                check(signature.is_empty(), "thinking after its signature")?;
                (thinking, "thinking")
            }
            (Block::Thinking { signature, .. }, "signature_delta") => {
                check(signature.is_empty(), "a second signature")?;
                (signature, "signature")
            }
            (Block::ToolUse { input, .. }, "input_json_delta") => (input, "partial_json"),
            (block, kind) => return Err(format!("{kind} for {block:?}")),
        };
        let more = string(&delta[member])?;
        check(!more.is_empty(), "an empty delta")?;
        old.push_str(&more);
        Ok(())
    }

    fn block_stop(&mut self, data: &Value) -> Result<(), String> {
        match self.open_block(data)? {
            Block::Text(text) => check(!text.is_empty(), "an empty text block")?,
            Block::Thinking {
                thinking,
                signature,
            } => {
                check(!thinking.is_empty(), "an empty thinking block")?;
                check(!signature.is_empty(), "thinking without a signature")?;
            }
            Block::ToolUse { input, .. } if input.is_empty() => "{}".clone_into(input),
            Block::ToolUse { .. } => {}
        }
        self.open = false;
        Ok(())
    }

    fn message_delta(&mut self, data: &Value) -> Result<(), String> {
        check(!self.open, "a block is still open")?;
        check(self.message.stop_reason.is_none(), "a second message_delta")?;
        let delta = &data["delta"];
        let stop_reason = string(&delta["stop_reason"])?;
        check(
            STOP_REASONS.contains(&stop_reason.as_str()),
            "no stop reason of this API",
        )?;
        self.message.stop_sequence = delta["stop_sequence"].as_str().map(ToOwned::to_owned);
        let stopped = self.message.stop_sequence.is_some();
        check(stopped == (stop_reason == "stop_sequence"), "stop_sequence")?;
        self.message.stop_reason = Some(stop_reason);
        self.message.usage = usage(&data["usage"])?;
        Ok(())
    }

    fn message_stop(&mut self) -> Result<(), String> {
        let stop_reason = self
            .message
            .stop_reason
            .as_deref()
            .ok_or("no message_delta")?;
        let blocks = &self.message.blocks;
        if blocks.len() > 1 {
            let blank =
                |block: &Block| matches!(block, Block::Text(text) if text.trim().is_empty());
            check(!blocks.iter().any(blank), "a blank text block")?;
        }
        // Both say that the answer stops in the middle.
        let cut = matches!(stop_reason, "max_tokens" | "refusal");
        let mut ids = HashSet::new();
        for block in blocks {
            if let Block::ToolUse { id, input, .. } = block {
                check(ids.insert(id), "an id twice")?;
                let input = serde_json::from_str::<Value>(input);
                let whole = input.is_ok_and(|input| input.is_object());
                check(whole || cut, "an input that is not an object")?;
            }
        }
        let called = !ids.is_empty();
        check(
            cut || called == (stop_reason == "tool_use"),
            "a stop reason of another message",
        )?;
        self.ended = true;
        Ok(())
    }

    fn error(&mut self, error: &Value) -> Result<(), String> {
        check(
            self.message.stop_reason.is_none(),
            "an error after message_delta",
        )?;
        let kind = string(&error["type"])?;
        check(ERRORS.contains(&kind.as_str()), "no error of this API")?;
        self.message.error = Some((kind, string(&error["message"])?));
        self.ended = true;
        Ok(())
    }
}

fn check(right: bool, why: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(why.to_owned()) }
}

fn string(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("{value} is no string"))
}

fn empty(value: &Value) -> Result<String, String> {
    check(value == "", "something in a block's start")?;
    Ok(String::new())
}

fn id(value: &Value) -> Result<String, String> {
    let id = string(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    check(
        !id.is_empty() && id.bytes().all(plain),
        "an id that is none",
    )?;
    Ok(id)
}

fn usage(value: &Value) -> Result<Value, String> {
    for member in [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
    ] {
        check(value[member].is_u64(), member)?;
    }
    Ok(value.clone())
}
