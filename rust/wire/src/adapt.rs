//! A Messages body on its way to another Anthropic upstream: the client's own bytes, but for what
//! the served model cannot take.
//!
//! Nothing is refused here: what does not fit is changed, left out or said in words, and told in
//! [`Dropped`]. What is not changed is not looked at, and stays as it stands.

mod edits;
mod fold;
mod history;
mod options;

use bytes::Bytes;

use crate::peek::Peek;
use crate::splice::splice;
use crate::translate::{Dropped, Kind, Profile};

use edits::Edits;
use history::History;
use options::Options;

/// A body that fits.
#[derive(Debug)]
pub struct Adapted {
    /// Its pieces, in order; slices of the client's body where nothing had to change.
    pub pieces: Vec<Bytes>,
    /// What was left out.
    pub dropped: Dropped,
}

/// Fits a Messages body to the upstream: names its model, takes out thinking that this gateway
/// signed, and, for a request that was `downgraded` to another class of model, what that model
/// cannot do. No server can write more than `most_tokens`.
#[must_use]
pub fn adapt(
    body: &Bytes,
    peek: &Peek,
    wire_model: &str,
    profile: &Profile,
    downgraded: bool,
    most_tokens: Option<u64>,
) -> Adapted {
    let mut dropped = Dropped::default();
    let unsigned = profile.kind == Kind::Anthropic && history::is_marked(body);
    let most_tokens = most_tokens.filter(|most| peek.max_tokens.is_some_and(|asked| asked > *most));
    if !unsigned && !downgraded && most_tokens.is_none() {
        let pieces = splice(body, peek.model_span.clone(), wire_model);
        return Adapted { pieces, dropped };
    }
    let mut edits = Edits::new(body);
    if peek.model != wire_model {
        let model = serde_json::Value::from(wire_model).to_string();
        edits.replace(peek.model_span.clone(), model.into_bytes());
    }
    let root = edits.root();
    if downgraded || most_tokens.is_some() {
        let fitted = downgraded.then_some(profile);
        let options = Options::read(&edits, &root, peek.max_tokens, most_tokens, fitted);
        options.fit(&mut edits, &root, &mut dropped);
    }
    let history = History {
        profile,
        unsigned,
        downgraded,
    };
    history.fit(&mut edits, &root, &mut dropped);
    Adapted {
        pieces: edits.pieces(),
        dropped,
    }
}

/// The value of `anthropic-beta` without the names that `profile` refuses; `None` if none is left.
#[must_use]
pub fn betas(value: &str, profile: &Profile) -> Option<String> {
    let refused = |name: &str| {
        profile
            .refused_betas
            .iter()
            .any(|entry| match entry.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == entry,
            })
    };
    let names = || value.split(',').map(str::trim);
    if !names().any(refused) {
        return Some(value.to_owned());
    }
    let kept: Vec<_> = names()
        .filter(|name| !name.is_empty() && !refused(name))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

#[cfg(test)]
mod tests;
