//! Conversations of any blocks in any order, and what has to hold for what they become.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

/// A block; what it says is given to it when it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Empty,
    Thinking,
    Redacted,
    Call(u8),
    Result(u8, Inside),
    Image,
    Document,
    SearchResult,
    ServerTool,
    ServerResult,
    Unknown,
}

/// What a tool's result holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inside {
    Nothing,
    Text,
    TextAndImage,
    Failure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Assistant,
    System,
}

pub(super) type Soup = Vec<(Role, Vec<Kind>)>;

/// A text of a soup, and where it was.
#[derive(Debug)]
pub(super) struct Text {
    said: String,
    role: Role,
    /// The call that it is the result of.
    result: Option<u8>,
    is_thinking: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    let id = 0..4_u8;
    let inside = prop_oneof![
        Just(Inside::Nothing),
        Just(Inside::Text),
        Just(Inside::TextAndImage),
        Just(Inside::Failure)
    ];
    prop_oneof![
        60 => Just(Kind::Text),
        10 => Just(Kind::Empty),
        10 => Just(Kind::Thinking),
        10 => Just(Kind::Redacted),
        60 => id.clone().prop_map(Kind::Call),
        60 => (id, inside).prop_map(|(id, inside)| Kind::Result(id, inside)),
        10 => Just(Kind::Image),
        10 => Just(Kind::Document),
        10 => Just(Kind::SearchResult),
        10 => Just(Kind::ServerTool),
        10 => Just(Kind::ServerResult),
        1 => Just(Kind::Unknown),
    ]
}

/// A turn holds what its role can hold, so that few soups are refused.
fn turn() -> impl Strategy<Value = (Role, Vec<Kind>)> {
    let role = prop_oneof![
        3 => Just(Role::User),
        3 => Just(Role::Assistant),
        2 => Just(Role::System)
    ];
    (role, prop::collection::vec(kind(), 0..5)).prop_map(|(role, kinds)| {
        let mut called = BTreeSet::new();
        let fits = |kind: &Kind| match (role, kind) {
            (_, Kind::Text | Kind::Empty | Kind::Unknown) => true,
            (Role::User, kind) => matches!(
                kind,
                Kind::Result(..) | Kind::Image | Kind::Document | Kind::SearchResult
            ),
            (Role::Assistant, Kind::Call(id)) => called.insert(*id),
            (Role::Assistant, kind) => matches!(
                kind,
                Kind::Thinking | Kind::Redacted | Kind::ServerTool | Kind::ServerResult
            ),
            (Role::System, _) => false,
        };
        (role, kinds.into_iter().filter(fits).collect())
    })
}

pub(super) fn soup() -> impl Strategy<Value = Soup> {
    prop::collection::vec(turn(), 1..10)
}

/// The soup as the member `messages`, and its texts in order.
pub(super) fn written(soup: &Soup) -> (Value, Vec<Text>) {
    let mut texts = Vec::new();
    let turns = soup.iter().map(|(role, kinds)| {
        let blocks = kinds.iter().map(|kind| block(*role, *kind, &mut texts));
        let name = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        };
        json!({"role": name, "content": blocks.collect::<Vec<_>>()})
    });
    let turns: Vec<_> = turns.collect();
    (turns.into(), texts)
}

fn block(role: Role, kind: Kind, texts: &mut Vec<Text>) -> Value {
    let mut text = |result, is_thinking| {
        let text = format!("<{}>", texts.len());
        texts.push(Text {
            said: text.clone(),
            role,
            result,
            is_thinking,
        });
        text
    };
    let mut said = || text(None, false);
    let image =
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    match kind {
        Kind::Text => json!({"type": "text", "text": said()}),
        Kind::Empty => json!({"type": "text", "text": ""}),
        Kind::Thinking => {
            json!({"type": "thinking", "thinking": text(None, true), "signature": "s"})
        }
        Kind::Redacted => json!({"type": "redacted_thinking", "data": "x"}),
        Kind::Call(id) => {
            json!({"type": "tool_use", "id": id.to_string(), "name": "f", "input": {}})
        }
        Kind::Result(id, inside) => {
            let mut content = Vec::new();
            if !matches!(inside, Inside::Nothing) {
                content.push(json!({"type": "text", "text": text(Some(id), false)}));
            }
            if matches!(inside, Inside::TextAndImage) {
                content.push(image);
            }
            let is_error = matches!(inside, Inside::Failure);
            let id = id.to_string();
            json!({"type": "tool_result", "tool_use_id": id, "content": content,
                "is_error": is_error})
        }
        Kind::Image => image,
        Kind::Document => {
            json!({"type": "document", "title": said(), "source": {"type": "text", "data": said()}})
        }
        Kind::SearchResult => {
            let (title, source) = (said(), said());
            let content = json!([{"type": "text", "text": said()}]);
            json!({"type": "search_result", "title": title, "source": source, "content": content})
        }
        Kind::ServerTool => {
            let input = json!({"query": said()});
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": input})
        }
        Kind::ServerResult => {
            let found = json!([{"type": "web_search_result", "title": said(), "url": said()}]);
            json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": found})
        }
        Kind::Unknown => json!({"type": "hologram"}),
    }
}

