//! What is sent upstream for a request, and how its answer comes back: as it is, or translated.

use bytes::Bytes;
use fault::Fault;
use http::header::{HeaderMap, HeaderValue};
use wire::translate::{self, Dropped, Kind, Known, Memory, Order, Profile, Translated};
use wire::{Dialect, Operation};

use crate::exchange::Asked;
use crate::headers;
use crate::plan::Plan;
use crate::probe::Spoken;
use crate::upstream::Upstream;

/// A larger body is translated on a thread of its own, as the streams of this one would stand still meanwhile: a megabyte takes
/// about 4 ms.
const LARGE_BYTES: usize = 1024 * 1024;

/// Every window is larger, so that nobody has to ask for one.
const SMALL_TOKENS: u64 = 4096;
/// Prose and code have about four, JSON around them not counted.
const PROMPT_BYTES_PER_TOKEN: u64 = 3;
/// Room that an answer always gets.
const LEAST_TOKENS: u64 = 1024;

/// A request for the upstream.
#[derive(Debug)]
pub(crate) struct Call {
    /// Path and query.
    pub(crate) target: String,
    /// The API that it is written in.
    pub(crate) dialect: Dialect,
    /// Its headers, without the gateway's key.
    pub(crate) headers: HeaderMap,
    /// Its body, in pieces.
    pub(crate) body: Vec<Bytes>,
    /// What was left out.
    pub(crate) dropped: Dropped,
    /// How the answer comes back.
    pub(crate) way: Way,
}

/// An answer's way back.
#[derive(Debug)]
pub(crate) enum Way {
    /// As it is.
    AsIs {
        /// Whether a refusal is told in our words: the server's are not those of the API that it speaks.
        retold: bool,
    },
    /// Into the client's API.
    Translated(Memory),
}

/// What has to be done for a request.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// The upstream is called.
    Call(Box<Call>),
    /// Tokens are counted, of this prompt.
    Count(Vec<u8>),
    /// The answer is known.
    Known(Known),
}

/// Decides for native pass-through where the upstream speaks the client's API, and translates where it does not.
///
/// # Errors
/// `invalid_request` for what this upstream cannot be asked.
pub(crate) async fn prepare(
    asked: &Asked,
    plan: &Plan,
    profile: &Profile,
    spoken: &Spoken,
    upstream: &Upstream,
) -> Result<Prepared, Fault> {
    let client = asked.operation.dialect();
    let window = window(asked, profile, upstream).await;
    if spoken.dialects.contains(&client) {
        let call = as_is(asked, plan, profile, client, window);
        return Ok(Prepared::Call(Box::new(call)));
    }
    Ok(match translated(asked, plan, profile, window).await? {
        Translated::Answer(known) => Prepared::Known(known),
        Translated::Count(body) => Prepared::Count(body),
        Translated::Request(request) => {
            let dialect = other(client);
            Prepared::Call(Box::new(Call {
                target: Operation::generate(dialect).path().to_owned(),
                dialect,
                headers: headers::for_translated(&asked.headers, dialect),
                body: vec![Bytes::from(request.body)],
                dropped: request.dropped,
                way: Way::Translated(request.memory),
            }))
        }
    })
}

/// The context window, where it matters: vLLM refuses an output limit that is not smaller, whatever the prompt, and Claude
/// Code always asks for the limit of the model it believes to speak to.
async fn window(asked: &Asked, profile: &Profile, upstream: &Upstream) -> Option<u64> {
    let matters = profile.kind == Kind::Vllm
        && asked.operation == Operation::Messages
        && asked
            .peek
            .max_tokens
            .is_some_and(|asked| asked > SMALL_TOKENS);
    match profile.context_window {
        None if matters => upstream.context_window().await,
        known => known,
    }
}

/// What a server of the Anthropic API can be asked to write at most: the rest of its window, by a guess of the prompt's size
/// that is rather too large. Where it is too small after all, the refusal says by how much.
fn most_tokens(asked: &Asked, profile: &Profile, window: Option<u64>) -> Option<u64> {
    let window = window.filter(|_| profile.kind == Kind::Vllm)?;
    let limit = asked.peek.max_tokens.filter(|limit| *limit >= window);
    let prompt = asked.body.len() as u64 / PROMPT_BYTES_PER_TOKEN;
    limit.map(|_| {
        window
            .saturating_sub(prompt)
            .max(LEAST_TOKENS.min(window / 2))
    })
}

async fn translated(
    asked: &Asked,
    plan: &Plan,
    profile: &Profile,
    window: Option<u64>,
) -> Result<Translated, Fault> {
    let (operation, body) = (asked.operation, asked.body.clone());
    let (mut profile, wire_model) = (profile.clone(), plan.wire_model.clone());
    profile.context_window = window;
    let large = body.len() > LARGE_BYTES;
    let translate = move || {
        translate::request(&Order {
            operation,
            body: &body,
            profile: &profile,
            wire_model: &wire_model,
        })
    };
    if !large {
        return translate();
    }
    tokio::task::spawn_blocking(translate)
        .await
        .unwrap_or_else(|_| {
            Err(Fault::new(
                fault::Kind::Internal,
                "the translation panicked",
            ))
        })
}

fn as_is(
    asked: &Asked,
    plan: &Plan,
    profile: &Profile,
    dialect: Dialect,
    window: Option<u64>,
) -> Call {
    let mut headers = headers::for_upstream(&asked.headers, dialect);
    let (body, dropped) = match dialect {
        Dialect::Anthropic => {
            if plan.adapt {
                without_refused_betas(&mut headers, profile);
            }
            let model = &plan.wire_model;
            let most = most_tokens(asked, profile, window);
            let adapted = wire::adapt(&asked.body, &asked.peek, model, profile, plan.adapt, most);
            (adapted.pieces, adapted.dropped)
        }
        Dialect::OpenAi => {
            let span = asked.peek.model_span.clone();
            let body = wire::splice(&asked.body, span, &plan.wire_model);
            (body, Dropped::default())
        }
    };
    let path = asked.operation.path();
    Call {
        target: if asked.query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", asked.query)
        },
        dialect,
        headers,
        body,
        dropped,
        way: Way::AsIs {
            retold: dialect == Dialect::Anthropic && profile.kind != Kind::Anthropic,
        },
    }
}

fn without_refused_betas(headers: &mut HeaderMap, profile: &Profile) {
    let kept: Vec<_> = headers
        .get_all("anthropic-beta")
        .iter()
        .filter_map(|value| wire::betas(value.to_str().ok()?, profile))
        .collect();
    headers.remove("anthropic-beta");
    for value in kept {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append("anthropic-beta", value);
        }
    }
}

const fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Anthropic => Dialect::OpenAi,
        Dialect::OpenAi => Dialect::Anthropic,
    }
}
