//! Requests over real sockets, to a server that answers with exact bytes.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use http1::{Body, Client, Error, Request, Settings};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn client(port: u16) -> Client {
    client_of(&format!("http://127.0.0.1:{port}/base/"))
}

fn client_of(url: &str) -> Client {
    Client::new(url, &settings()).unwrap()
}

fn settings() -> Settings {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Settings {
        tls: Arc::new(tls),
        connect: Duration::from_secs(2),
        keep_alive: Duration::from_secs(60),
    }
}

/// A server whose connections, in turn, answer each request with the next of these; `close` ends a connection.
struct Server {
    port: u16,
    /// The connections that were made.
    serving: JoinHandle<Vec<usize>>,
}

impl Server {
    async fn start<const N: usize>(answers: [Vec<&'static str>; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = spawn_local(async move {
            let mut served = Vec::new();
            for answers in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut count = 0;
                for answer in answers {
                    if request(&mut stream).await.is_none() {
                        break;
                    }
                    count += 1;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                served.push(count);
            }
            served
        });
        Self { port, serving }
    }
}

/// The head of the next request; none if the client has closed. Bodies are not read.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

async fn get(client: &Client) -> Result<Response<Body>, Error> {
    client
        .send(Request {
            method: &Method::GET,
            target: &PathAndQuery::from_static("/v1/x?y"),
            headers: &HeaderMap::new(),
            body: &[],
        })
        .await
}

async fn whole(response: Response<Body>) -> Result<Bytes, Error> {
    Ok(response.into_body().collect().await?.to_bytes())
}

async fn asked(client: &Client) -> Result<Bytes, Error> {
    whole(get(client).await?).await
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(10), test).await };
    runtime
        .block_on(LocalSet::new().run_until(limited))
        .unwrap();
}

#[test]
fn a_request_says_what_it_is_to_whom() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = request(&mut stream).await.unwrap();
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            (head, body)
        });
        let mut headers = HeaderMap::new();
        headers.insert("x-own", HeaderValue::from_static("1"));
        headers.insert("host", HeaderValue::from_static("elsewhere"));
        headers.insert("content-length", HeaderValue::from_static("99"));
        let (client, pieces) = (client(port), ["a", "", "bcde"].map(Bytes::from));
        let request = Request {
            method: &Method::POST,
            target: &PathAndQuery::from_static("/v1/messages?beta=true"),
            headers: &headers,
            body: &pieces,
        };
        let response = client.send(request).await.unwrap();
        assert_eq!(whole(response).await.unwrap(), "ok");
        let (head, body) = serving.await.unwrap();
        let expected = format!(
            "POST /base/v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-own: 1\r\n\
             content-length: 5\r\n\r\n"
        );
        assert_eq!((head, &body), (expected, b"abcde"));
    });
}

#[test]
fn one_connection_serves_request_after_request() {
    run(async {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let none = "HTTP/1.1 204 No Content\r\n\r\n";
        let server = Server::start([vec![OK, chunked, none, OK]]).await;
        let client = client(server.port);
        for expected in ["ok", "ok", "", "ok"] {
            assert_eq!(asked(&client).await.unwrap(), expected);
        }
        assert_eq!(server.serving.await.unwrap(), [4]);
    });
}

#[test]
fn a_connection_that_cannot_be_trusted_is_not_used_again() {
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 500 x\r\n\r\n",
    ] {
        run(async move {
            let server = Server::start([vec![first, OK], vec![OK]]).await;
            let client = client(server.port);
            assert_eq!(asked(&client).await.unwrap(), "ok");
            assert_eq!(asked(&client).await.unwrap(), "ok");
            assert_eq!(server.serving.await.unwrap(), [1, 1], "{first}");
        });
    }
}

#[test]
fn a_connection_that_its_server_closed_meanwhile_is_not_used_again() {
    run(async {
        let server = Server::start([vec![OK], vec![OK]]).await;
        let client = client(server.port);
        assert_eq!(asked(&client).await.unwrap(), "ok");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(asked(&client).await.unwrap(), "ok");
        assert_eq!(server.serving.await.unwrap(), [1, 1]);
    });
}

#[test]
fn interim_answers_are_passed_over() {
    run(async {
        let server = Server::start([vec![
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ]])
        .await;
        assert_eq!(asked(&client(server.port)).await.unwrap(), "ok");
    });
}

#[test]
fn an_answer_may_end_with_its_connection() {
    run(async {
        let server = Server::start([vec!["HTTP/1.1 200 OK\r\n\r\nall of it"]]).await;
        assert_eq!(asked(&client(server.port)).await.unwrap(), "all of it");
    });
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok!\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        run(async move {
            let server = Server::start([vec![answer]]).await;
            let error = asked(&client(server.port)).await.unwrap_err();
            assert!(!error.is_connect(), "{answer:?}");
        });
    }
}

#[test]
fn a_head_has_an_end() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let line = format!("x: {}\r\n", "y".repeat(1000));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(line.as_bytes()).await.is_ok() {}
        });
        assert!(matches!(
            get(&client(port)).await,
            Err(Error::Malformed("the head is too large"))
        ));
    });
}

#[test]
fn a_refusal_that_comes_before_the_request_has_gone_is_heard() {
    run(async {
        let refusal = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
        let server = Server::start([vec![refusal], vec![OK]]).await;
        let client = client(server.port);
        let body = [Bytes::from(vec![0; 16 * 1024 * 1024])];
        let request = Request {
            method: &Method::POST,
            target: &PathAndQuery::from_static("/"),
            headers: &HeaderMap::new(),
            body: &body,
        };
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(whole(response).await.unwrap(), "no");
        assert_eq!(asked(&client).await.unwrap(), "ok", "on a new connection");
    });
}

#[test]
fn nothing_has_gone_where_nobody_listens() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = get(&client(port)).await.unwrap_err();
        assert!(error.is_connect());
        assert!(error.to_string().contains("refused"), "{error}");
    });
}

#[test]
fn a_server_without_a_certificate_gets_no_request() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut came = Vec::new();
            stream.write_all(OK.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut came).await;
            came
        });
        let error = get(&client_of(&format!("https://127.0.0.1:{port}"))).await;
        assert!(error.unwrap_err().is_connect());
        let came = serving.await.unwrap();
        assert!(!came.windows(4).any(|bytes| bytes == b"v1/x"));
    });
}

#[test]
fn only_urls_of_servers_are_taken() {
    for url in ["", "/path", "localhost:80", "ftp://host", "http://"] {
        assert!(Client::new(url, &settings()).is_err(), "{url}");
    }
}
