//! What is sent upstream for a request, and how its answer comes back: as it is, or translated.

use bytes::Bytes;
use fault::Fault;
use http::header::{HeaderMap, HeaderValue};
use wire::translate::{self, Dropped, Kind, Known, Memory, Order, Profile, Translated};
use wire::{Dialect, Operation};

use crate::exchange::{Asked, Plan};
use crate::headers;
use crate::probe::Spoken;

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
pub(crate) fn prepare(
    asked: &Asked,
    plan: &Plan,
    profile: &Profile,
    spoken: &Spoken,
) -> Result<Prepared, Fault> {
    let client = asked.operation.dialect();
    if spoken.dialects.contains(&client) {
        let call = as_is(asked, plan, profile, client);
        return Ok(Prepared::Call(Box::new(call)));
    }
    let mut profile = profile.clone();
    profile.context_window = profile.context_window.or(spoken.context_window);
    let order = Order {
        operation: asked.operation,
        body: &asked.body,
        profile: &profile,
        wire_model: &plan.wire_model,
    };
    Ok(match translate::request(&order)? {
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

fn as_is(asked: &Asked, plan: &Plan, profile: &Profile, dialect: Dialect) -> Call {
    let mut headers = headers::for_upstream(&asked.headers, dialect);
    let (body, dropped) = match dialect {
        Dialect::Anthropic => {
            if plan.adapt {
                without_refused_betas(&mut headers, profile);
            }
            let model = &plan.wire_model;
            let adapted = wire::adapt(&asked.body, &asked.peek, model, profile, plan.adapt);
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
