//! One connection: requests one after the other, each answered as it asks to be.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use load::message::{Body, RequestHead, invalid, request_head};
use load::script::{Script, wants_stream};
use load::stamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::answers::{self, Dialect};

const READ_BYTES: usize = 64 * 1024;
const HEAD_LIMIT_BYTES: usize = 64 * 1024;

/// Serves one connection until its client leaves.
pub(crate) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = Vec::with_capacity(READ_BYTES);
    let mut body = Vec::new();
    while let Some(head) = read_request(&mut stream, &mut input, &mut body).await? {
        match (Dialect::of_path(&head.path), head.method.as_str()) {
            (Some(dialect), "POST") if wants_stream(&body) => {
                send_stream(&mut stream, dialect, Script::find(&body)).await?;
            }
            (dialect, method) => stream.write_all(&document(dialect, method)).await?,
        }
    }
    Ok(())
}

fn document(dialect: Option<Dialect>, method: &str) -> Cow<'static, [u8]> {
    match (dialect, method) {
        (Some(dialect), "POST") => answers::document(dialect).into(),
        // What a gateway may ask to find out whether its upstream is there.
        (None, "GET") => answers::json("200 OK", r#"{"object":"list","data":[]}"#).into(),
        _ => answers::json("404 Not Found", "{}").into(),
    }
}

/// The next request's head, its content left in `body`; `None` when the client closed between requests.
async fn read_request(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> io::Result<Option<RequestHead>> {
    let head = loop {
        if let Some(head) = request_head(input)? {
            break head;
        }
        if input.len() > HEAD_LIMIT_BYTES {
            return Err(invalid("request head too large"));
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    };
    input.drain(..head.length_bytes);
    body.clear();
    let mut decoder = Body::new(head.framing);
    loop {
        let used = decoder.feed(input, body)?;
        input.drain(..used);
        if decoder.is_done() {
            return Ok(Some(head));
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Sends a stream, one write per frame, so that no relay gains by batches made here.
async fn send_stream(stream: &mut TcpStream, dialect: Dialect, script: Script) -> io::Result<()> {
    let mut answer = answers::stream(dialect, &script);
    for frame in &answer.opening {
        stream.write_all(frame).await?;
    }
    let pause = Duration::from_micros(script.pause_us);
    let mut due = Instant::now();
    for _ in 0..script.events {
        if pause.is_zero() {
            // Streams take turns, as they do where tokens are made.
            tokio::task::yield_now().await;
        } else {
            due += pause;
            sleep_until(due).await;
        }
        stamp::write(&mut answer.delta, answer.stamp_at, stamp::now_ns());
        stream.write_all(&answer.delta).await?;
    }
    for frame in &answer.closing {
        stream.write_all(frame).await?;
    }
    Ok(())
}
