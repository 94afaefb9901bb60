//! Answers that are streams: pumped to the client, and ended once.

use std::rc::Rc;

use bytes::Bytes;
use fault::{Fault, Kind};
use http_body_util::BodyExt;
use http1::Body;
use wire::{Dialect, Produced};

use crate::client::{Client, Head};
use crate::count::Output;
use crate::exchange::Exchange;
use crate::plan::Plan;
use crate::pump::{End, LINGER, Pump, Terms};
use crate::record::Outcome;
use crate::upstream::Upstream;
use crate::voice::Voice;

impl<C: Client> Exchange<C> {
    /// Serves a stream in the dialect `spoken`, by `voice`.
    pub(crate) async fn stream(
        &mut self,
        head: Head,
        body: Body,
        spoken: Dialect,
        voice: Voice,
        plan: &Plan,
        upstream: &Upstream,
    ) -> Result<(), Fault> {
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
            produced: self.standing.counts_tokens().then(|| Produced::new(spoken)),
            idle: upstream.idle,
            ping: upstream.ping,
            request_id: &self.request_id,
        };
        let mut pump = Pump::new(head, body, terms, &core.metrics);
        let end = pump
            .run(&mut self.client, &mut self.watch, &mut record)
            .await;
        let rest = pump.into_rest();
        record.usage = rest.usage;
        if let Some(produced) = rest.produced {
            self.output = Output::Texts(produced);
        }
        let (head, delivered) = (rest.head, rest.delivered);
        self.answering = delivered;
        self.record = Some(record);
        match end {
            End::Complete { last } => {
                self.last(head, last, Outcome::Complete, status).await;
                // The end of a stream that passes as it is has been waited for.
                if translated {
                    read_to_end(rest.body);
                }
            }
            End::ClientLeft => self.close(Outcome::ClientLeft, status).await,
            End::Told { last } => self.failed(head, last, status).await,
            End::Broken { last, refusal } if !delivered && last.is_empty() => {
                self.tell(&refusal, plan).await;
            }
            End::Broken { mut last, refusal } => {
                last.push(Bytes::from(refusal.event(&self.request_id)));
                if let Some(record) = &mut self.record {
                    record.blame(refusal.fault);
                }
                self.failed(head, last, status).await;
            }
        }
        Ok(())
    }

    /// Ends a stream whose last event is an error: where nothing of the answer came before it, the upstream refused, only late.
    async fn failed(&mut self, head: Option<Head>, last: Vec<Bytes>, status: u16) {
        let outcome = if self.has_content() {
            Outcome::Broken
        } else {
            Outcome::Failed
        };
        self.last(head, last, outcome, status).await;
    }
}

/// Reads what may still follow a stream's end, so that the connection can be used again.
fn read_to_end(mut body: Body) {
    if http_body::Body::is_end_stream(&body) {
        return;
    }
    tokio::task::spawn_local(tokio::time::timeout(LINGER, async move {
        while let Some(Ok(_)) = body.frame().await {}
    }));
}
