//! Functions as Chat Completions wraps them: a tool, a call of one, the choice of one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, object, optional_text};

/// `{"type": "function", "function": {…}}`
#[derive(Deserialize)]
pub(super) struct Wrapped<'a> {
    /// A call's.
    #[serde(borrow)]
    pub(super) id: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    pub(super) function: Raw<'a>,
}

impl<'a> Wrapped<'a> {
    /// Reads one; Anthropic's API has nothing for what is no function.
    pub(super) fn read(raw: &'a RawValue) -> Result<Self, Wrong> {
        let wrapped: Self = object(Some(raw))?;
        match optional_text(wrapped.kind).at("type")?.as_deref() {
            None | Some("function") => Ok(wrapped),
            Some(_) => Err(Wrong::new("must be function").at("type")),
        }
    }
}

/// What is in it.
#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Raw<'a>,
    /// A tool's, as what follows.
    #[serde(borrow)]
    pub(super) description: Raw<'a>,
    #[serde(borrow)]
    pub(super) parameters: Raw<'a>,
    #[serde(borrow)]
    pub(super) strict: Raw<'a>,
    /// A call's.
    #[serde(borrow)]
    pub(super) arguments: Raw<'a>,
}
