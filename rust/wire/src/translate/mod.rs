//! Which way an exchange takes between two dialects.
//!
//! Pass-through is the only way so far. The next issue adds here: `request.rs` (Anthropic request →
//! Chat Completions request), `response.rs` (a whole answer back) and `stream.rs` (a state machine:
//! event in → events out), each a variant of [`Path`]; nothing outside this module should need to
//! know more than the variant.

use fault::{Fault, Kind};

use crate::{Dialect, Operation};

/// The way an exchange takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The upstream speaks the client's dialect: bytes pass as they are, but for the model's name.
    PassThrough,
}

/// The way from a client that speaks `client` to an upstream that speaks the dialects in
/// `upstream`, for `model` as the client named it.
///
/// # Errors
///
/// `InvalidRequest`, naming the endpoint to use instead, when the upstream does not speak `client`.
pub fn path(client: Dialect, upstream: &[Dialect], model: &str) -> Result<Path, Fault> {
    if upstream.contains(&client) {
        return Ok(Path::PassThrough);
    }
    let instead = match client {
        Dialect::Anthropic => Operation::ChatCompletions,
        Dialect::OpenAi => Operation::Messages,
    };
    let message = format!(
        "model '{model}' is served by an upstream that speaks only the {} API; use POST {} for it",
        instead.dialect().as_str(),
        instead.path(),
    );
    Err(Fault::new(Kind::InvalidRequest, message).with_param("model"))
}

#[cfg(test)]
mod tests {
    use fault::Kind;

    use super::{Path, path};
    use crate::Dialect::{Anthropic, OpenAi};

    #[test]
    fn passes_through_when_the_upstream_speaks_the_dialect() {
        for client in [Anthropic, OpenAi] {
            assert_eq!(
                path(client, &[OpenAi, Anthropic], "m"),
                Ok(Path::PassThrough)
            );
        }
    }

    #[test]
    fn names_the_endpoint_to_use_when_it_does_not() {
        let fault = path(Anthropic, &[OpenAi], "qwen3-32b").unwrap_err();
        assert_eq!(fault.kind, Kind::InvalidRequest);
        assert_eq!(
            fault.message,
            "model 'qwen3-32b' is served by an upstream that speaks only the openai API; \
             use POST /v1/chat/completions for it"
        );
        let fault = path(OpenAi, &[Anthropic], "opus").unwrap_err();
        assert!(
            fault.message.ends_with("use POST /v1/messages for it"),
            "{fault}"
        );
    }
}
