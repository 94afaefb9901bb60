//! Answers that are no streams: read whole before they are sent, as long as they are not very large.

use std::pin::pin;

use bytes::Bytes;
use fault::{Fault, Kind};
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use wire::translate::{self, Memory};

use crate::answer;
use crate::client::{Client, Head};
use crate::core;
use crate::exchange::{Answer, Asked, Exchange, Plan, Served};
use crate::record::Outcome;
use crate::upstream::Upstream;
use crate::watch::Watch;

/// An answer that is not a stream is read whole up to this size, so that a failure in it is still a clean one.
const WHOLE_BYTES: usize = 1024 * 1024;
/// A translated answer is always read whole; no model writes more.
const TRANSLATED_BYTES: usize = 32 * 1024 * 1024;

impl<C: Client> Exchange<C> {
    /// Serves a JSON answer.
    pub(crate) async fn whole(
        &mut self,
        mut head: Head,
        mut body: Incoming,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        // Promised to the client for a large answer: one that is cut short can then not look whole.
        let promised = body.size_hint().exact();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(frame) = self.next(&mut body, upstream).await? else {
                self.close(Outcome::ClientLeft, head.status);
                return Ok(Served::Counts);
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
        if let Some(record) = &mut self.record {
            record.usage = wire::usage::usage_of_body(self.dialect, &joined);
            record.content_delivered();
        }
        head.push("content-length", bytes.to_string());
        self.finish(&head, &[joined], Outcome::Complete).await;
        Ok(Served::Counts)
    }

    /// Passes on an answer too large to be held: from the first part on, a failure can only cut it short.
    async fn large(
        &mut self,
        head: Head,
        pieces: Vec<Bytes>,
        mut body: Incoming,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        let status = head.status;
        self.answering = true;
        self.watch.arm(&mut self.client);
        let mut sent = self.client.send(Some(&head), &pieces, true);
        loop {
            if !self.drained(sent).await {
                self.close(Outcome::ClientLeft, status);
                return Ok(Served::Counts);
            }
            match self.next(&mut body, upstream).await {
                Ok(Some(Some(data))) => sent = self.client.send(None, &[data], true),
                Ok(Some(None)) => {
                    self.last(None, &[], Outcome::Complete, status).await;
                    return Ok(Served::Counts);
                }
                Ok(None) => {
                    self.close(Outcome::ClientLeft, status);
                    return Ok(Served::Counts);
                }
                Err(fault) => {
                    if let Some(record) = &mut self.record {
                        record.blame(fault.kind);
                    }
                    self.last(None, &[], Outcome::Broken, status).await;
                    return Ok(Served::Counts);
                }
            }
        }
    }

    /// The next data of a body: `None` if the client left, `Some(None)` at the end.
    async fn next(
        &mut self,
        body: &mut Incoming,
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
        response: Response<Incoming>,
        memory: &Memory,
        plan: &Plan,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        let mut body = response.into_body();
        let Some(told) = self
            .read_whole(&mut body, upstream, TRANSLATED_BYTES)
            .await?
        else {
            self.close(Outcome::ClientLeft, head.status);
            return Ok(Served::Counts);
        };
        let answer = match memory.answer(&told, self.stamp()) {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Served::GiveBack(self.told(&refusal, plan))),
        };
        if let Some(record) = &mut self.record {
            record.usage = wire::usage_of_body(memory.upstream(), &told);
            record.content_delivered();
        }
        if let Some(id) = answer.upstream_id.as_deref().and_then(answer::plain) {
            head.push("x-upstream-id", id);
        }
        head.push("content-length", answer.body.len().to_string());
        self.finish(&head, &[Bytes::from(answer.body)], Outcome::Complete)
            .await;
        Ok(Served::Counts)
    }

    /// A body as one piece; `None` if the client left.
    pub(crate) async fn read_whole(
        &mut self,
        body: &mut Incoming,
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
        response: Response<Incoming>,
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
        model: &core::Served,
    ) -> Answer {
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
        self.told(&refusal, plan)
    }

    /// An upstream's own refusal: its words in the client's dialect pass, anything else gets ours.
    pub(crate) async fn refused(
        &mut self,
        status: u16,
        mut head: Head,
        response: Response<Incoming>,
        upstream: &Upstream,
    ) -> Result<Answer, Fault> {
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
        Ok(Answer {
            head: Some(head),
            status,
            body: pieces,
            outcome: Outcome::Failed,
        })
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
