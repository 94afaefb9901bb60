//! What of a request counts when it has ended: the table "what is counted" of the quota policy, and nowhere else.

use quota::{Unit, Want};
use wire::Usage;

use crate::record::Outcome;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The upstream refused or failed, and nothing was delivered: everything is given back.
    Nothing,
    /// The client left before the first byte: the request counts, of its tokens the input.
    Input,
    /// The client left, or the upstream died, after something had been delivered: the input, and what was produced so far.
    SoFar,
    /// A whole answer: what the upstream says that it used.
    Whole,
}

/// What tokens count as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Any token of this model.
    pub(crate) tokens: f64,
    /// One that was read from a cache, before that.
    pub(crate) cache_read: f64,
}

impl Row {
    /// The row of a request that ended with `outcome`; whether anything of an answer was `delivered` before.
    pub(crate) const fn of(outcome: Outcome, delivered: bool) -> Self {
        match (outcome, delivered) {
            (Outcome::Complete, _) => Self::Whole,
            (Outcome::ClientLeft, false) => Self::Input,
            (Outcome::ClientLeft | Outcome::Broken, true) => Self::SoFar,
            (Outcome::Broken, false) | (Outcome::Failed | Outcome::Refused | Outcome::Lost, _) => {
                Self::Nothing
            }
        }
    }

    /// Whether the input counts although the upstream has not told it.
    pub(crate) const fn lacks_input(self, told: &Usage) -> bool {
        !matches!(self, Self::Nothing) && !told.input_told
    }

    /// Whether the output counts although the upstream has not told it.
    pub(crate) const fn lacks_output(self, told: &Usage) -> bool {
        matches!(self, Self::SoFar | Self::Whole) && !told.output_told
    }

    /// How much of what a request wanted it has used.
    pub(crate) fn used(self, want: &Want, usage: &Usage, rates: Rates) -> u64 {
        match (self, want.window.unit) {
            (Self::Nothing, _) => 0,
            (_, Unit::Requests | Unit::Prompts | Unit::Concurrent) => want.amount,
            (Self::Input, Unit::Tokens) => rates.of(&Usage {
                output_tokens: 0,
                ..*usage
            }),
            (Self::SoFar | Self::Whole, Unit::Tokens) => rates.of(usage),
        }
    }
}

impl Rates {
    /// What `usage` counts as.
    fn of(self, usage: &Usage) -> u64 {
        let full = usage
            .input_tokens
            .saturating_add(usage.output_tokens)
            .saturating_add(usage.cache_creation_tokens);
        let read = self.cache_read * usage.cache_read_tokens as f64;
        rounded_up(self.tokens * (full as f64 + read))
    }
}

/// The whole tokens that `tokens` take.
pub(crate) fn rounded_up(tokens: f64) -> u64 {
    /// A sum of weights such as 0.1 may lie this much above the whole number that it is.
    const ROUNDING: f64 = 1e-6;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and below zero is zero"
    )]
    let whole = (tokens - ROUNDING).ceil() as u64;
    whole
}

#[cfg(test)]
mod tests;
