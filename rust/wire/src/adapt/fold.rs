//! The operator's words in the middle of a conversation, for a model that takes them only in front
//! of it.
//!
//! They go forward only, so that what stands before them does not change from one request to the
//! next: behind a user's turn to its end, behind an assistant's to the beginning of the user's next
//! one.

use std::mem;

use crate::scan::{Shape, Value};
use crate::translate::Dropped;

use super::edits::{Edits, Item};
use super::history::inner;

const OPENING: &str = "<system-reminder>";
const CLOSING: &str = "</system-reminder>";

/// A conversation up to some message.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// What stood before everything else, and so belongs to the system prompt.
    prompt: Blocks,
    last: Last,
}

/// Blocks as JSON, with commas between them.
type Blocks = Vec<u8>;

/// Whose turn came last.
#[derive(Debug, Default)]
enum Last {
    #[default]
    Nobodys,
    /// The user's, and what is to be said at its beginning and end.
    Users {
        message: Value,
        content: Option<Value>,
        front: Blocks,
        back: Blocks,
    },
    /// The assistant's, and what waits for the user's next turn.
    Assistants { end: usize, pending: Blocks },
}

impl Fold {
    /// The operator's words.
    pub(super) fn system(
        &mut self,
        edits: &Edits<'_>,
        content: Option<&Value>,
        dropped: &mut Dropped,
    ) {
        let (said, is_reminder) = match &mut self.last {
            Last::Nobodys => (&mut self.prompt, false),
            Last::Users { back, .. } => (back, true),
            Last::Assistants { pending, .. } => (pending, true),
        };
        let Some(content) = content else { return };
        if let Some(text) = text_json(edits, content, is_reminder) {
            push(said, &text_block(&text));
        }
        for Item { value: block, .. } in edits.items(content) {
            let [kind, text] = edits.members(&block, ["type", "text"]);
            let kind = kind.and_then(|kind| edits.text(&kind)).unwrap_or_default();
            if kind != "text" {
                dropped.note(kind.into_owned());
            } else if let Some(old) = text
                && let Some(new) = text_json(edits, &old, is_reminder)
            {
                let before = edits.raw(&(block.span.start..old.span.start));
                let after = edits.raw(&(old.span.end..block.span.end));
                push(said, &[before, &new, after].concat());
            }
        }
    }

    /// A turn of the assistant.
    pub(super) fn assistant(&mut self, edits: &mut Edits<'_>, message: &Value) {
        self.settle(edits);
        self.last = Last::Assistants {
            end: message.span.end,
            pending: Blocks::new(),
        };
    }

    /// A turn of the user.
    pub(super) fn user(&mut self, edits: &mut Edits<'_>, message: &Value, content: Option<Value>) {
        let front = match &mut self.last {
            Last::Assistants { pending, .. } => mem::take(pending),
            _ => Blocks::new(),
        };
        self.settle(edits);
        self.last = Last::Users {
            message: message.clone(),
            content,
            front,
            back: Blocks::new(),
        };
    }

    /// The conversation is over; `root` is the body, `system` its system prompt.
    pub(super) fn finish(mut self, edits: &mut Edits<'_>, root: &Value, system: Option<&Value>) {
        self.settle(edits);
        if !self.prompt.is_empty() {
            say(edits, root, "system", system, b"", &self.prompt);
        }
    }

