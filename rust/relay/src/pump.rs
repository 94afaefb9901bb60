//! An upstream's stream on its way to the client: whole frames, as soon as they are there.
//!
//! Everything that one read made ready goes out in one part; nothing is held back to wait for more. Only a frame
//! that is not complete yet waits, so that an error event never lands in the middle of another.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::future::poll_immediate;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;
use wire::{Dialect, Frames, Observer, Usage};

use crate::client::{Client, Head, Sent};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::watch::Watch;

/// One part is at most about this large: larger ones only make the client wait for its first byte.
const PART_BYTES: usize = 64 * 1024;
/// A client that takes nothing for this long has left.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// After its last event an upstream should close; it is not waited for longer than this.
const LINGER: Duration = Duration::from_secs(2);

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Whole; `last` is still to be sent.
    Complete { last: Vec<Bytes> },
    /// The upstream told an error inside the stream, which has been, or is in, `last`.
    Told { last: Vec<Bytes> },
    /// The upstream broke off; `last` are whole frames that came before, and are still to be sent.
    Broken { last: Vec<Bytes>, fault: Fault },
    /// The client left, or stopped reading.
    ClientLeft,
}

/// A stream between its first and its last frame.
#[derive(Debug)]
pub(crate) struct Pump<'a, B> {
    head: Option<Head>,
    body: B,
    idle: Duration,
    frames: Frames,
    observer: Observer,
    metrics: &'a Metrics,
    last_content: Option<Instant>,
    delivered: bool,
}

enum Read {
    Part(Vec<Bytes>),
    Over(Over),
    ClientLeft,
}

/// The last that came from an upstream.
struct Over {
    last: Vec<Bytes>,
    /// Whole lines behind the last frame: some servers leave out the empty line there.
    tail: Option<Bytes>,
    /// What went wrong, unless the stream had said that it was at its end.
    fault: Fault,
}

impl<'a, B> Pump<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// A pump for `body`; `head` goes out with the first frames.
    pub(crate) fn new(
        head: Head,
        body: B,
        dialect: Dialect,
        idle: Duration,
        metrics: &'a Metrics,
    ) -> Self {
        Self {
            head: Some(head),
            body,
            idle,
            frames: Frames::new(),
            observer: Observer::new(dialect),
            metrics,
            last_content: None,
            delivered: false,
        }
    }

    /// The head, if nothing has been sent yet.
    pub(crate) fn take_head(&mut self) -> Option<Head> {
        self.head.take()
    }

    /// Whether anything has gone to the client.
    pub(crate) fn delivered(&self) -> bool {
        self.delivered
    }

    /// Usage seen so far.
    pub(crate) fn usage(&self) -> Usage {
        self.observer.usage()
    }

    /// Relays until the end, whatever that is; what [`End`] still carries is for the caller to send.
    ///
    /// # Cancel safety
    /// Dropping it closes the upstream's connection.
    pub(crate) async fn run(
        &mut self,
        client: &mut impl Client,
        watch: &mut Watch,
        record: &mut Record,
    ) -> End {
        loop {
            let part = match self.read(client, watch).await {
                Read::Part(part) => part,
                Read::Over(over) => return self.end(over, record),
                Read::ClientLeft => return End::ClientLeft,
            };
            self.look(&part, record);
            let sent = client.send(self.head.take().as_ref(), &part, true);
            self.delivered = true;
            watch.arm(client);
            match sent {
                Sent::Ready => {}
                Sent::Gone => return End::ClientLeft,
                Sent::Full(drained) => tokio::select! {
                    biased;
                    () = watch.left() => return End::ClientLeft,
                    _ = drained => {}
                    () = tokio::time::sleep(STALL) => return End::ClientLeft,
                },
            }
        }
    }

    fn end(&mut self, over: Over, record: &mut Record) -> End {
        let Over {
            mut last,
            tail,
            fault,
        } = over;
        self.look(&last, record);
        if let Some(tail) = tail {
            self.look(std::slice::from_ref(&tail), record);
            if self.observer.finished() || self.observer.error().is_some() {
                last.push(tail);
            }
        }
        if self.observer.error().is_some() {
            End::Told { last }
        } else if self.observer.finished() {
            End::Complete { last }
        } else {
            End::Broken { last, fault }
        }
    }

    fn look(&mut self, part: &[Bytes], record: &mut Record) {
        for piece in part {
            let seen = self.observer.observe(piece);
            if seen.content {
                let now = Instant::now();
                if let Some(before) = self.last_content.replace(now) {
                    self.metrics.between_tokens((now - before).as_secs_f64());
                }
                record.content_delivered();
            }
        }
    }

    /// The next part: waits for the first bytes, then takes what else is there already.
    async fn read(&mut self, client: &mut impl Client, watch: &mut Watch) -> Read {
        let mut part = Vec::new();
        let mut bytes = 0;
        let silence = self.patience();
        let mut quiet = pin!(tokio::time::sleep(silence));
        let mut unwatched = pin!(tokio::time::sleep(Watch::PATIENCE));
        loop {
            let frame = if part.is_empty() {
                tokio::select! {
                    biased;
                    () = watch.left() => return Read::ClientLeft,
                    frame = self.body.frame() => Some(frame),
                    () = unwatched.as_mut(), if !watch.armed() => {
                        watch.arm(client);
                        continue;
                    }
                    () = quiet.as_mut() => return Read::over(part, None, silent(silence)),
                }
            } else if bytes < PART_BYTES {
                // The connection's task hands over one frame at a time, and only when it is let run.
                give_way().await;
                poll_immediate(self.body.frame()).await
            } else {
                None
            };
            match frame {
                None => return Read::Part(part),
                Some(None) => {
                    let tail = self.frames.finish().filter(|tail| is_whole_lines(tail));
                    return Read::over(part, tail, broken("the upstream's answer ended too early"));
                }
                Some(Some(Err(_))) => {
                    let fault = broken("the connection to the upstream broke mid-stream");
                    return Read::over(part, None, fault);
                }
                Some(Some(Ok(frame))) => {
                    quiet.as_mut().reset(Instant::now() + silence);
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    match self.frames.push_ready(data) {
                        Ok(Some(ready)) => {
                            bytes += ready.len();
                            part.push(ready);
                        }
                        Ok(None) => {}
                        Err(_) => {
                            let fault = broken("the upstream sent an event that is too large");
                            return Read::over(part, None, fault);
                        }
                    }
                }
            }
        }
    }

    /// How long the upstream may be silent now.
    fn patience(&self) -> Duration {
        let over = self.observer.closed() || self.observer.error().is_some();
        if over { LINGER } else { self.idle }
    }
}

impl Read {
    fn over(last: Vec<Bytes>, tail: Option<Bytes>, fault: Fault) -> Self {
        Self::Over(Over { last, tail, fault })
    }
}

/// Half a line is where something was cut; it must not reach a client.
fn is_whole_lines(tail: &[u8]) -> bool {
    tail.ends_with(b"\n") || tail.ends_with(b"\r")
}

fn silent(silence: Duration) -> Fault {
    let message = format!("the upstream was silent for {} s", silence.as_secs_f64());
    Fault::new(Kind::UpstreamTimeout, message)
}

/// Lets the tasks that are ready run once.
///
/// Tokio's own `yield_now` also asks the kernel for news, which would cost every event a system call.
async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn broken(message: &str) -> Fault {
    Fault::new(Kind::UpstreamError, message)
}

#[cfg(test)]
mod tests;
