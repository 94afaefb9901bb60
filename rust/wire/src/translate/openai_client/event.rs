//! The events of a stream, as far as they matter here.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sse;

/// One event: whatever is not looked at yet stays as it stands, so that an odd member does not hide
/// the others.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// What is inside an event: a message, a block at its start, or a delta.
#[derive(Deserialize, Default)]
pub(super) struct Inner<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) partial_json: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_details: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// What happened: `type`, or where a server leaves it out the name of the `frame` that the
    /// event came in.
    pub(super) fn kind(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.kind {
            Some(raw) => raw.get().trim_matches('"').as_bytes(),
            None => sse::event_name(frame).unwrap_or_default(),
        }
    }

    /// The number of the block that it belongs to; without one blocks can only come one after the
    /// other.
    pub(super) fn index(&self) -> u64 {
        let index = self.index.and_then(|raw| raw.get().parse().ok());
        index.unwrap_or_default()
    }
}

impl<'a> Inner<'a> {
    /// Reads a member of an event; one that is no object says nothing.
    pub(super) fn of(raw: Option<&'a RawValue>) -> Self {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }

    /// The block's `type`, quotes included.
    pub(super) fn kind(&self) -> &'a str {
        self.kind.map_or("", RawValue::get)
    }
}