    /// Notes what is to be said in the last turn, or after it if it was the assistant's.
    fn settle(&mut self, edits: &mut Edits<'_>) {
        match mem::take(&mut self.last) {
            Last::Users {
                message,
                content,
                front,
                back,
            } if !(front.is_empty() && back.is_empty()) => {
                say_in_turn(edits, &message, content.as_ref(), &front, &back);
            }
            Last::Assistants { end, pending } if !pending.is_empty() => {
                let turn = [br#",{"role":"user","content":["#, &*pending, b"]}"].concat();
                edits.insert(end, turn);
            }
            _ => {}
        }
    }
}

/// The text as JSON, marked as the operator's words if it is to stand among a user's; `None` if it
/// is empty, or no text.
fn text_json(edits: &Edits<'_>, text: &Value, is_reminder: bool) -> Option<Vec<u8>> {
    let json = edits.raw(&text.span);
    if text.shape != Shape::String || json == b"\"\"" {
        return None;
    }
    let text = edits.text(text);
    let is_marked = text.is_some_and(|text| {
        let text = text.trim();
        text.starts_with(OPENING) && text.ends_with(CLOSING)
    });
    if is_marked || !is_reminder {
        return Some(json.to_vec());
    }
    let (opening, closing) = (format!("\"{OPENING}\\n"), format!("\\n{CLOSING}\""));
    Some([opening.as_bytes(), inner(json), closing.as_bytes()].concat())
}

fn text_block(json: &[u8]) -> Vec<u8> {
    [br#"{"type":"text","text":"#, json, b"}"].concat()
}

fn push(blocks: &mut Blocks, block: &[u8]) {
    if !blocks.is_empty() && !block.is_empty() {
        blocks.push(b',');
    }
    blocks.extend_from_slice(block);
}

/// Says `front` behind the results at the beginning of a user's turn and `back` at its end.
///
/// In a turn that is nothing but results both go into the last of them: text behind results would
/// look like a new question.
fn say_in_turn(
    edits: &mut Edits<'_>,
    message: &Value,
    content: Option<&Value>,
    front: &[u8],
    back: &[u8],
) {
    let blocks = content.filter(|content| content.shape == Shape::Array);
    let mut last_result = None;
    let mut rest = false;
    for Item { value: block, .. } in blocks.into_iter().flat_map(|blocks| edits.items(blocks)) {
        let [kind] = edits.members(&block, ["type"]);
        if kind.and_then(|kind| edits.text(&kind)).as_deref() == Some("tool_result") {
            // Only those in front of everything else.
            if !rest {
                last_result = Some(block);
            }
        } else {
            rest = true;
        }
    }
    match last_result {
        Some(result) if !rest => {
            let [content] = edits.members(&result, ["content"]);
            let mut both = front.to_vec();
            push(&mut both, back);
            say(edits, &result, "content", content.as_ref(), b"", &both);
        }
        Some(result) => {
            if !front.is_empty() {
                edits.insert(result.span.end, [b",", front].concat());
            }
            say(edits, message, "content", content, b"", back);
        }
        None => say(edits, message, "content", content, front, back),
    }
}

/// Says `front` and `back` around what `owner`'s member `name` says, which becomes a list of
/// blocks.
fn say(
    edits: &mut Edits<'_>,
    owner: &Value,
    name: &str,
    value: Option<&Value>,
    front: &[u8],
    back: &[u8],
) {
    if front.is_empty() && back.is_empty() {
        return;
    }
    if let Some((start, end)) = value.and_then(|value| span_of_items(edits, value)) {
        if !front.is_empty() {
            edits.insert(start, [front, b","].concat());
        }
        if !back.is_empty() {
            edits.insert(end, [b",", back].concat());
        }
        return;
    }
    let mut list = front.to_vec();
    let said = value.and_then(|value| text_json(edits, value, false));
    push(
        &mut list,
        &said.map(|text| text_block(&text)).unwrap_or_default(),
    );
    push(&mut list, back);
    if let Some(value) = value {
        edits.replace(value.span.clone(), [b"[", &*list, b"]"].concat());
    } else {
        let member = [b",\"", name.as_bytes(), b"\":[", &list, b"]"].concat();
        edits.insert(owner.span.end - 1, member);
    }
}

/// Where the first element of a list begins and its last one ends; `None` if there is none.
fn span_of_items(edits: &Edits<'_>, list: &Value) -> Option<(usize, usize)> {
    let array = (list.shape == Shape::Array).then_some(list)?;
    let mut items = edits.items(array).map(|item| item.span);
    let first = items.next()?;
    let end = items.last().map_or(first.end, |last| last.end);
    Some((first.start, end))
}
