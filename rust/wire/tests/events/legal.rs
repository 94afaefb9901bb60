//! Messages as Anthropic streams them, and what a client has to get of each.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::grammar::openai::{Call, Completion};

/// `event` with its name, as a frame.
pub fn frame(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or("unknown");
    format!("event: {name}\ndata: {event}\n\n")
}

/// One block of a message: as a whole, and the events it is streamed in, without their index.
#[derive(Debug, Clone)]
struct Block {
    whole: Value,
    events: Vec<Value>,
}

impl Block {
    fn new(whole: Value, start: &Value, deltas: impl IntoIterator<Item = Value>) -> Self {
        let mut events = vec![json!({"type": "content_block_start", "content_block": start})];
        let deltas = deltas.into_iter();
        events.extend(deltas.map(|delta| json!({"type": "content_block_delta", "delta": delta})));
        events.push(json!({"type": "content_block_stop"}));
        Self { whole, events }
    }
}

/// A text in pieces that cut it anywhere.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    vec("(\\PC|[\n\"\\\\\u{1f600}\u{2028}]){0,6}", 0..5)
}

/// `text` in pieces that cut it anywhere.
fn cut(text: &str, cuts: &[Index]) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut cuts: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(characters.len() + 1))
        .collect();
    cuts.extend([0, characters.len()]);
    cuts.sort_unstable();
    let pairs = cuts.windows(2);
    pairs
        .map(|pair| characters[pair[0]..pair[1]].iter().collect())
        .collect()
}

/// The input of a tool.
pub fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::Null),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            hash_map("[a-z\"]{0,4}", inner, 0..4).prop_map(Value::from_iter),
        ]
    });
    hash_map("[a-z]{1,4}", value, 0..4).prop_map(Value::from_iter)
}

fn block() -> impl Strategy<Value = Block> {
    let text = pieces().prop_map(|pieces| {
        let deltas = pieces[pieces.len().min(1)..].iter();
        Block::new(
            json!({"type": "text", "text": pieces.concat()}),
            &json!({"type": "text", "text": pieces.first()}),
            deltas.map(|piece| json!({"type": "text_delta", "text": piece})),
        )
    });
    let thinking = pieces().prop_map(|pieces| {
        let deltas = pieces
            .iter()
            .map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
        Block::new(
            json!({"type": "thinking", "thinking": pieces.concat(), "signature": "c2ln"}),
            &json!({"type": "thinking", "thinking": "", "signature": ""}),
            deltas.chain([json!({"type": "signature_delta", "signature": "c2ln"})]),
        )
    });
    let tool = (
        "[a-z]{1,8}",
        "[A-Za-z0-9_-]{1,9}",
        input(),
        vec(any::<Index>(), 0..4),
        any::<bool>(),
    );
    let tool = tool.prop_map(|(name, id, input, cuts, at_start)| {
        let start =
            |input: &Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
        if at_start {
            return Block::new(start(&input), &start(&input), []);
        }
        let pieces = cut(&input.to_string(), &cuts);
        let deltas = pieces
            .iter()
            .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        Block::new(start(&input), &start(&json!({})), deltas)
    });
    let silent = select(vec![
        json!({"type": "redacted_thinking", "data": "eA=="}),
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}),
        json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        json!({"type": "of_tomorrow", "text": "x"}),
    ]);
    let silent = silent.prop_map(|whole| {
        let deltas = [
            json!({"type": "input_json_delta", "partial_json": "{\"query\":1}"}),
            json!({"type": "delta_of_tomorrow", "text": "x"}),
        ];
        Block::new(whole.clone(), &whole, deltas)
    });
    prop_oneof![3 => text, 2 => thinking, 3 => tool, 1 => silent]
}

/// A whole message, with what its stream adds.
#[derive(Debug, Clone)]
pub struct Message {
    blocks: Vec<Block>,
    stop_reason: &'static str,
    first_usage: [Option<u32>; 4],
    last_usage: [Option<u32>; 4],
    pings: Vec<Index>,
}

