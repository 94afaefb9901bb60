//! Asks a server once which APIs it speaks: an empty request is refused where there is an API, and not found where there is none.
//!
//! Source: vLLM 0.32, llama.cpp and `SGLang` answer an empty object with 400, 422 or 500 where they have an endpoint.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Collected, Limited};
use serde::Deserialize;
use wire::{Dialect, Operation};

use crate::upstream::{Failure, Upstream};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A list of models is not larger than this.
const LIST_BYTES: usize = 1024 * 1024;

/// What a server speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The APIs.
    pub(crate) dialects: Vec<Dialect>,
    /// The tokens of input and output together that its model takes, if it says so.
    pub(crate) context_window: Option<u64>,
    /// Who it says that it is.
    server: Option<String>,
}

impl Spoken {
    /// What the configuration says.
    pub(crate) fn configured(dialects: &[Dialect]) -> Self {
        Self {
            dialects: dialects.to_vec(),
            context_window: None,
            server: None,
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.dialects.iter().map(|api| api.as_str()).collect();
        formatter.write_str(&names.join(" and "))?;
        match (&self.server, self.context_window) {
            (None, None) => Ok(()),
            (Some(server), None) => write!(formatter, " ({server})"),
            (None, Some(tokens)) => write!(formatter, " ({tokens} tokens)"),
            (Some(server), Some(tokens)) => write!(formatter, " ({server}, {tokens} tokens)"),
        }
    }
}

/// Asks the server.
///
/// # Errors
/// As [`Upstream::post`]; `upstream_error` if it speaks neither API or is not ready to say.
pub(crate) async fn ask(upstream: &Upstream) -> Result<Spoken, Failure> {
    let asked = async {
        let mut dialects = Vec::new();
        for dialect in Dialect::ALL {
            if has(upstream, Operation::generate(dialect)).await? {
                dialects.push(dialect);
            }
        }
        if dialects.is_empty() {
            let message =
                "the upstream speaks neither the Anthropic nor the OpenAI API; tell the operator";
            return Err(Failure::from(Fault::new(Kind::UpstreamError, message)));
        }
        let model = first_model(upstream).await?;
        Ok(Spoken {
            dialects,
            context_window: model.max_model_len,
            server: model.owned_by.filter(|name| is_plain(name)),
        })
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| {
            let message = "the upstream did not say in time which API it speaks; try again";
            Err(Fault::new(Kind::UpstreamTimeout, message).into())
        })
}

async fn has(upstream: &Upstream, operation: Operation) -> Result<bool, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let body = [Bytes::from_static(b"{}")];
    let response = upstream.post(operation.path(), headers, &body).await?;
    match response.status().as_u16() {
        404 | 405 | 501 => Ok(false),
        // Not the server itself, or not yet: what it is comes to light later.
        status @ (429 | 502..=504) => {
            let message = "the upstream is not ready; try again shortly";
            Err(Failure {
                fault: Fault::new(Kind::Overloaded, message).retry_after(5),
                cause: Some(format!("asked which API it speaks, it answered {status}")),
            })
        }
        _ => Ok(true),
    }
}

#[derive(Deserialize, Default)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize, Default)]
struct Model {
    max_model_len: Option<u64>,
    owned_by: Option<String>,
}

/// The tokens that the server's model takes, if the server says so.
///
/// # Errors
/// As [`Upstream::post`]: it may say so later.
pub(crate) async fn context_window(upstream: &Upstream) -> Result<Option<u64>, Failure> {
    let asked = tokio::time::timeout(PATIENCE, first_model(upstream));
    let model = asked.await.unwrap_or_else(|_| Ok(Model::default()))?;
    Ok(model.max_model_len)
}

/// What the server says of its first model. Not every server has a list, and none is needed.
async fn first_model(upstream: &Upstream) -> Result<Model, Failure> {
    let response = upstream.get("/v1/models").await?;
    let body = Limited::new(response.into_body(), LIST_BYTES);
    let body = body.collect().await.map(Collected::to_bytes);
    let models = body
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let models: Models = models.unwrap_or_default();
    Ok(models.data.into_iter().next().unwrap_or_default())
}

/// Whether a name may stand in a log line.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use wire::Dialect;

    use super::Spoken;

    #[test]
    fn what_was_found_reads_as_a_sentence() {
        let mut spoken = Spoken::configured(&[Dialect::OpenAi]);
        assert_eq!(spoken.to_string(), "openai");
        spoken.dialects.insert(0, Dialect::Anthropic);
        spoken.context_window = Some(8192);
        assert_eq!(spoken.to_string(), "anthropic and openai (8192 tokens)");
        spoken.server = Some("vllm".into());
        assert_eq!(
            spoken.to_string(),
            "anthropic and openai (vllm, 8192 tokens)"
        );
    }
}
