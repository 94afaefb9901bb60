//! An upstream's stream on its way to the client: whole frames, as soon as they are there.
//!
//! Everything that one read made ready goes out in one part; nothing is held back to wait for more. Only a frame
//! that is not complete yet waits, so that an error event never lands in the middle of another. A client that hears nothing
//! for a while gets a sign of life, but no longer than the upstream may be silent.

mod end;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::future::poll_immediate;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};
use wire::translate::Progress;
use wire::{Dialect, Frames, Observer, Produced, Refusal};

pub(crate) use end::{End, Rest};

use crate::answer;
use crate::client::{Client, Head, Sent};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::voice::Voice;
use crate::watch::Watch;

/// One part is at most about this large: larger ones only make the client wait for its first byte.
const PART_BYTES: usize = 64 * 1024;
/// A client that takes nothing for this long has left.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// After its last event an upstream should close; it is not waited for longer than this.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// After the finish reason usage and the end mark follow at once, or never.
const FINISH: Duration = Duration::from_secs(5);

/// Between whom a stream goes, how, and how long its waits last.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    /// The API that the upstream answers in.
    pub(crate) upstream: Dialect,
    /// The client's API.
    pub(crate) client: Dialect,
    /// What the client hears of the frames.
    pub(crate) voice: Voice,
    /// Collects what the model writes, if its tokens may have to be counted here.
    pub(crate) produced: Option<Produced>,
    /// Silence of the upstream that ends the stream.
    pub(crate) idle: Duration,
    /// Silence after which the client gets a sign of life.
    pub(crate) ping: Duration,
    /// The gateway's id for the request.
    pub(crate) request_id: &'a str,
}

/// A stream between its first and its last frame.
#[derive(Debug)]
pub(crate) struct Pump<'a, B> {
    head: Option<Head>,
    body: B,
    terms: Terms<'a>,
    frames: Frames,
    observer: Observer,
    metrics: &'a Metrics,
    last_content: Option<Instant>,
    delivered: bool,
    /// When the upstream last said something.
    heard: Instant,
    /// When the client last did.
    told: Instant,
    /// Rings when something may have to be done although nothing came. Never set anew while frames come: what is due moves
    /// away with each, and it is looked at when the timer rings.
    timer: Pin<Box<Sleep>>,
}

enum Read {
    Part(Vec<Bytes>),
    /// Nothing came for so long that the client should get a sign of life.
    Quiet,
    Over(Over),
    ClientLeft,
}

/// The last that came from an upstream.
struct Over {
    last: Vec<Bytes>,
    /// What came behind the last frame of a stream that was closed in good order: some servers leave out the empty line there.
    tail: Option<Bytes>,
    /// What went wrong, unless the stream had said that it was at its end.
    fault: Fault,
}

