//! One client: a connection, and requests over it one after the other.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use load::stamp::now_ns;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::answer::Answer;
use crate::options::{Mode, Options};
use crate::request;
use crate::tally::Tally;

const READ_BYTES: usize = 16 * 1024;
/// A server that refuses everything is not to be flooded with requests.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    request: Vec<u8>,
    mode: Mode,
    events: u64,
    ends: Instant,
    left: Cell<u64>,
    tally: Rc<RefCell<Tally>>,
}

impl Load {
    /// The load that `options` describe, against `address`, with no new request after `ends`.
    pub(crate) fn new(
        options: &Options,
        address: SocketAddr,
        ends: Instant,
        tally: Rc<RefCell<Tally>>,
    ) -> Self {
        Self {
            address,
            request: request::bytes(options),
            mode: options.mode,
            events: options.script.events,
            ends,
            left: Cell::new(options.count.unwrap_or(u64::MAX)),
            tally,
        }
    }

    /// Whether one more request is to be made; counts it if so.
    fn take_turn(&self) -> bool {
        let left = self.left.get();
        let wanted = left > 0 && Instant::now() < self.ends;
        self.left.set(left - u64::from(wanted));
        wanted
    }
}

/// Makes requests until the run is over, over a new connection whenever the last one cannot be used again.
pub(crate) async fn run(load: &Load) {
    let mut kept = None;
    let mut buffer = vec![0; READ_BYTES];
    while load.take_turn() {
        match exchange(load, kept.take(), &mut buffer).await {
            Ok(stream) => kept = stream,
            Err(error) => {
                load.tally.borrow_mut().fail(&error.to_string());
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One request and its answer; returns the connection if it can serve another.
async fn exchange(
    load: &Load,
    kept: Option<TcpStream>,
    buffer: &mut [u8],
) -> io::Result<Option<TcpStream>> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => connect(load.address).await?,
    };
    let mut answer = Answer::new(load.mode, load.events, now_ns());
    stream.write_all(&load.request).await?;
    loop {
        let length = stream.read(buffer).await?;
        let now = now_ns();
        let mut tally = load.tally.borrow_mut();
        tally.bytes += length as u64;
        if length == 0 || answer.feed(&buffer[..length], now, &mut tally)? {
            let keep_alive = answer.finish(now, &mut tally)?;
            return Ok((keep_alive && length > 0).then_some(stream));
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
