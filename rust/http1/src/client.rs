//! A server that requests can be sent to.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Response, Uri};
use rustls::ClientConfig;

use crate::body::Body;
use crate::connect::Connector;
use crate::connection::{Connection, Request};
use crate::error::Error;
use crate::framing::{self, Framing};
use crate::head;
use crate::pool::Pool;

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What an `https` server has to show.
    pub tls: Arc<ClientConfig>,
    /// How long connecting may take, TLS included.
    pub connect: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
}

/// One server, and the connections to it. Lives in a `LocalSet`.
pub struct Client {
    connector: Connector,
    host: HeaderValue,
    path: String,
    pool: Rc<Pool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Client");
        debug.field("host", &self.host).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for the server at `url`, whose path stands before all targets. Connects to nobody yet.
    ///
    /// # Errors
    /// `Url` if that is not `http://host…` or `https://host…`.
    pub fn new(url: &str, settings: &Settings) -> Result<Self, Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Url("it is no URL"))?;
        let authority = uri.authority().ok_or(Error::Url("it names no host"))?;
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| Error::Url("its host is no name"))?;
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            connector: Connector::new(uri, Arc::clone(&settings.tls), settings.connect)?,
            host,
            path,
            pool: Pool::new(settings.keep_alive),
        })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// `Connect` if nothing of it has gone; otherwise as the connection broke, or the answer is none.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it used.
    pub async fn send(&self, request: Request<'_>) -> Result<Response<Body>, Error> {
        let length = request.body.iter().map(Bytes::len).sum();
        let head = head::write(&request, &self.host, &self.path, length);
        let mut connection = match self.pool.take() {
            Some(connection) => connection,
            None => Connection::new(self.connector.connect().await?),
        };
        let begun = connection.begin(&head, request.body).await?;
        let head = begun.head;
        let framing = Framing::of(head.status, head.version, &head.headers)?;
        let is_kept = begun.is_sent && framing::keeps_alive(head.version, &head.headers);
        let pool = is_kept.then(|| Rc::clone(&self.pool));
        let body = Body::new(framing, begun.rest, connection, pool);
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}
