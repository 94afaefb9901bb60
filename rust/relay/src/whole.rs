//! Answers that are no streams: read whole before they are sent, as long as they are not very large.

use std::pin::pin;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use http1::Body;
use wire::Dialect;
use wire::translate::{self, Memory};

use crate::answer;
use crate::client::{Client, Head};
use crate::core;
use crate::count::Output;
use crate::exchange::{Asked, Exchange};
use crate::plan::Plan;
use crate::record::Outcome;
use crate::upstream::Upstream;
use crate::watch::Watch;

/// An answer that is not a stream is read whole up to this size, so that a failure in it is still a clean one.
const WHOLE_BYTES: usize = 1024 * 1024;
/// What an answer used stands at its end; so much of it is kept to be read.
const TAIL_BYTES: usize = 16 * 1024;
/// A translated answer is always read whole; no model writes more.
const TRANSLATED_BYTES: usize = 32 * 1024 * 1024;

impl<C: Client> Exchange<C> {
    /// Serves a JSON answer.
    pub(crate) async fn whole(
        &mut self,
        mut head: Head,
        mut body: Body,
        upstream: &Upstream,
    ) -> Result<(), Fault> {
        // Promised to the client for a large answer: one that is cut short can then not look whole.
        let promised = body.size_hint().exact();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(frame) = self.next(&mut body, upstream).await? else {
                self.close(Outcome::ClientLeft, head.status).await;
                return Ok(());
            };
            let Some(data) = frame else { break };
            bytes += data.len();
            pieces.push(data);
            if bytes > WHOLE_BYTES {
                if let Some(length) = promised {
                    head.push("content-length", length.to_string());
                }
                return self.large(head, pieces, body, upstream).await;
            }
        }
        let joined = join(pieces, bytes);
        self.used(self.dialect, &joined);
        head.push("content-length", bytes.to_string());
        self.finish(head, vec![joined], Outcome::Complete).await;
        Ok(())
    }

    /// Passes on an answer too large to be held: from the first part on, a failure can only cut it short.
    async fn large(
        &mut self,
        head: Head,
        pieces: Vec<Bytes>,
        mut body: Body,
        upstream: &Upstream,
    ) -> Result<(), Fault> {
        let status = head.status;
        let mut tail = Tail::default();
        for piece in &pieces {
            tail.push(piece);
        }
        self.answering = true;
        self.watch.arm(&mut self.client);
        if let Some(record) = &mut self.record {
            record.content_delivered();
        }
        let mut sent = self.client.send(Some(head), pieces, true).await;
        let outcome = loop {
            if !self.drained(sent).await {
                break Outcome::ClientLeft;
            }
            match self.next(&mut body, upstream).await {
                Ok(Some(Some(data))) => {
                    tail.push(&data);
                    sent = self.client.send(None, vec![data], true).await;
                }
                Ok(Some(None)) => break Outcome::Complete,
                Ok(None) => break Outcome::ClientLeft,
                Err(fault) => {
                    if let Some(record) = &mut self.record {
                        record.blame(fault.kind);
                    }
                    break Outcome::Broken;
                }
            }
        };
        if let Some(record) = &mut self.record {
            record.usage = wire::usage_of_tail(self.dialect, &tail.last);
        }
        self.output = Output::Bytes(tail.bytes);
        if outcome == Outcome::ClientLeft {
            self.close(outcome, status).await;
        } else {
            self.last(None, Vec::new(), outcome, status).await;
        }
        Ok(())
    }

    /// Notes what a whole answer in `dialect` says of its use, or what it holds where it says nothing.
    fn used(&mut self, dialect: Dialect, body: &[u8]) {
        let usage = wire::usage_of_body(dialect, body);
        if let Some(record) = &mut self.record {
            record.usage = usage;
            record.content_delivered();
        }
        if self.standing.counts_tokens() && !usage.output_told {
            self.output = Output::Texts(wire::produced_of_body(dialect, body));
        }
    }

    /// The next data of a body: `None` if the client left, `Some(None)` at the end.
    async fn next(
        &mut self,
        body: &mut Body,
        upstream: &Upstream,
    ) -> Result<Option<Option<Bytes>>, Fault> {
        let mut quiet = pin!(tokio::time::sleep(upstream.idle));
        let mut unwatched = pin!(tokio::time::sleep(Watch::PATIENCE));
        loop {
            let frame = tokio::select! {
                biased;
                () = self.watch.left() => return Ok(None),
                frame = body.frame() => frame,
                () = unwatched.as_mut(), if !self.watch.armed() => {
                    self.watch.arm(&mut self.client);
                    continue;
                }
                () = quiet.as_mut() => {
                    return Err(Fault::new(Kind::UpstreamTimeout, "the upstream fell silent"));
                }
            };
            match frame {
                None => return Ok(Some(None)),
                Some(Err(_)) => {
                    return Err(Fault::new(
                        Kind::UpstreamError,
                        "the connection to the upstream broke in the middle of its answer; try again",
                    ));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(Some(data)));
                    }
                }
            }
        }
    }

    /// Serves a JSON answer in the client's API.
    pub(crate) async fn translated(
        &mut self,
        mut head: Head,
        response: Response<Body>,
        memory: &Memory,
        plan: &Plan,
        upstream: &Upstream,
    ) -> Result<(), Fault> {
        let mut body = response.into_body();
        let Some(told) = self
            .read_whole(&mut body, upstream, TRANSLATED_BYTES)
            .await?
        else {
            self.close(Outcome::ClientLeft, head.status).await;
            return Ok(());
        };
        let answer = match memory.answer(&told, self.stamp()) {
            Ok(answer) => answer,
            Err(refusal) => {
                self.tell(&refusal, plan).await;
                return Ok(());
            }
        };
        self.used(memory.upstream(), &told);
        if let Some(id) = answer.upstream_id.as_deref().and_then(answer::plain) {
            head.push("x-upstream-id", id);
        }
        head.push("content-length", answer.body.len().to_string());
        self.finish(head, vec![answer.body.into()], Outcome::Complete)
            .await;
        Ok(())
    }

    /// A body as one piece; `None` if the client left.
    pub(crate) async fn read_whole(
        &mut self,
        body: &mut Body,
        upstream: &Upstream,
        limit_bytes: usize,
    ) -> Result<Option<Bytes>, Fault> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        loop {
            match self.next(body, upstream).await? {
                None => return Ok(None),
                Some(None) => return Ok(Some(join(pieces, bytes))),
                Some(Some(data)) => {
                    bytes += data.len();
                    if bytes > limit_bytes {
                        return Err(answer::unusable("the upstream's answer is too large"));
                    }
                    pieces.push(data);
                }
            }
        }
    }

    /// An upstream's own refusal in the words of the client's API.
    pub(crate) async fn retold(
        &mut self,
        response: Response<Body>,
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
        model: &core::Served,
    ) {
        let status = response.status().as_u16();
        let retry_after_s = answer::retry_after(&response);
        let should_retry = answer::should_retry(&response);
        let plain = answer::is_plain(&response);
        let mut body = response.into_body();
        // What it says is only for reading: a body that breaks off or is compressed is as good as none.
        let words = self.read_whole(&mut body, upstream, WHOLE_BYTES).await;
        let words = words.ok().flatten().filter(|_| plain).unwrap_or_default();
        let refusal = translate::refusal(self.dialect, status, &words);
        let told = (status, &words[..]);
        let mut refusal = self
            .with_size(refusal, told, asked, plan, upstream, model)
            .await;
        refusal.retry_after_s = retry_after_s;
        refusal.should_retry = should_retry.or(refusal.should_retry);
        if let Some(record) = &mut self.record {
            record.note(format!("the upstream answered {status}"));
        }
        self.tell(&refusal, plan).await;
    }

    /// An upstream's own refusal: its words in the client's dialect pass, anything else gets ours.
    pub(crate) async fn refused(
        &mut self,
        mut head: Head,
        response: Response<Body>,
        upstream: &Upstream,
    ) -> Result<(), Fault> {
        let status = head.status;
        let json = answer::is_json(&response) && answer::is_plain(&response);
        let retry_after = answer::retry_after(&response);
        let mut body = response.into_body();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        let whole = loop {
            match self.next(&mut body, upstream).await {
                Ok(Some(Some(data))) if bytes + data.len() <= WHOLE_BYTES => {
                    bytes += data.len();
                    pieces.push(data);
                }
                end => break matches!(end, Ok(Some(None))),
            }
        };
        let passable = json && whole;
        if let Some(record) = &mut self.record {
            record.note(format!("the upstream answered {status}"));
        }
        // The client's own credential never goes upstream, so a refused one is the gateway's.
        if !passable || matches!(status, 401 | 403) || !(400..=599).contains(&status) {
            return Err(answer::in_our_words(status, retry_after));
        }
        head.push("content-length", bytes.to_string());
        if let Some(record) = &mut self.record {
            record.blame(answer::in_our_words(status, retry_after).kind);
        }
        self.finish(head, pieces, Outcome::Failed).await;
        Ok(())
    }
}

/// The end of an answer that is not kept.
#[derive(Default)]
struct Tail {
    last: Vec<u8>,
    bytes: u64,
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.last.extend_from_slice(
            piece
                .get(piece.len().saturating_sub(TAIL_BYTES)..)
                .unwrap_or_default(),
        );
        // Not each time, or small pieces would move it all over and over.
        if self.last.len() > 2 * TAIL_BYTES {
            self.last.drain(..self.last.len() - TAIL_BYTES);
        }
    }
}

fn join(mut pieces: Vec<Bytes>, bytes: usize) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut joined = Vec::with_capacity(bytes);
    for piece in pieces {
        joined.extend_from_slice(&piece);
    }
    Bytes::from(joined)
}