impl<'a, B> Pump<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// A pump for `body`; `head` goes out with the first frames.
    pub(crate) fn new(head: Head, body: B, terms: Terms<'a>, metrics: &'a Metrics) -> Self {
        let now = Instant::now();
        Self {
            head: Some(head),
            body,
            frames: Frames::new(),
            observer: Observer::new(terms.upstream),
            terms,
            metrics,
            last_content: None,
            delivered: false,
            heard: now,
            told: now,
            timer: Box::pin(tokio::time::sleep_until(now + Watch::PATIENCE)),
        }
    }

    /// What there is left of it when it has run.
    pub(crate) fn into_rest(self) -> Rest<B> {
        Rest {
            head: self.head,
            delivered: self.delivered,
            usage: self.observer.usage(),
            produced: self.terms.produced,
            body: self.body,
        }
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
                Read::Part(part) => {
                    self.look(&part, record);
                    let part = self.terms.voice.say(part);
                    match self.terms.voice.progress() {
                        Progress::Open | Progress::Finishing => part,
                        Progress::Complete => return self.complete(part),
                        Progress::Broken(refusal) => return self.broken(part, refusal),
                    }
                }
                Read::Quiet => self.terms.voice.ping(self.delivered),
                Read::Over(over) => return self.end(over, record),
                Read::ClientLeft => return End::ClientLeft,
            };
            if part.is_empty() {
                continue;
            }
            self.name_upstream_id();
            let sent = client.send(self.head.take(), part, true).await;
            self.delivered = true;
            self.told = Instant::now();
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
        let Over { last, tail, fault } = over;
        self.look(&last, record);
        if self.terms.voice.is_translated() {
            return self.end_translated(last, tail, &fault);
        }
        let mut last = last;
        if let Some(tail) = tail.filter(|tail| is_whole_lines(tail)) {
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
            self.broken(last, self.told_of(&fault))
        }
    }

    fn end_translated(&mut self, last: Vec<Bytes>, tail: Option<Bytes>, fault: &Fault) -> End {
        let mut last = self.terms.voice.say(last);
        let closed = tail.is_some();
        let mut progress = self.terms.voice.progress();
        if progress == Progress::Finishing || (closed && progress == Progress::Open) {
            last.extend(self.terms.voice.close(&tail.unwrap_or_default()));
            progress = self.terms.voice.progress();
        }
        match progress {
            Progress::Complete => self.complete(last),
            Progress::Broken(refusal) => self.broken(last, refusal),
            Progress::Open | Progress::Finishing => self.broken(last, self.told_of(fault)),
        }
    }

    fn told_of(&self, fault: &Fault) -> Refusal {
        Refusal::of(fault, self.terms.client, self.terms.request_id)
    }

    fn complete(&mut self, last: Vec<Bytes>) -> End {
        self.name_upstream_id();
        End::Complete { last }
    }

    fn broken(&mut self, last: Vec<Bytes>, refusal: Refusal) -> End {
        self.name_upstream_id();
        End::Broken { last, refusal }
    }

    /// Names the upstream's own id in a head that has not gone yet.
    fn name_upstream_id(&mut self) {
        if let Some(head) = &mut self.head
            && let Some(id) = self.terms.voice.upstream_id().and_then(answer::plain)
        {
            head.push("x-upstream-id", id);
        }
    }

    fn look(&mut self, part: &[Bytes], record: &mut Record) {
        for piece in part {
            let seen = self.observer.observe(piece);
            if let Some(produced) = &mut self.terms.produced {
                produced.observe(piece);
            }
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
        loop {
            let frame = if part.is_empty() {
                let next = self.next(watch);
                if next < self.timer.deadline() {
                    self.timer.as_mut().reset(next);
                }
                tokio::select! {
                    biased;
                    () = watch.left() => return Read::ClientLeft,
                    frame = self.body.frame() => Some(frame),
                    () = self.timer.as_mut() => {
                        let now = Instant::now();
                        if now >= self.heard + self.silence() {
                            return Read::over(part, None, silent(self.silence()));
                        }
                        if now >= self.ping_due() {
                            return Read::Quiet;
                        }
                        if now >= self.unwatched() {
                            watch.arm(client);
                        }
                        let next = self.next(watch);
                        self.timer.as_mut().reset(next);
                        continue;
                    }
                }
            } else if bytes < PART_BYTES {
                poll_immediate(self.body.frame()).await
            } else {
                None
            };
            match frame {
                None => return Read::Part(part),
                Some(None) => {
                    let tail = Some(self.frames.finish().unwrap_or_default());
                    return Read::over(part, tail, broken("the upstream's answer ended too early"));
                }
                Some(Some(Err(_))) => {
                    let fault = broken("the connection to the upstream broke mid-stream");
                    return Read::over(part, None, fault);
                }
                Some(Some(Ok(frame))) => {
                    self.heard = Instant::now();
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

    /// When something has to be done although nothing came.
    fn next(&self, watch: &Watch) -> Instant {
        let due = (self.heard + self.silence()).min(self.ping_due());
        if watch.armed() {
            due
        } else {
            due.min(self.unwatched())
        }
    }

    /// When an answer of which nothing has come has taken long enough for a watch on the client.
    fn unwatched(&self) -> Instant {
        self.heard + Watch::PATIENCE
    }

    /// How long the upstream may be silent now.
    fn silence(&self) -> Duration {
        if self.is_over() {
            LINGER
        } else if self.terms.voice.progress() == Progress::Finishing {
            FINISH
        } else {
            self.terms.idle
        }
    }

    /// When the client should get a sign of life.
    fn ping_due(&self) -> Instant {
        let can = self.delivered || self.terms.voice.is_translated();
        if can && !self.is_over() {
            self.told + self.terms.ping
        } else {
            self.heard + self.silence()
        }
    }

    fn is_over(&self) -> bool {
        self.observer.closed() || self.observer.error().is_some()
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

fn broken(message: &str) -> Fault {
    Fault::new(Kind::UpstreamError, message)
}

#[cfg(test)]
mod tests;
