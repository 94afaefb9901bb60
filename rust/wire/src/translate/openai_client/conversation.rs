//! The turns as Anthropic takes them: the user's first, then by turns, every call answered in the
//! turn after it.

use std::borrow::Cow;

use super::super::arguments::Input;
use super::blocks::{Block, Role, Turn};
use super::ids::{Calls, Ids, Key};

/// What stands before a conversation that begins with the assistant.
const CONTINUES: &str = "(conversation continues)";

/// What stands for a result that never came.
const NO_RESULT: &str = "Error: no result was recorded";

/// A call that the assistant made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) key: Key<'a>,
    pub(super) name: Cow<'a, str>,
    pub(super) input: Input<'a>,
}

/// A conversation, built message by message.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    /// Whether system messages keep their role in mid-conversation.
    mid_system: bool,
    /// The blocks of the leading system messages.
    system: Vec<Block<'a>>,
    turns: Vec<Turn<'a>>,
    ids: Ids,
    /// The calls of the last assistant turn.
    calls: Calls<'a>,
    /// What came since.
    reply: Reply<'a>,
}

/// A whole conversation.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
    /// The tool call ids that were changed, as (upstream's, client's).
    pub(super) ids: Vec<(String, String)>,
}

/// All that stands between two assistant turns.
#[derive(Debug, Default)]
struct Reply<'a> {
    /// They come first, whatever the client's order.
    results: Vec<Block<'a>>,
    blocks: Vec<Block<'a>>,
    /// Instructions that nothing but the assistant's turn may follow.
    ///
    /// Source: platform.claude.com, "Mid-conversation system messages": directly after a user turn,
    /// and last or directly before an assistant turn, never two of them.
    system: Vec<Block<'a>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(mid_system: bool) -> Self {
        Self {
            mid_system,
            ..Self::default()
        }
    }

    pub(super) fn system(&mut self, blocks: Vec<Block<'a>>) {
        if self.turns.is_empty() && self.reply.is_empty() {
            self.system.extend(blocks);
            return;
        }
        self.reply.system.extend(blocks);
        if !self.mid_system {
            self.reply.fold();
        }
    }

    pub(super) fn user(&mut self, blocks: Vec<Block<'a>>) {
        if !blocks.is_empty() {
            self.reply.fold();
            self.reply.blocks.extend(blocks);
        }
    }

    /// What a tool gave back, beside its call or, if no call waits for it, as the user's words.
    pub(super) fn result(&mut self, key: &Key<'a>, content: Vec<Block<'a>>) {
        if let Some(tool_use_id) = self.calls.answer(key) {
            self.reply.results.push(Block::ToolResult {
                tool_use_id,
                content,
                is_error: false,
            });
            return;
        }
        let (Key::Id(id) | Key::Function(id)) = key;
        let label = format!("[result of unknown tool call {id}]");
        let mut blocks = content.into_iter().peekable();
        let first = match blocks.next_if(|block| matches!(block, Block::Text { .. })) {
            Some(Block::Text { text }) => format!("{label} {text}"),
            _ => label,
        };
        self.user([Block::text(first)].into_iter().chain(blocks).collect());
    }

    pub(super) fn assistant(&mut self, mut blocks: Vec<Block<'a>>, calls: Vec<Call<'a>>) {
        if blocks.is_empty() && calls.is_empty() {
            return;
        }
        self.close_reply();
        for Call { key, name, input } in calls {
            let id = self.ids.give(&key);
            self.calls.push(key, id.clone());
            blocks.push(Block::ToolUse { id, name, input });
        }
        if self.turns.is_empty() {
            self.push(Role::User, vec![Block::text(CONTINUES)]);
        }
        match self.turns.last_mut() {
            Some(last) if last.role == Role::Assistant => last.content.extend(blocks),
            _ => self.push(Role::Assistant, blocks),
        }
    }

    /// The whole conversation; without turns if nobody said anything.
    pub(super) fn finish(mut self) -> Finished<'a> {
        self.close_reply();
        if let Some(last) = self.turns.last_mut()
            && last.role == Role::Assistant
            && let Some(Block::Text { text }) = last.content.last_mut()
        {
            // Anthropic refuses to go on after trailing space.
            match text {
                Cow::Borrowed(text) => *text = text.trim_end(),
                Cow::Owned(text) => text.truncate(text.trim_end().len()),
            }
        }
        Finished {
            system: self.system,
            turns: self.turns,
            ids: self.ids.changed,
        }
    }

    fn close_reply(&mut self) {
        if self.reply.is_empty() {
            return;
        }
        let missing = self.calls.drain().map(|tool_use_id| Block::ToolResult {
            tool_use_id,
            content: vec![Block::text(NO_RESULT)],
            is_error: true,
        });
        self.reply.results.extend(missing);
        if self.reply.results.is_empty() && self.reply.blocks.is_empty() {
            self.reply.fold();
        }
        let Reply {
            mut results,
            blocks,
            system,
        } = std::mem::take(&mut self.reply);
        results.extend(blocks);
        self.push(Role::User, results);
        if !system.is_empty() {
            self.push(Role::System, system);
        }
    }

    fn push(&mut self, role: Role, content: Vec<Block<'a>>) {
        self.turns.push(Turn { role, content });
    }
}

impl Finished<'_> {
    /// Whether the last assistant turn would have to begin with thinking if that were turned on by
    /// hand, which a client of Chat Completions has none of to send back: a turn that called tools,
    /// or one that is to be continued.
    pub(super) fn lacks_thinking(&self) -> bool {
        let mut turns = self.turns.iter().rev().enumerate();
        let Some((after, turn)) = turns.find(|(_, turn)| turn.role == Role::Assistant) else {
            return false;
        };
        let is_call = |block: &Block<'_>| matches!(block, Block::ToolUse { .. });
        after == 0 || turn.content.iter().any(is_call)
    }
}

impl Reply<'_> {
    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.blocks.is_empty() && self.system.is_empty()
    }

    /// Puts instructions that cannot keep their role into the user's turn; into the last result, if
    /// there are only results: text behind results would look like a new question.
    fn fold(&mut self) {
        for block in self.system.drain(..) {
            let block = reminder(block);
            match self.results.last_mut() {
                Some(Block::ToolResult { content, .. }) if self.blocks.is_empty() => {
                    content.push(block);
                }
                _ => self.blocks.push(block),
            }
        }
    }
}

/// An instruction among the user's words, told apart from them.
fn reminder(block: Block<'_>) -> Block<'_> {
    const OPENING: &str = "<system-reminder>";
    const CLOSING: &str = "</system-reminder>";
    let marked = |text: &str| text.starts_with(OPENING) && text.ends_with(CLOSING);
    match block {
        Block::Text { text } if !marked(text.trim()) => {
            Block::text(format!("{OPENING}\n{text}\n{CLOSING}"))
        }
        block => block,
    }
}
