//! One backend: its connections, its key, its deadlines.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Response};
use http1::{Body, Client, Request};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::probe::{self, Spoken};
use crate::settings::{self, Apis, KeyHeader, duration};
use crate::tls;

/// After a server could not be asked which APIs it speaks, those who wait are told the same for this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A backend that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Upstream {
    replicas: Vec<Client>,
    turn: Cell<usize>,
    key: Option<(HeaderName, HeaderValue)>,
    spoken: OnceCell<Spoken>,
    window: OnceCell<Option<u64>>,
    not_asked: RefCell<Option<(Instant, Fault)>>,
    first_byte: Duration,
    /// Silence inside an answer that ends it.
    pub(crate) idle: Duration,
    /// Silence after which the client of a stream gets a sign of life.
    pub(crate) ping: Duration,
}

impl Upstream {
    /// Prepares the backend's clients; connects to nobody yet.
    ///
    /// # Errors
    /// `config` for a CA file that cannot be used, a key that is not a header value, or no URL.
    pub(crate) fn new(name: &str, settings: &settings::Upstream) -> Result<Self, Fault> {
        let connections = http1::Settings {
            tls: Arc::new(tls::client_config(settings.ca_file.as_deref())?),
            connect: duration(settings.connect_s),
            keep_alive: duration(settings.keep_alive_s),
        };
        let replicas = settings.urls.iter().map(|url| {
            Client::new(url, &connections).map_err(|error| {
                Fault::new(Kind::Config, format!("upstream {name}: {url}: {error}"))
            })
        });
        let replicas = replicas.collect::<Result<Vec<_>, _>>()?;
        if replicas.is_empty() {
            return Err(Fault::new(
                Kind::Config,
                format!("upstream {name} has no url"),
            ));
        }
        Ok(Self {
            replicas,
            turn: Cell::new(0),
            key: key(name, settings)?,
            spoken: match &settings.apis {
                Apis::Asked(_) => OnceCell::new(),
                Apis::Listed(dialects) => OnceCell::from(Spoken::configured(dialects)),
            },
            window: OnceCell::new(),
            not_asked: RefCell::default(),
            first_byte: duration(settings.first_byte_s),
            idle: duration(settings.idle_s),
            ping: duration(settings.ping_s),
        })
    }

    /// What this backend speaks; it is asked once, unless the configuration says it.
    ///
    /// # Errors
    /// `upstream_error` or `upstream_timeout` if it cannot be asked; the next who wants to know asks again.
    pub(crate) async fn spoken(&self) -> Result<&Spoken, Failure> {
        let asking = self.spoken.get_or_try_init(|| async {
            // Those who waited for an attempt that failed would otherwise try one after the other.
            let failed = self.not_asked.borrow().clone();
            if let Some((_, fault)) = failed.filter(|(at, _)| at.elapsed() < ASK_AGAIN) {
                return Err(fault.into());
            }
            let asked = probe::ask(self).await;
            if let Err(failure) = &asked {
                *self.not_asked.borrow_mut() = Some((Instant::now(), failure.fault.clone()));
            }
            asked
        });
        asking.await
    }

    /// The tokens of input and output together that its model takes, if it says so; a server whose APIs are configured is asked
    /// when somebody wants to know, once.
    pub(crate) async fn context_window(&self) -> Option<u64> {
        if let Some(told) = self.spoken.get().and_then(|spoken| spoken.context_window) {
            return Some(told);
        }
        let asking = self.window.get_or_try_init(|| probe::context_window(self));
        asking.await.ok().copied().flatten()
    }

    /// Whether it has not been asked yet what it speaks.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.spoken.initialized()
    }

    /// Sends one POST and waits for the head of the answer.
    ///
    /// Replicas take turns; one that refuses the connection is passed over, which repeats nothing: no byte of the
    /// request has gone.
    ///
    /// # Errors
    /// `upstream_error` if none can be reached or one breaks off, `upstream_timeout` past the deadline.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it used.
    pub(crate) async fn post(
        &self,
        path_and_query: &str,
        headers: HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Body>, Failure> {
        self.send(&Method::POST, path_and_query, headers, body)
            .await
    }

    /// Sends one GET and waits for the head of the answer; otherwise as [`Upstream::post`].
    pub(crate) async fn get(&self, path: &str) -> Result<Response<Body>, Failure> {
        self.send(&Method::GET, path, HeaderMap::new(), &[]).await
    }

    async fn send(
        &self,
        method: &Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Body>, Failure> {
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        let target: PathAndQuery = path_and_query
            .parse()
            .map_err(|_| Fault::new(Kind::InvalidRequest, "the query string is not valid"))?;
        let attempts = self.first_that_connects(Request {
            method,
            target: &target,
            headers: &headers,
            body,
        });
        tokio::time::timeout(self.first_byte, attempts)
            .await
            .unwrap_or_else(|_| {
                let limit_s = self.first_byte.as_secs_f64();
                let message = format!("the upstream did not answer within {limit_s} s");
                Err(Fault::new(Kind::UpstreamTimeout, message).into())
            })
    }

    async fn first_that_connects(&self, request: Request<'_>) -> Result<Response<Body>, Failure> {
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let count = self.replicas.len();
        let mut causes = Vec::new();
        for replica in self.replicas.iter().cycle().skip(first % count).take(count) {
            match replica.send(request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() => causes.push(chain(&error)),
                Err(error) => return Err(Failure::broken_off(&error)),
            }
        }
        Err(Failure::unreachable(causes))
    }
}

/// Why there is no answer: what the client is told, and what only the operator is.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) cause: Option<String>,
}

impl Failure {
    fn unreachable(mut causes: Vec<String>) -> Self {
        causes.dedup();
        Self {
            fault: Fault::new(
                Kind::UpstreamError,
                "the upstream cannot be reached at the moment; try again",
            ),
            cause: Some(causes.join("; ")),
        }
    }

    fn broken_off(error: &dyn Error) -> Self {
        Self {
            fault: Fault::new(
                Kind::UpstreamError,
                "the upstream closed the connection before it answered; try again",
            ),
            cause: Some(chain(error)),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, cause: None }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        line.push_str(": ");
        line.push_str(&error.to_string());
        next = error.source();
    }
    line
}

fn key(
    name: &str,
    settings: &settings::Upstream,
) -> Result<Option<(HeaderName, HeaderValue)>, Fault> {
    let Some(secret) = &settings.api_key else {
        return Ok(None);
    };
    let (header, text) = match settings.auth_header {
        KeyHeader::ApiKey => (HeaderName::from_static("x-api-key"), secret.clone()),
        KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        let message = format!("the key of upstream {name} holds characters no header may carry");
        Fault::new(Kind::Config, message)
    })?;
    value.set_sensitive(true);
    Ok(Some((header, value)))
}
