//! A completion as a well-behaved server streams it, and the blocks that a client has to get of it.

use std::fmt::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use serde_json::{Map, Value, json};

use crate::grammar::anthropic::Block;

/// One thing that a model says; texts in the pieces in which they come.
#[derive(Debug, Clone)]
pub enum Said {
    Thinking(Vec<String>),
    Text(Vec<String>),
    Calls(Calls),
}

/// Calls made at once, each with the pieces of its arguments.
#[derive(Debug, Clone)]
pub struct Calls {
    pieces: Vec<Vec<String>>,
    manner: Manner,
    /// Which call the next piece is of, where they come in turns.
    turns: Vec<Index>,
}

/// How a server tells its calls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Index,
    InTurns,
    IndexAndIdEachTime,
    IndexZero,
}

/// How the stream is written and ends.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "servers differ in each of these by itself"
)]
pub struct Ending {
    reason: &'static str,
    beside_the_last_piece: bool,
    pub usage: bool,
    pub usage_each_time: bool,
    done: bool,
    ascii: bool,
    line_end: &'static str,
}

/// `text` in pieces of at least one character.
fn in_pieces(text: &str, cuts: &[Index]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let characters: Vec<_> = text.chars().collect();
    let cuts: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(characters.len() + 1))
        .collect();
    for (at, character) in characters.into_iter().enumerate() {
        if cuts.contains(&at) && pieces.last().is_some_and(|last| !last.is_empty()) {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(character);
    }
    pieces
}

fn pieces(pattern: &str) -> impl Strategy<Value = Vec<String>> + use<> {
    (string_regex(pattern).unwrap(), vec(any::<Index>(), 0..5))
        .prop_map(|(text, cuts)| in_pieces(&text, &cuts))
}

/// The text of a JSON object.
pub fn object() -> impl Strategy<Value = String> {
    let text = || string_regex("[a-z\"\\\\{}\\[\\]\n\u{e9}\u{2028}\u{1f600}]{0,6}").unwrap();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    });
    (vec((text(), value), 0..4), any::<bool>()).prop_map(|(members, pretty)| {
        let object = Value::from(Map::from_iter(members));
        if pretty {
            format!("\n{object:#} ")
        } else {
            object.to_string()
        }
    })
}

fn calls() -> impl Strategy<Value = Said> {
    let arguments = prop_oneof![
        4 => (object(), vec(any::<Index>(), 0..6)).prop_map(|(text, cuts)| in_pieces(&text, &cuts)),
        1 => Just(vec![String::new()]),
    ];
    let manner = select(vec![
        Manner::Index,
        Manner::InTurns,
        Manner::IndexAndIdEachTime,
        Manner::IndexZero,
    ]);
    let turns = vec(any::<Index>(), 24);
    (vec(arguments, 1..4), manner, turns).prop_map(|(pieces, manner, turns)| {
        Said::Calls(Calls {
            pieces,
            manner,
            turns,
        })
    })
}

pub fn script() -> impl Strategy<Value = Vec<Said>> {
    let said = prop_oneof![
        3 => pieces("[ \n]{0,3}[a-z\"\\\\\u{e9}\u{1f600}][a-z\u{2028} \n\u{e9}]{0,12}").prop_map(Said::Text),
        2 => pieces("[a-z \n\"\\\\\u{e9}\u{1f600}]{1,12}").prop_map(Said::Thinking),
        2 => calls(),
    ];
    vec(said, 0..6)
}

pub fn ending() -> impl Strategy<Value = Ending> {
    let reason = select(vec!["stop", "tool_calls", "function_call", "eos"]);
    let line_end = select(vec!["\n", "\r\n", "\r"]);
    (reason, any::<[bool; 5]>(), line_end).prop_map(|(reason, flags, line_end)| {
        let [beside_the_last_piece, usage, usage_each_time, done, ascii] = flags;
        Ending {
            reason,
            beside_the_last_piece,
            usage,
            usage_each_time,
            done,
            ascii,
            line_end,
        }
    })
}

