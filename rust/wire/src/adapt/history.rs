//! The conversation, for a model that cannot take all that is in it.

use memchr::memmem;

use crate::scan::{Shape, Value};
use crate::translate::{Dropped, Profile, SIGNATURE_PREFIX};

use super::edits::{Edits, Item};
use super::fold::Fold;

/// A user's turn, a result in it, a document in that: deeper no block is looked for.
const DEPTH: usize = 3;

/// What has to change in a conversation.
pub(super) struct History<'a> {
    pub(super) profile: &'a Profile,
    /// Whether it holds thinking that the upstream cannot verify.
    pub(super) unsigned: bool,
    /// Whether another class of model was asked for.
    pub(super) downgraded: bool,
}

impl History<'_> {
    /// Notes what has to change.
    pub(super) fn fit(&self, edits: &mut Edits<'_>, root: &Value, dropped: &mut Dropped) {
        let folds = self.downgraded && !self.profile.mid_system;
        let omits = self.downgraded && !(self.profile.vision && self.profile.documents);
        if !(self.unsigned || folds || omits) {
            return;
        }
        let [messages, system] = edits.members(root, ["messages", "system"]);
        let Some(messages) = messages else { return };
        let mut fold = Fold::default();
        edits.retain(&messages, |edits, Item { value: message, .. }| {
            let [role, content] = edits.members(message, ["role", "content"]);
            let role = role.and_then(|role| edits.text(&role)).unwrap_or_default();
            match &*role {
                "assistant" => {
                    let stays = !self.unsigned || signed(edits, message, content.as_ref(), dropped);
                    if stays {
                        fold.assistant(edits, message);
                    }
                    return stays;
                }
                "user" => {
                    if let Some(content) = content.as_ref().filter(|_| omits) {
                        self.omit(edits, content, DEPTH, dropped);
                    }
                    fold.user(edits, message, content);
                }
                "system" if folds => {
                    fold.system(edits, content.as_ref(), dropped);
                    return false;
                }
                _ => {}
            }
            true
        });
        fold.finish(edits, root, system.as_ref());
    }

    /// Says in words where the images and documents were that the model cannot read.
    fn omit(&self, edits: &mut Edits<'_>, content: &Value, depth: usize, dropped: &mut Dropped) {
        if depth == 0 || content.shape != Shape::Array {
            return;
        }
        for Item { value: block, .. } in edits.items(content) {
            let names = ["type", "source", "content", "title", "cache_control"];
            let [kind, source, content, title, mark] = edits.members(&block, names);
            let kind = kind.and_then(|kind| edits.text(&kind)).unwrap_or_default();
            let text = match &*kind {
                "image" if !self.profile.vision => {
                    dropped.note("image");
                    br"[image omitted: this model cannot read images]".to_vec()
                }
                "document" => {
                    let inner = source.map(|source| edits.members(&source, ["type", "content"]));
                    let [kind, content] = inner.unwrap_or_default();
                    let kind = kind.and_then(|kind| edits.text(&kind)).unwrap_or_default();
                    if let Some(content) = content.filter(|_| kind == "content") {
                        self.omit(edits, &content, depth - 1, dropped);
                    }
                    if self.profile.documents || matches!(&*kind, "content" | "text") {
                        continue;
                    }
                    dropped.note("document");
                    document_omitted(edits, title.as_ref())
                }
                "tool_result" => {
                    if let Some(content) = content {
                        self.omit(edits, &content, depth - 1, dropped);
                    }
                    continue;
                }
                _ => continue,
            };
            let mut json = [br#"{"type":"text","text":""#, &*text, b"\""].concat();
            // Without its mark everything before it would be read anew with every request.
            if let Some(mark) = mark {
                json.extend([br#","cache_control":"#, edits.raw(&mark.span)].concat());
            }
            json.push(b'}');
            edits.replace(block.span, json);
        }
    }
}

/// The text in a document's place, as the inside of a JSON string.
fn document_omitted(edits: &Edits<'_>, title: Option<&Value>) -> Vec<u8> {
    let title = title.filter(|title| title.shape == Shape::String);
    let title = title.map_or(&b""[..], |title| inner(edits.raw(&title.span)));
    let named = match title {
        b"" => Vec::new(),
        title => [br#"\""#, title, br#"\" "#].concat(),
    };
    [
        b"[document ",
        &*named,
        b"omitted: this model cannot read PDF files]",
    ]
    .concat()
}

/// What stands between the quotes of a JSON string.
pub(super) fn inner(json: &[u8]) -> &[u8] {
    let unquoted = json
        .strip_prefix(b"\"")
        .and_then(|json| json.strip_suffix(b"\""));
    unquoted.unwrap_or_default()
}

/// Takes out the thinking that this gateway signed; false if nothing else was said.
fn signed(
    edits: &mut Edits<'_>,
    message: &Value,
    content: Option<&Value>,
    dropped: &mut Dropped,
) -> bool {
    let Some(content) = content.filter(|_| is_marked(edits.raw(&message.span))) else {
        return true;
    };
    edits.retain(content, |edits, Item { value: block, .. }| {
        let [kind, signature] = edits.members(block, ["type", "signature"]);
        let kind = kind.and_then(|kind| edits.text(&kind));
        let signature = signature.and_then(|signature| edits.text(&signature));
        let goes = kind.as_deref() == Some("thinking")
            && signature.is_some_and(|signature| signature.starts_with(SIGNATURE_PREFIX));
        if goes {
            dropped.note("messages.thinking");
        }
        !goes
    })
}

/// Whether a string in `json` begins like the signatures that this gateway gives.
pub(super) fn is_marked(json: &[u8]) -> bool {
    memmem::find(json, format!("\"{SIGNATURE_PREFIX}").as_bytes()).is_some()
}
