//! One request in flight, from the decision to serve it to its record.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::FutureExt;
use http::Response;
use hyper::body::Incoming;
use quota::Window;
use wire::translate::{Known, Stamp};
use wire::{Dialect, Operation, Peek, Refusal};

use crate::answer;
use crate::call::{self, Call, Prepared, Way};
use crate::client::{Client, Head, Sent};
use crate::core::{self, Core};
use crate::headers;
use crate::ledger::{self, Taken};
use crate::pump::STALL;
use crate::record::{Outcome, Record};
use crate::upstream::{Failure, Upstream};
use crate::voice::Voice;
use crate::watch::Watch;

/// What a client asked.
#[derive(Debug)]
pub struct Asked {
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

/// What policy decided.
#[derive(Debug)]
pub struct Plan {
    /// The subscriber's stable id.
    pub user: String,
    /// Their tier.
    pub tier: String,
    /// The bounded label of the model asked for.
    pub asked: String,
    /// The model that serves, as the client is told.
    pub model: String,
    /// Its bounded label.
    pub served: String,
    /// Its name at the upstream.
    pub wire_model: String,
    /// The upstream.
    pub upstream: String,
    /// What the model understands there, by its key in the settings.
    pub profile: String,
    /// Whether the request was meant for another class of model, and has to be fitted to this one.
    pub adapt: bool,
    /// What is counted.
    pub windows: Vec<Window>,
}

/// Serves one request to its end. Every path ends in exactly one answer to the client and one record.
pub async fn run(core: Rc<Core>, asked: Asked, plan: Plan, record: Record, client: impl Client) {
    core.metrics.stream_started();
    let operation = asked.operation;
    let metrics = std::sync::Arc::clone(&core.metrics);
    let mut exchange = Exchange {
        core,
        dialect: operation.dialect(),
        request_id: record.request_id.clone(),
        record: Some(record),
        client,
        watch: Watch::default(),
        answering: false,
    };
    let served = AssertUnwindSafe(exchange.serve(&asked, &plan))
        .catch_unwind()
        .await;
    let result = served.unwrap_or_else(|_| {
        metrics.panic();
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
}

/// What became of the answer to a request that reached the upstream.
pub(crate) enum Served {
    /// The use of it counts.
    Counts,
    /// Nothing of worth was delivered: given back first, then this goes out.
    GiveBack(Answer),
}

/// What is still to be sent; `head` is None if it has gone.
pub(crate) struct Answer {
    pub(crate) head: Option<Head>,
    pub(crate) body: Vec<Bytes>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
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
        // Counting tokens costs nobody anything (policy.md, "what is counted").
        let windows: &[Window] = if asked.operation == Operation::CountTokens {
            &[]
        } else {
            &plan.windows
        };
        let taken = ledger::take(&core, &plan.user, &plan.tier, windows).await?;
        for name in call.dropped.names() {
            core.metrics.dropped(name);
        }
        match self.ask(call, asked, plan, &upstream, served).await {
            Ok(Served::Counts) => Ok(()),
            Ok(Served::GiveBack(answer)) => {
                self.give_back(taken).await;
                let head = answer.head.as_ref();
                self.last(head, &answer.body, answer.outcome, answer.status)
                    .await;
                Ok(())
            }
            Err(fault) => {
                self.give_back(taken).await;
                Err(fault)
            }
        }
    }

    async fn give_back(&mut self, taken: Taken) {
        if let Err(problem) = taken.give_back(&self.core).await
            && let Some(record) = &mut self.record
        {
            record.note(problem);
        }
    }

    async fn ask(
        &mut self,
        call: Call,
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
        model: &core::Served,
    ) -> Result<Served, Fault> {
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
                            self.close(Outcome::ClientLeft, 499);
                            return Ok(Served::Counts);
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
            let refused = match call.way {
                Way::AsIs { retold: false } => {
                    self.refused(status, head, response, upstream).await?
                }
                _ => self.retold(response, asked, plan, upstream, model).await,
            };
            return Ok(Served::GiveBack(refused));
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

    fn head(&mut self, response: &Response<Incoming>, plan: &Plan, way: &Way) -> Head {
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

    pub(crate) fn sign(&self, head: &mut Head, plan: &Plan) {
        head.push("request-id", self.request_id.clone());
        head.push("x-request-id", self.request_id.clone());
        head.push("x-gateway-model", plan.model.clone());
        head.push("x-gateway-tier", plan.tier.clone());
        head.push("x-gateway-upstream", plan.upstream.clone());
    }

    /// An upstream's refusal, as an answer in the client's words.
    pub(crate) fn told(&mut self, refusal: &Refusal, plan: &Plan) -> Answer {
        if let Some(record) = &mut self.record {
            record.blame(refusal.fault);
        }
        let answer = refusal.answer(&self.request_id);
        let mut head = Head::new(answer.status);
        for (name, value) in answer.headers {
            head.push(name, value);
        }
        self.sign(&mut head, plan);
        Answer {
            head: Some(head),
            body: vec![Bytes::from(answer.body)],
            status: answer.status,
            outcome: Outcome::Failed,
        }
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
        self.finish(&head, &[Bytes::from(known.body)], Outcome::Complete)
            .await;
    }

    /// Sends a whole answer and ends the exchange.
    pub(crate) async fn finish(&mut self, head: &Head, body: &[Bytes], outcome: Outcome) {
        self.last(Some(head), body, outcome, head.status).await;
    }

    /// Accounts first, then sends the last part: whoever has read the answer finds it counted.
    pub(crate) async fn last(
        &mut self,
        head: Option<&Head>,
        body: &[Bytes],
        outcome: Outcome,
        status: u16,
    ) {
        self.answering = true;
        self.close(outcome, status);
        let sent = self.client.send(head, body, false);
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

    pub(crate) fn close(&mut self, outcome: Outcome, status: u16) {
        if let Some(record) = self.record.take() {
            record.end(outcome, status);
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
            self.last(None, &[Bytes::from(event)], outcome, answer.status)
                .await;
            return;
        }
        let mut head = Head::new(answer.status);
        for (name, value) in answer.headers {
            head.push(name, value);
        }
        self.sign(&mut head, plan);
        self.finish(&head, &[Bytes::from(answer.body)], outcome)
            .await;
    }
}