/// The lengths of the conversations that a model was asked to go on with, and did: the turn behind
/// each is the assistant's.
pub(super) fn asked(soup: &Soup) -> Vec<usize> {
    let says = |(role, kinds): &(Role, Vec<Kind>)| {
        *role != Role::System || kinds.iter().any(|kind| matches!(kind, Kind::Text))
    };
    // While a call waits for its result there is nothing to ask a model.
    let awaiting = |turns: &[(Role, Vec<Kind>)]| {
        let since = turns.rsplit(|turn| turn.0 == Role::User).next();
        let mut kinds = since.into_iter().flatten().flat_map(|turn| &turn.1);
        kinds.any(|kind| matches!(kind, Kind::Call(_)))
    };
    let heard = |turns: &[(Role, Vec<Kind>)]| {
        let last = turns.iter().rfind(|turn| says(turn));
        last.is_some_and(|turn| turn.0 != Role::Assistant) && !awaiting(turns)
    };
    let begins_with_system = soup
        .iter()
        .take_while(|turn| turn.0 == Role::System)
        .count();
    (begins_with_system + 1..soup.len())
        .filter(|&length| soup[length].0 == Role::Assistant && heard(&soup[..length]))
        .collect()
}

/// Whether the assistant speaks again while a call may wait: its result then comes in between.
pub(super) fn has_awaiting_turns(soup: &Soup) -> bool {
    let spoken: Vec<_> = soup.iter().filter(|turn| turn.0 != Role::System).collect();
    spoken
        .windows(2)
        .any(|pair| pair.iter().all(|turn| turn.0 == Role::Assistant))
}

pub(super) fn every_call_is_answered(messages: &Value) {
    let messages = messages.as_array().unwrap();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap();
            assert!(
                open.remove(id),
                "{id} answers no call, or twice: {messages:#?}"
            );
            continue;
        }
        assert!(open.is_empty(), "{open:?} have no result: {messages:#?}");
        if message["role"] != "assistant" {
            continue;
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let is_new = open.insert(call["id"].as_str().unwrap());
            assert!(is_new, "two calls with one id: {messages:#?}");
        }
        if index + 1 == messages.len() {
            return;
        }
    }
    assert!(open.is_empty(), "{open:?} have no result: {messages:#?}");
}

/// The texts of a message's content.
pub(super) fn contents(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect()
        }
        _ => String::new(),
    }
}

pub(super) fn every_text_survives(messages: &Value, texts: &[Text]) {
    let messages = messages.as_array().unwrap();
    for text in texts {
        let holds = |message: &&Value| {
            let thinking = message["reasoning"].as_str().unwrap_or_default();
            assert_eq!(message["reasoning"], message["reasoning_content"]);
            let place = if text.is_thinking {
                thinking.to_owned()
            } else {
                contents(message)
            };
            place.matches(&text.said).count() == 1
        };
        let found: Vec<_> = messages.iter().filter(holds).collect();
        assert_eq!(
            found.len(),
            1,
            "{text:?} is there {} times: {messages:#?}",
            found.len()
        );
        if let Some(id) = text.result {
            let answered = found[0]["tool_call_id"].as_str() == Some(&id.to_string());
            let unknown = format!("[result of unknown tool call {id}]");
            let told = answered || contents(found[0]).contains(&unknown);
            assert!(told, "{text:?}: {messages:#?}");
        }
    }
}

/// Results stand behind their calls; everything else stays in order, each side's words in any case.
pub(super) fn texts_keep_their_order(messages: &Value, texts: &[Text], awaiting: bool) {
    let all: String = messages.as_array().unwrap().iter().map(contents).collect();
    let in_order = |fits: &dyn Fn(&Text) -> bool| {
        let spoken = texts
            .iter()
            .filter(|text| text.result.is_none() && !text.is_thinking);
        let places = spoken
            .filter(|text| fits(text))
            .map(|text| all.find(&text.said).unwrap());
        assert!(places.is_sorted(), "{messages:#?}");
    };
    in_order(&|text| text.role == Role::Assistant);
    in_order(&|text| text.role != Role::Assistant);
    if !awaiting {
        in_order(&|_| true);
    }
}
