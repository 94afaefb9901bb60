//! How many tokens a text is, for an upstream that does not count itself.
//!
//! A [`Counter`] is an encoding of `OpenAI`, built in, or a model's own `tokenizer.json`. The count
//! of a text is exact, save where a huge text had to be cut; that of a whole request is an estimate,
//! because what a model reads between the texts is known to its chat template only.

mod counter;
mod pieces;

pub use counter::{Counter, Encoding, Parts};
