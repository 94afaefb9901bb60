//! One request in flight, from the decision to serve it to its record.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::FutureExt;
use http::Response;
use http1::Body;
use wire::translate::{Known, Stamp};
use wire::{Dialect, Operation, Peek, Refusal};

use crate::answer;
use crate::call::{self, Call, Prepared, Way};
use crate::client::{Client, Head, Sent};
use crate::core::{self, Core};
use crate::count::Output;
use crate::headers;
use crate::ledger::Standing;
use crate::plan::Plan;
use crate::pump::STALL;
use crate::record::{Outcome, Record};
use crate::tally::Row;
use crate::upstream::{Failure, Upstream};
use crate::voice::Voice;
use crate::watch::Watch;

/// What a client asked.
#[derive(Debug)]
pub struct Asked {
    /// The stable id of the subscriber who asks.
    pub user: String,
    /// Which endpoint.
    pub operation: Operation,
    /// The body as it came.
    pub body: Bytes,
    /// What was found in it.
    pub peek: Peek,
    /// Header names in lower case, and values.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The query string, without its `?`.
    pub query: String,
}

/// Serves one request to its end. Every path ends in exactly one answer to the client and one record.
pub async fn run(
    core: Rc<Core>,
    asked: Asked,
    plan: Arc<Plan>,
    record: Record,
    client: impl Client,
) {
    core.metrics.stream_started();
    let operation = asked.operation;
    let metrics = Arc::clone(&core.metrics);
    let mut exchange = Exchange {
        core,
        dialect: operation.dialect(),
        request_id: record.request_id.clone(),
        record: Some(record),
        client,
        watch: Watch::default(),
        answering: false,
        standing: Standing::default(),
        output: Output::default(),
    };
    let served = AssertUnwindSafe(exchange.serve(&asked, &plan))
        .catch_unwind()
        .await;
    let result = served.unwrap_or_else(|_| {
        metrics.panic();
        // Nobody knows what was used: what was taken stands.
        exchange.standing = Standing::default();
        Err(Fault::new(Kind::Internal, "the exchange panicked"))
    });
    if let Err(fault) = result {
        exchange.refuse(&fault, &plan).await;
    }
    metrics.stream_ended();
}

/// A request that is being served. `stream.rs` and `whole.rs` hold the two kinds of answers.
pub(crate) struct Exchange<C> {
    pub(crate) core: Rc<Core>,
    pub(crate) dialect: Dialect,
    pub(crate) request_id: String,
    pub(crate) record: Option<Record>,
    pub(crate) client: C,
    pub(crate) watch: Watch,
    /// Whether anything has been sent: from then on a fault can only be an event.
    pub(crate) answering: bool,
    /// What was taken of the quota, until it is settled.
    pub(crate) standing: Standing,
    /// What the model has written, as far as that may have to be counted here.
    pub(crate) output: Output,
}

impl<C: Client> Exchange<C> {
    async fn serve(&mut self, asked: &Asked, plan: &Plan) -> Result<(), Fault> {
        let core = Rc::clone(&self.core);
        let upstream = core.upstream(&plan.upstream)?;
        let served = core.served(&plan.profile)?;
        let spoken = upstream.spoken().await;
        let spoken = spoken.map_err(|failure| self.noted(failure))?;
        let prepared = call::prepare(asked, plan, &served.profile, spoken, &upstream).await?;
        let call = match prepared {
            Prepared::Call(call) => *call,
            Prepared::Known(known) => {
                self.known(known, plan).await;
                return Ok(());
            }
            Prepared::Count(prompt) => return self.count(prompt, plan, &upstream, served).await,
        };
        self.take(asked, plan, served, spoken.context_window)
            .await?;
        for name in call.dropped.names() {
            core.metrics.dropped(name);
        }
        self.ask(call, asked, plan, &upstream, served).await
    }

