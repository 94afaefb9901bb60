//! Whether a person typed a request, or the result of a tool is on its way back to the model.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scan::{Malformed, Members};
use crate::{Dialect, Peek};

/// So many system messages at the end are looked behind: clients send one or two there.
const INSTRUCTIONS_LIMIT: usize = 64;

/// Whether the last message of a request is one that a person typed: not the result of a tool, to
/// which Claude Code adds reminders of its own. Instructions (`system`, `developer`) are no turns.
///
/// What cannot be told for a result is a prompt: that is what is counted. `body` has passed
/// [`crate::peek()`]; the list of messages is scanned, and only its end is read.
#[must_use]
pub fn is_prompt(body: &[u8], peek: &Peek, dialect: Dialect) -> bool {
    let messages = body.get(peek.messages.clone()).unwrap_or_default();
    for span in last_spans(messages).unwrap_or_default().into_iter().rev() {
        let json = messages.get(span).unwrap_or_default();
        let Ok(message) = serde_json::from_slice::<Message<'_>>(json) else {
            return true;
        };
        if !message.is_instruction(dialect) {
            return !message.is_result(dialect);
        }
    }
    true
}

/// Where the last messages stand in the list of them.
fn last_spans(messages: &[u8]) -> Result<VecDeque<Range<usize>>, Malformed> {
    let mut last = VecDeque::with_capacity(INSTRUCTIONS_LIMIT);
    let mut members = Members::of_array(messages)?;
    while let Some((_, message)) = members.next()? {
        if last.len() == INSTRUCTIONS_LIMIT {
            last.pop_front();
        }
        last.push_back(message.span);
    }
    Ok(last)
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl Message<'_> {
    fn is_instruction(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Anthropic => self.role == "system",
            Dialect::OpenAi => matches!(&*self.role, "system" | "developer"),
        }
    }

    fn is_result(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Anthropic => self.holds_result().unwrap_or(false),
            Dialect::OpenAi => matches!(&*self.role, "tool" | "function"),
        }
    }

    /// Whether there is a tool's result among the blocks of the content; `None` if it has no blocks.
    fn holds_result(&self) -> Option<bool> {
        let blocks = self.content?.get();
        let mut members = Members::of_array(blocks.as_bytes()).ok()?;
        while let Some((_, block)) = members.next().ok()? {
            let block: Result<Block<'_>, _> = serde_json::from_str(blocks.get(block.span)?);
            if block.is_ok_and(|block| block.kind == "tool_result") {
                return Some(true);
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests;
