//! One backend: its connections, its key, its deadlines.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::connect::Connector;
use crate::probe::{self, Spoken};
use crate::settings::{self, Apis, KeyHeader, duration};

/// After a server could not be asked which APIs it speaks, those who wait are told the same for this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A request body of a few pieces, sent without being joined, with its length known.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: u64,
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces: pieces.into(),
            bytes,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        if let Some(piece) = &piece {
            self.bytes -= piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

/// Runs connection tasks beside the exchanges they serve, so that one scheduler pass hands a frame over.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// A backend that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<Connector, Pieces>,
    bases: Vec<String>,
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
    /// Prepares the backend's client; connects to nobody yet.
    ///
    /// # Errors
    /// `config` for a CA file that cannot be used, a key that is not a header value, or no URL.
    pub(crate) fn new(name: &str, settings: &settings::Upstream) -> Result<Self, Fault> {
        let client = Client::builder(OnThisThread)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(duration(settings.keep_alive_s))
            .build(Connector::new(settings)?);
        let bases: Vec<_> = settings
            .urls
            .iter()
            .map(|url| url.trim_end_matches('/').to_owned())
            .collect();
        if bases.is_empty() {
            return Err(Fault::new(
                Kind::Config,
                format!("upstream {name} has no url"),
            ));
        }
        Ok(Self {
            client,
            bases,
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
    ) -> Result<Response<Incoming>, Failure> {
        self.send(&Method::POST, path_and_query, headers, body)
            .await
    }

    /// Sends one GET and waits for the head of the answer; otherwise as [`Upstream::post`].
    pub(crate) async fn get(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        self.send(&Method::GET, path, HeaderMap::new(), &[]).await
    }

    async fn send(
        &self,
        method: &Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Incoming>, Failure> {
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        let attempts = self.first_that_connects(method, path_and_query, &headers, body);
        tokio::time::timeout(self.first_byte, attempts)
            .await
            .unwrap_or_else(|_| {
                let limit_s = self.first_byte.as_secs_f64();
                let message = format!("the upstream did not answer within {limit_s} s");
                Err(Fault::new(Kind::UpstreamTimeout, message).into())
            })
    }

    async fn first_that_connects(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Incoming>, Failure> {
        let replicas = self.bases.len();
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let order = self.bases.iter().cycle().skip(first % replicas);
        let mut causes = Vec::new();
        for base in order.take(replicas) {
            let request = request(method, base, path_and_query, headers, body)?;
            match self.client.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() => causes.push(chain(&error)),
                Err(error) => return Err(Failure::broken_off(&error)),
            }
        }
        Err(Failure::unreachable(causes))
    }
}

fn request(
    method: &Method,
    base: &str,
    path_and_query: &str,
    headers: &HeaderMap,
    body: &[Bytes],
) -> Result<Request<Pieces>, Fault> {
    let uri: Uri = format!("{base}{path_and_query}")
        .parse()
        .map_err(|_| Fault::new(Kind::InvalidRequest, "the query string is not valid"))?;
    let mut request = Request::new(Pieces::from(body.to_vec()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers.clone();
    Ok(request)
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
