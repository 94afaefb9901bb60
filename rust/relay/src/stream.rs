//! Answers that are streams: pumped to the client, and ended once.

use std::rc::Rc;

use bytes::Bytes;
use fault::{Fault, Kind};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use wire::Dialect;

use crate::client::{Client, Head};
use crate::exchange::{Answer, Exchange, Plan, Served};
use crate::pump::{End, LINGER, Pump, Terms};
use crate::record::Outcome;
use crate::upstream::Upstream;
use crate::voice::Voice;

impl<C: Client> Exchange<C> {
    /// Serves a stream in the dialect `spoken`, by `voice`.
    pub(crate) async fn stream(
        &mut self,
        head: Head,
        body: Incoming,
        spoken: Dialect,
        voice: Voice,
        plan: &Plan,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        let Some(mut record) = self.record.take() else {
            return Err(Fault::new(Kind::Internal, "a stream without a record"));
        };
        let status = head.status;
        record.status = status;
        let translated = voice.is_translated();
        let core = Rc::clone(&self.core);
        let terms = Terms {
            upstream: spoken,
            client: self.dialect,
            voice,
            idle: upstream.idle,
            ping: upstream.ping,
            request_id: &self.request_id,
        };
        let mut pump = Pump::new(head, body, terms, &core.metrics);
        let end = pump
            .run(&mut self.client, &mut self.watch, &mut record)
            .await;
        record.usage = pump.usage();
        let head = pump.take_head();
        let delivered = pump.delivered();
        let rest = pump.into_body();
        self.answering = delivered;
        self.record = Some(record);
        match end {
            End::Complete { last } => {
                self.last(head.as_ref(), &last, Outcome::Complete, status)
                    .await;
                // The end of a stream that passes as it is has been waited for.
                if translated {
                    read_to_end(rest);
                }
            }
            End::ClientLeft => self.close(Outcome::ClientLeft, status),
            End::Told { last } => return Ok(self.failed(head, last, status).await),
            End::Broken { last, refusal } if !delivered && last.is_empty() => {
                return Ok(Served::GiveBack(self.told(&refusal, plan)));
            }
            End::Broken { mut last, refusal } => {
                last.push(Bytes::from(refusal.event(&self.request_id)));
                if let Some(record) = &mut self.record {
                    record.blame(refusal.fault);
                }
                return Ok(self.failed(head, last, status).await);
            }
        }
        Ok(Served::Counts)
    }

    /// Ends a stream whose last event is an error: where nothing of the answer came before it, the upstream refused, only late.
    async fn failed(&mut self, head: Option<Head>, last: Vec<Bytes>, status: u16) -> Served {
        if self.has_content() {
            self.last(head.as_ref(), &last, Outcome::Broken, status)
                .await;
            return Served::Counts;
        }
        Served::GiveBack(Answer {
            head,
            body: last,
            status,
            outcome: Outcome::Failed,
        })
    }
}

/// Reads what may still follow a stream's end, so that the connection can be used again.
fn read_to_end(mut body: Incoming) {
    if hyper::body::Body::is_end_stream(&body) {
        return;
    }
    tokio::task::spawn_local(tokio::time::timeout(LINGER, async move {
        while let Some(Ok(_)) = body.frame().await {}
    }));
}
