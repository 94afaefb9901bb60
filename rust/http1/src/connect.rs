//! New connections: a name resolved, its addresses tried, TLS spoken, all within one deadline.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::error::Error;
use crate::io::Io;

/// A peer that has vanished is noticed after a few of these, even if nothing is sent to it.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to one server.
pub(crate) struct Connector {
    tcp: HttpConnector,
    uri: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
}

impl Connector {
    /// A connector for the server of `uri`, which has a scheme and a host.
    ///
    /// # Errors
    /// `Url` if it has not.
    pub(crate) fn new(uri: Uri, tls: Arc<ClientConfig>, limit: Duration) -> Result<Self, Error> {
        let host = uri.host().ok_or(Error::Url("it names no host"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let host = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|_| Error::Url("no certificate can name its host"))?;
                Some((TlsConnector::from(tls), name))
            }
            _ => return Err(Error::Url("it is neither http nor https")),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        Ok(Self {
            tcp,
            uri,
            tls,
            limit,
        })
    }

    /// A new connection.
    ///
    /// # Errors
    /// `Connect`, with all that is known of the cause.
    pub(crate) async fn connect(&self) -> Result<Io, Error> {
        let limit_s = self.limit.as_secs_f64();
        tokio::time::timeout(self.limit, self.within())
            .await
            .unwrap_or_else(|_| Err(Error::Connect(format!("not within {limit_s} s"))))
    }

    async fn within(&self) -> Result<Io, Error> {
        let mut tcp = self.tcp.clone();
        let stream = tcp.call(self.uri.clone()).await;
        let stream = stream.map_err(|error| Error::Connect(chain(&error)))?;
        let stream = stream.into_inner();
        let Some((tls, name)) = &self.tls else {
            return Ok(Io::Plain(stream));
        };
        let stream = tls.connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| Error::Connect(chain(&error)))?;
        Ok(Io::Tls(Box::new(stream)))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        line.push_str(": ");
        line.push_str(&error.to_string());
        next = error.source();
    }
    line
}