const USAGE: [&str; 4] = [
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
];

pub fn message() -> impl Strategy<Value = Message> {
    let stop_reasons = vec![
        "end_turn",
        "stop_sequence",
        "pause_turn",
        "max_tokens",
        "model_context_window_exceeded",
        "tool_use",
        "refusal",
        "of_tomorrow",
    ];
    let usage = || proptest::array::uniform4(any::<Option<u32>>());
    let parts = (
        vec(block(), 0..6),
        select(stop_reasons),
        usage(),
        usage(),
        vec(any::<Index>(), 0..3),
    );
    parts.prop_map(
        |(blocks, stop_reason, first_usage, last_usage, pings)| Message {
            blocks,
            stop_reason,
            first_usage,
            last_usage,
            pings,
        },
    )
}

fn usage(counts: &[Option<u32>; 4]) -> Value {
    USAGE.into_iter().zip(counts.iter().copied()).collect()
}

impl Message {
    fn head(content: &[Value], stop_reason: Option<&str>, usage: &Value) -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "upstream-model",
            "content": content, "stop_reason": stop_reason, "usage": usage,
        })
    }

    pub fn events(&self) -> Vec<Value> {
        let start = Self::head(&[], None, &usage(&self.first_usage));
        let mut events = vec![json!({"type": "message_start", "message": start})];
        for (index, block) in self.blocks.iter().enumerate() {
            events.extend(block.events.iter().cloned().map(|mut event| {
                event["index"] = index.into();
                event
            }));
        }
        let delta = json!({"stop_reason": self.stop_reason, "stop_sequence": null});
        let counts = usage(&self.last_usage);
        events.push(json!({"type": "message_delta", "delta": delta, "usage": counts}));
        events.push(json!({"type": "message_stop"}));
        for ping in &self.pings {
            events.insert(ping.index(events.len()), json!({"type": "ping"}));
        }
        events
    }

    pub fn sse(&self) -> String {
        self.events().iter().map(frame).collect()
    }

    fn counts(&self) -> [Option<u32>; 4] {
        let pairs = self.first_usage.iter().zip(&self.last_usage);
        let counts: Vec<_> = pairs.map(|(first, last)| last.or(*first)).collect();
        counts.try_into().unwrap()
    }

    /// The message as it would have been answered without a stream.
    pub fn whole(&self) -> Value {
        let content: Vec<_> = self
            .blocks
            .iter()
            .map(|block| block.whole.clone())
            .collect();
        Self::head(&content, Some(self.stop_reason), &usage(&self.counts()))
    }

    fn texts(&self, kind: &str) -> Vec<&str> {
        let blocks = self
            .blocks
            .iter()
            .filter(|block| block.whole["type"] == kind);
        let texts = blocks.filter_map(|block| block.whole[kind].as_str());
        texts.filter(|text| !text.is_empty()).collect()
    }

    pub fn expected(&self, include_usage: bool) -> Completion {
        let tools = self
            .blocks
            .iter()
            .filter(|block| block.whole["type"] == "tool_use");
        let calls = tools.map(|block| Call {
            id: block.whole["id"].as_str().unwrap().to_owned(),
            name: block.whole["name"].as_str().unwrap().to_owned(),
            arguments: block.whole["input"].to_string(),
        });
        let [input, read, written, output] =
            self.counts().map(|count| u64::from(count.unwrap_or(0)));
        let prompt = input + read + written;
        let finish_reason = match self.stop_reason {
            "max_tokens" | "model_context_window_exceeded" => "length",
            "tool_use" => "tool_calls",
            "refusal" => "content_filter",
            _ => "stop",
        };
        Completion {
            id: "chatcmpl-1".to_owned(),
            content: self.texts("text").concat(),
            reasoning: self.texts("thinking").join("\n\n"),
            calls: calls.collect(),
            finish_reason: Some(finish_reason.to_owned()),
            usage: include_usage.then(|| json!({
                "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
                "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
            })),
            ..Completion::default()
        }
    }
}
