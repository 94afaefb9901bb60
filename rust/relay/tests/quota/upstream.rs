//! An upstream that answers as it is told, on a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status and a JSON body.
    Json(u16, String),
    /// A stream of events, then the end that it should have.
    Stream(&'static str),
    /// A stream of events that breaks off behind these.
    Cut(&'static str),
    /// A stream of events that then stands still until the gateway leaves.
    Held(&'static str),
    /// Nothing at all, until the gateway leaves.
    Silent,
}

/// A server for any number of requests, each on its own connection.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &answer, &seen));
            }
        });
        Self { url, requests }
    }

    /// Where nobody listens.
    pub(crate) fn gone() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        Self {
            url,
            requests: Arc::default(),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, seen: &AtomicUsize) {
    if read_request(&stream).is_none() {
        return;
    }
    seen.fetch_add(1, Ordering::SeqCst);
    let (events, held) = match answer {
        Answer::Json(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} told\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes());
            return;
        }
        Answer::Stream(events) => {
            write_events(&mut stream, events);
            let _ = stream.write_all(b"0\r\n\r\n");
            return;
        }
        Answer::Cut(events) => (*events, false),
        Answer::Held(events) => (*events, true),
        Answer::Silent => ("", true),
    };
    if !matches!(answer, Answer::Silent) {
        write_events(&mut stream, events);
    }
    if held {
        // Until the other end closes.
        let _ = stream.read(&mut [0]);
    }
}

fn write_events(stream: &mut TcpStream, events: &str) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{head}{:x}\r\n{events}\r\n", events.len());
    let chunk = if events.is_empty() { head } else { &chunk };
    let _ = stream.write_all(chunk.as_bytes());
}

/// Reads a request to the end of its body.
fn read_request(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()
}
