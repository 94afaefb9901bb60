//! How the model is asked to think.

use fault::Fault;
use serde::Serialize;

use super::super::place::{At, Raw, Wrong, optional_text};
use super::super::{Effort, Thinking as Model};
use super::parts::Context;

/// The fewest tokens that Anthropic lets a model think with.
const LEAST_BUDGET_TOKENS: u64 = 1024;

/// How the model thinks.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Thinking {
    /// As much as it finds right.
    Adaptive,
    /// Up to a number of tokens.
    Enabled { budget_tokens: u64 },
    /// Not at all.
    Disabled,
}

impl Thinking {
    /// Whether the model may think.
    pub(super) const fn is_on(&self) -> bool {
        !matches!(self, Self::Disabled)
    }
}

/// What decides about thinking with a budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// The limit on output tokens, which thinking counts towards.
    pub(super) max_tokens: u64,
    /// Whether the rest of the request lets the model think so.
    pub(super) possible: bool,
}

impl Budget {
    /// Half of the limit is left for the answer.
    fn tokens(self, effort: Effort) -> Option<u64> {
        let tokens = effort.budget_tokens().min(self.max_tokens / 2);
        (self.possible && tokens >= LEAST_BUDGET_TOKENS).then_some(tokens)
    }
}

/// How the model is asked to think as `reasoning_effort` says, and with which effort.
///
/// # Errors
///
/// `InvalidRequest` for a word that stands for no effort.
pub(super) fn thinking(
    reasoning_effort: Raw<'_>,
    budget: Budget,
    context: &mut Context<'_>,
) -> Result<(Option<Thinking>, Option<Effort>), Fault> {
    let Some(word) = optional_text(reasoning_effort).fault("reasoning_effort")? else {
        return Ok((None, None));
    };
    let profile = context.profile;
    if word == "none" {
        let off = profile.thinking != Model::None && profile.thinking_off;
        return Ok((off.then_some(Thinking::Disabled), None));
    }
    let words = "must be none, minimal, low, medium, high, xhigh or max";
    let refuse = || Wrong::new(words).fault("reasoning_effort");
    let effort = Effort::parse(&word).ok_or_else(refuse)?;
    let asked = match profile.thinking {
        Model::Adaptive => {
            let effort = effort.max(Effort::Low).min(profile.top_effort);
            let effort = profile.effort.then_some(effort);
            (Some(Thinking::Adaptive), effort)
        }
        Model::Budget => {
            let tokens = budget.tokens(effort);
            let enabled = tokens.map(|budget_tokens| Thinking::Enabled { budget_tokens });
            (enabled, None)
        }
        Model::None => (None, None),
    };
    if matches!(asked, (None | Some(Thinking::Adaptive), None)) {
        context.dropped.note("reasoning_effort");
    }
    Ok(asked)
}