    async fn ask(
        &mut self,
        call: Call,
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
        model: &core::Served,
    ) -> Result<(), Fault> {
        self.calling();
        let response = {
            let mut answer = pin!(upstream.post(&call.target, call.headers, &call.body));
            tokio::select! {
                biased;
                response = &mut answer => response,
                () = tokio::time::sleep(Watch::PATIENCE) => {
                    self.watch.arm(&mut self.client);
                    tokio::select! {
                        biased;
                        () = self.watch.left() => {
                            self.close(Outcome::ClientLeft, 499).await;
                            return Ok(());
                        }
                        response = &mut answer => response,
                    }
                }
            }
        };
        let response = response.map_err(|failure| self.noted(failure))?;
        let mut head = self.head(&response, plan, &call.way);
        if let Some(dropped) = call.dropped.header() {
            head.push("x-gateway-dropped", dropped);
        }
        let status = response.status().as_u16();
        if !(200..=299).contains(&status) {
            if matches!(call.way, Way::AsIs { retold: false }) {
                return self.refused(head, response, upstream).await;
            }
            self.retold(response, asked, plan, upstream, model).await;
            return Ok(());
        }
        if !answer::is_plain(&response) {
            return Err(answer::unusable(
                "the upstream compressed its answer although it was asked not to",
            ));
        }
        let stream = answer::is_event_stream(&response);
        match call.way {
            Way::AsIs { .. } if stream => {
                let voice = Voice::AsIs(self.dialect);
                let body = response.into_body();
                self.stream(head, body, call.dialect, voice, plan, upstream)
                    .await
            }
            Way::AsIs { .. } if answer::is_json(&response) => {
                self.whole(head, response.into_body(), upstream).await
            }
            Way::Translated(memory) if stream && self.asked_stream() => {
                let voice = Voice::Translated(memory.stream(self.stamp()));
                let body = response.into_body();
                self.stream(head, body, call.dialect, voice, plan, upstream)
                    .await
            }
            // What it is comes to light when it is read.
            Way::Translated(memory) if !stream && !self.asked_stream() => {
                self.translated(head, response, &memory, plan, upstream)
                    .await
            }
            Way::Translated(_) => Err(answer::unusable(
                "the upstream answered a stream where JSON was asked for, or the other way round",
            )),
            Way::AsIs { .. } => Err(answer::unusable(
                "the upstream answered with something that is neither JSON nor an event stream",
            )),
        }
    }

    /// Notes that the upstream is called now.
    pub(crate) fn calling(&mut self) {
        if let Some(record) = &mut self.record {
            record.upstream_called();
        }
    }