/// The deltas in which it is said; `first_call` is the number of the first of `calls`.
fn call_deltas(calls: &Calls, first_call: usize) -> Vec<Value> {
    let count = calls.pieces.len();
    let mut order: Vec<usize> = (0..count)
        .flat_map(|call| vec![call; calls.pieces[call].len()])
        .collect();
    if calls.manner == Manner::InTurns {
        for (at, turn) in calls.turns.iter().enumerate().take(order.len()) {
            let other = at + turn.index(order.len() - at);
            order.swap(at, other);
        }
    }
    let mut next = vec![0; count];
    let mut deltas = Vec::new();
    for call in order {
        let number = first_call + call;
        let mut function = json!({"arguments": calls.pieces[call][next[call]]});
        let index = if calls.manner == Manner::IndexZero {
            0
        } else {
            number
        };
        let mut entry = json!({"index": index});
        if next[call] == 0 || calls.manner == Manner::IndexAndIdEachTime {
            entry["id"] = json!(format!("call_{number}"));
            function["name"] = json!(format!("tool_{number}"));
        }
        entry["function"] = function;
        next[call] += 1;
        deltas.push(json!({"tool_calls": [entry]}));
    }
    deltas
}

fn deltas(script: &[Said]) -> Vec<Value> {
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let mut number = 0;
    for said in script {
        match said {
            Said::Thinking(pieces) => {
                deltas.extend(pieces.iter().map(|piece| json!({"reasoning": piece})));
            }
            Said::Text(pieces) => {
                deltas.extend(pieces.iter().map(|piece| json!({"content": piece})));
            }
            Said::Calls(calls) => {
                deltas.extend(call_deltas(calls, number));
                number += calls.pieces.len();
            }
        }
    }
    deltas
}

pub fn upstream(script: &[Said], ending: &Ending) -> Vec<u8> {
    let mut deltas = deltas(script);
    if !ending.beside_the_last_piece {
        deltas.push(json!({}));
    }
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 5});
    let last = deltas.len() - 1;
    let mut events: Vec<String> = deltas
        .into_iter()
        .enumerate()
        .map(|(at, delta)| {
            let finish = (at == last).then_some(ending.reason);
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            let mut chunk = json!({"id": "chatcmpl-a1", "choices": [choice]});
            if ending.usage_each_time {
                chunk["usage"] = usage.clone();
            }
            chunk.to_string()
        })
        .collect();
    if ending.usage {
        events.push(json!({"id": "chatcmpl-a1", "choices": [], "usage": usage}).to_string());
    }
    if ending.done {
        events.push("[DONE]".to_owned());
    }
    let line_end = ending.line_end;
    let event = |event: String| {
        let event = if ending.ascii { ascii(&event) } else { event };
        format!("data: {event}{line_end}{line_end}")
    };
    events
        .into_iter()
        .map(event)
        .collect::<String>()
        .into_bytes()
}

/// The same JSON, as servers write it that do not trust UTF-8.
fn ascii(json: &str) -> String {
    let mut ascii = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(ascii, "\\u{unit:04x}").unwrap();
        }
    }
    ascii
}

/// The blocks that a client has to get; signatures are those of the message.
pub fn blocks(script: &[Said]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut number = 0;
    for said in script {
        match (said, blocks.last_mut()) {
            (Said::Thinking(pieces), Some(Block::Thinking { thinking, .. })) => {
                thinking.push_str(&pieces.concat());
            }
            (Said::Thinking(pieces), _) => blocks.push(Block::Thinking {
                thinking: pieces.concat(),
                signature: "gw1.a1".to_owned(),
            }),
            (Said::Text(pieces), Some(Block::Text(text))) => text.push_str(&pieces.concat()),
            (Said::Text(pieces), _) => blocks.push(Block::Text(pieces.concat())),
            (Said::Calls(calls), _) => {
                let order = call_order(calls);
                for call in order {
                    // What follows the object is not part of it.
                    let input = calls.pieces[call].concat().trim_end().to_owned();
                    blocks.push(Block::ToolUse {
                        id: format!("call_{}", number + call),
                        name: format!("tool_{}", number + call),
                        input: if input.is_empty() {
                            "{}".to_owned()
                        } else {
                            input
                        },
                    });
                }
                number += calls.pieces.len();
            }
        }
    }
    blocks
}

/// The calls in the order in which they first come.
fn call_order(calls: &Calls) -> Vec<usize> {
    let deltas = call_deltas(calls, 0).into_iter();
    let named = deltas.filter_map(|delta| {
        let id = delta["tool_calls"][0]["id"].as_str()?.to_owned();
        id.strip_prefix("call_")?.parse().ok()
    });
    let mut order: Vec<usize> = Vec::new();
    for call in named {
        if !order.contains(&call) {
            order.push(call);
        }
    }
    order
}
