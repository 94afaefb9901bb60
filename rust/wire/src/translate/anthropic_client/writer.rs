//! Events of the Messages API, in the order its clients insist on: one open block at a time,
//! indexes without a gap.
//!
//! Source: Anthropic, "Streaming messages". Its Python SDK skips events without a name, so each has
//! one.

use super::usage::Usage;

/// The block that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Open {
    #[default]
    Nothing,
    Text,
    Thinking,
    /// A tool call, by its number in `Calls`.
    Call(usize),
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    open: Open,
    next_index: usize,
    any_call: bool,
    /// The open block's index as text.
    index: String,
    signature: String,
}

impl Writer {
    pub(super) fn open(&self) -> Open {
        self.open
    }

    /// Whether any block was written.
    pub(super) fn any_block(&self) -> bool {
        self.next_index > 0
    }

    /// Whether any of them was a tool call.
    pub(super) fn any_call(&self) -> bool {
        self.any_call
    }

    pub(super) fn message_start(
        &mut self,
        out: &mut Vec<u8>,
        stem: &str,
        model: &str,
        usage: &Usage,
    ) {
        self.signature = format!("{}{stem}", super::super::SIGNATURE_PREFIX);
        event(
            out,
            "message_start",
            &[
                r#","message":{"id":"msg_"#,
                stem,
                r#"","type":"message","role":"assistant","model":"#,
                &quoted(model),
                r#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#,
                &usage.to_json(),
                "}",
            ],
        );
    }

    pub(super) fn start_text(&mut self, out: &mut Vec<u8>) {
        self.start(out, Open::Text, &[r#""text","text":"""#]);
    }

    pub(super) fn start_thinking(&mut self, out: &mut Vec<u8>) {
        self.start(
            out,
            Open::Thinking,
            &[r#""thinking","thinking":"","signature":"""#],
        );
    }

    pub(super) fn start_call(&mut self, out: &mut Vec<u8>, number: usize, id: &str, name: &str) {
        let block = [
            r#""tool_use","id":"#,
            &quoted(id),
            r#","name":"#,
            &quoted(name),
            r#","input":{}"#,
        ];
        self.start(out, Open::Call(number), &block);
        self.any_call = true;
    }

    fn start(&mut self, out: &mut Vec<u8>, open: Open, block: &[&str]) {
        self.close(out);
        self.open = open;
        self.index = self.next_index.to_string();
        self.next_index += 1;
        let head = [r#","index":"#, &self.index, r#","content_block":{"type":"#];
        event(out, "content_block_start", &[&head, block, &["}"]].concat());
    }

    /// Writes more of the open block; `json` is a JSON string.
    pub(super) fn delta(&self, out: &mut Vec<u8>, json: &str) {
        let head = match self.open {
            Open::Nothing => return,
            Open::Text => r#"text_delta","text":"#,
            Open::Thinking => r#"thinking_delta","thinking":"#,
            Open::Call(_) => r#"input_json_delta","partial_json":"#,
        };
        self.write_delta(out, head, json);
    }

    fn write_delta(&self, out: &mut Vec<u8>, head: &str, json: &str) {
        let index = &self.index;
        let parts = [
            r#","index":"#,
            index,
            r#","delta":{"type":""#,
            head,
            json,
            "}",
        ];
        event(out, "content_block_delta", &parts);
    }

    /// Closes the open block, if there is one; thinking is signed, or clients throw it away.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => return,
            Open::Thinking => {
                self.write_delta(
                    out,
                    r#"signature_delta","signature":"#,
                    &quoted(&self.signature),
                );
            }
            Open::Text | Open::Call(_) => {}
        }
        event(out, "content_block_stop", &[r#","index":"#, &self.index]);
    }

    pub(super) fn end(
        &mut self,
        out: &mut Vec<u8>,
        stop_reason: &str,
        stop_sequence: Option<&str>,
        usage: &Usage,
    ) {
        self.close(out);
        let stop_sequence = stop_sequence.map_or_else(|| "null".to_owned(), quoted);
        event(
            out,
            "message_delta",
            &[
                r#","delta":{"stop_reason":""#,
                stop_reason,
                r#"","stop_sequence":"#,
                &stop_sequence,
                r#"},"usage":"#,
                &usage.to_json(),
            ],
        );
        event(out, "message_stop", &[]);
    }
}

pub(super) fn ping(out: &mut Vec<u8>) {
    event(out, "ping", &[]);
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // Writing a string into a string has no way to fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// Writes one event; `members` is the JSON after its type.
fn event(out: &mut Vec<u8>, name: &str, members: &[&str]) {
    for part in ["event: ", name, "\ndata: {\"type\":\"", name, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
    for part in members {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"}\n\n");
}