    fn asked_stream(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.stream)
    }

    /// What an invented part of an answer is made from.
    pub(crate) fn stamp(&self) -> Stamp<'_> {
        Stamp {
            request_id: &self.request_id,
            now_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |passed| passed.as_secs()),
        }
    }

    pub(crate) fn has_content(&self) -> bool {
        self.record.as_ref().is_some_and(Record::has_content)
    }

    pub(crate) fn noted(&mut self, failure: Failure) -> Fault {
        if let (Some(record), Some(cause)) = (&mut self.record, failure.cause) {
            record.note(cause);
        }
        failure.fault
    }

    fn head(&mut self, response: &Response<Body>, plan: &Plan, way: &Way) -> Head {
        let mut head = Head::new(response.status().as_u16());
        let stream = answer::is_event_stream(response);
        let translated = matches!(way, Way::Translated(_));
        for (name, value) in headers::for_client(response.headers()) {
            // A charset or profile that the upstream names is not that of what is written here.
            if !(translated && name == "content-type") {
                head.push(name, value);
            }
        }
        if translated {
            let kind = if stream {
                "text/event-stream; charset=utf-8"
            } else {
                "application/json"
            };
            head.push("content-type", kind);
        }
        if stream {
            head.push("cache-control", "no-cache");
            // nginx in front would otherwise collect a stream before passing it on.
            head.push("x-accel-buffering", "no");
        }
        self.sign(&mut head, plan);
        if let Some(record) = &mut self.record {
            record.upstream_answered();
            record.upstream_request_id = answer::request_id(response);
            head.push("server-timing", record.server_timing());
        }
        head
    }

    /// Adds what every answer says: which request, served by whom, and how the quota stands.
    pub(crate) fn sign(&self, head: &mut Head, plan: &Plan) {
        head.push("request-id", self.request_id.clone());
        head.push("x-request-id", self.request_id.clone());
        head.push("x-gateway-model", plan.model.clone());
        head.push("x-gateway-tier", plan.tier.clone());
        head.push("x-gateway-upstream", plan.upstream.clone());
        // Windows begin and end by the store's clock.
        let now_s = self.core.ledger().now_s();
        for (name, value) in self.standing.headers(self.dialect, head.status, now_s) {
            head.push(name, value);
        }
    }

    /// Answers with an upstream's refusal, in the client's words.
    pub(crate) async fn tell(&mut self, refusal: &Refusal, plan: &Plan) {
        if let Some(record) = &mut self.record {
            record.blame(refusal.fault);
        }
        let answer = refusal.answer(&self.request_id);
        self.answer(answer, plan, Outcome::Failed).await;
    }

    async fn answer(&mut self, answer: wire::Answer, plan: &Plan, outcome: Outcome) {
        let mut head = Head::new(answer.status);
        for (name, value) in answer.headers {
            head.push(name, value);
        }
        self.sign(&mut head, plan);
        self.finish(head, vec![answer.body.into()], outcome).await;
    }

    /// Sends an answer that needed no upstream.
    async fn known(&mut self, known: Known, plan: &Plan) {
        let mut head = Head::new(200);
        if known.stream {
            head.push("content-type", "text/event-stream; charset=utf-8");
        } else {
            head.push("content-type", "application/json");
            head.push("content-length", known.body.len().to_string());
        }
        self.sign(&mut head, plan);
        self.finish(head, vec![known.body.into()], Outcome::Complete)
            .await;
    }

    /// Sends a whole answer and ends the exchange.
    pub(crate) async fn finish(&mut self, head: Head, body: Vec<Bytes>, outcome: Outcome) {
        let status = head.status;
        self.last(Some(head), body, outcome, status).await;
    }

    /// Accounts first, then sends the last part: whoever has read the answer finds it counted.
    pub(crate) async fn last(
        &mut self,
        head: Option<Head>,
        body: Vec<Bytes>,
        outcome: Outcome,
        status: u16,
    ) {
        self.answering = true;
        self.close(outcome, status).await;
        let sent = self.client.send(head, body, false).await;
        self.drained(sent).await;
    }

    /// Whether a part that was sent has been taken, rather than the client having left.
    pub(crate) async fn drained(&mut self, sent: Sent) -> bool {
        let drained = match sent {
            Sent::Ready => return true,
            Sent::Gone => return false,
            Sent::Full(drained) => drained,
        };
        self.watch.arm(&mut self.client);
        tokio::select! {
            biased;
            () = self.watch.left() => false,
            _ = drained => true,
            () = tokio::time::sleep(STALL) => false,
        }
    }

    /// The one end of every exchange: settles what was taken by how it ended, then the record.
    pub(crate) async fn close(&mut self, outcome: Outcome, status: u16) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.ended(outcome, status);
        if let Standing::Taken(taken) = std::mem::take(&mut self.standing) {
            let row = Row::of(outcome, record.has_content());
            let output = std::mem::take(&mut self.output);
            record.estimate = taken.settle(&self.core, row, record.usage, output).await;
        }
    }

    /// Answers with a fault: as JSON if nothing has gone yet, else as the stream's last event.
    async fn refuse(&mut self, fault: &Fault, plan: &Plan) {
        let outcome = match fault.kind {
            Kind::UpstreamError | Kind::UpstreamTimeout => Outcome::Failed,
            Kind::Internal => Outcome::Broken,
            _ => Outcome::Refused,
        };
        let answer = wire::shape(fault, self.dialect, &self.request_id);
        if let Some(record) = &mut self.record {
            record.blame(fault.kind);
            if fault.kind == Kind::Internal {
                record.note(fault.message.clone());
            }
        }
        if self.answering {
            let event = wire::stream_event(fault, self.dialect, &self.request_id);
            self.last(None, vec![event.into()], outcome, answer.status)
                .await;
            return;
        }
        self.answer(answer, plan, outcome).await;
    }
}
