//! One backend: its connections, its key, its deadlines.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use wire::Dialect;

use crate::settings::{self, KeyHeader, duration};
use crate::tls;

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
    client: Client<HttpsConnector<HttpConnector>, Pieces>,
    bases: Vec<String>,
    turn: Cell<usize>,
    key: Option<(HeaderName, HeaderValue)>,
    dialects: Vec<Dialect>,
    first_byte: Duration,
    /// Silence inside an answer that ends it.
    pub(crate) idle: Duration,
}

impl Upstream {
    /// Prepares the backend's client; connects to nobody yet.
    ///
    /// # Errors
    /// `config` for a CA file that cannot be used, a key that is not a header value, or no URL.
    pub(crate) fn new(name: &str, settings: &settings::Upstream) -> Result<Self, Fault> {
        let connect = duration(settings.connect_s);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect));
        http.set_keepalive(Some(Duration::from_secs(30)));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(settings.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(OnThisThread)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(duration(settings.keep_alive_s))
            .build(connector);
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
            dialects: settings.dialects(),
            first_byte: duration(settings.first_byte_s),
            idle: duration(settings.idle_s),
        })
    }

    /// The dialects this backend speaks.
    #[must_use]
    pub(crate) fn dialects(&self) -> &[Dialect] {
        &self.dialects
    }

    /// Whether requests carry a key of the gateway's own, so that a 401 is the operator's matter.
    #[must_use]
    pub(crate) fn has_own_key(&self) -> bool {
        self.key.is_some()
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
        mut headers: HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Incoming>, Fault> {
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let order = self
            .bases
            .iter()
            .cycle()
            .skip(first % self.bases.len())
            .take(self.bases.len());
        let attempts = async {
            let mut refused = unreachable();
            for base in order {
                match self
                    .attempt(base, path_and_query, headers.clone(), body)
                    .await
                {
                    Ok(response) => return Ok(response),
                    Err(Attempt::Unreachable) => refused = unreachable(),
                    Err(Attempt::Broken(fault)) => return Err(fault),
                }
            }
            Err(refused)
        };
        tokio::time::timeout(self.first_byte, attempts)
            .await
            .unwrap_or_else(|_| {
                Err(Fault::new(
                    Kind::UpstreamTimeout,
                    format!(
                        "the upstream did not answer within {} s",
                        self.first_byte.as_secs()
                    ),
                ))
            })
    }

    async fn attempt(
        &self,
        base: &str,
        path_and_query: &str,
        headers: HeaderMap,
        body: &[Bytes],
    ) -> Result<Response<Incoming>, Attempt> {
        let uri: Uri = format!("{base}{path_and_query}").parse().map_err(|_| {
            Attempt::Broken(Fault::new(
                Kind::InvalidRequest,
                "the query string is not valid",
            ))
        })?;
        let mut request = Request::new(Pieces::from(body.to_vec()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                Attempt::Unreachable
            } else {
                Attempt::Broken(Fault::new(
                    Kind::UpstreamError,
                    "the upstream closed the connection before it answered; try again",
                ))
            }
        })
    }
}

enum Attempt {
    Unreachable,
    Broken(Fault),
}

fn unreachable() -> Fault {
    Fault::new(
        Kind::UpstreamError,
        "the upstream cannot be reached at the moment; try again",
    )
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
