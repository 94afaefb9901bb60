//! One request in flight, from the decision to serve it to its record.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::FutureExt;
use http::Response;
use hyper::body::Incoming;
use quota::Window;
use wire::{Dialect, Operation, Peek};

use crate::answer;
use crate::client::{Client, Head, Sent};
use crate::core::Core;
use crate::headers;
use crate::ledger::{self, Taken};
use crate::pump::{End, Pump, STALL};
use crate::record::{Outcome, Record};
use crate::upstream::{Failure, Upstream};
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

/// A request that is being served. `whole.rs` holds the answers that are no streams.
pub(crate) struct Exchange<C> {
    core: Rc<Core>,
    pub(crate) dialect: Dialect,
    request_id: String,
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
        wire::translate::path(self.dialect, upstream.dialects(), &plan.model)?;
        // Counting tokens costs nobody anything (policy.md, "what is counted").
        let windows: &[Window] = if asked.operation == Operation::CountTokens {
            &[]
        } else {
            &plan.windows
        };
        let taken = ledger::take(&core, &plan.user, &plan.tier, windows).await?;
        match self.ask(asked, plan, upstream).await {
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
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        let body = wire::splice(&asked.body, asked.peek.model_span.clone(), &plan.wire_model);
        let headers = headers::for_upstream(&asked.headers, self.dialect);
        let path = asked.operation.path();
        let target = if asked.query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", asked.query)
        };
        if let Some(record) = &mut self.record {
            record.upstream_called();
        }
        let response = {
            let mut answer = pin!(upstream.post(&target, headers, &body));
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
        let head = self.head(&response, plan);
        match response.status().as_u16() {
            200..=299 if !answer::is_plain(&response) => Err(Fault::new(
                Kind::UpstreamError,
                "the upstream compressed its answer although it was asked not to",
            )),
            200..=299 if answer::is_event_stream(&response) => {
                self.stream(head, response.into_body(), upstream).await
            }
            200..=299 if answer::is_json(&response) => {
                self.whole(head, response.into_body(), upstream).await
            }
            200..=299 => Err(Fault::new(
                Kind::UpstreamError,
                "the upstream answered with something that is neither JSON nor an event stream",
            )),
            status => self
                .refused(status, head, response, upstream)
                .await
                .map(Served::GiveBack),
        }
    }

    fn has_content(&self) -> bool {
        self.record.as_ref().is_some_and(Record::has_content)
    }

    fn noted(&mut self, failure: Failure) -> Fault {
        if let (Some(record), Some(cause)) = (&mut self.record, failure.cause) {
            record.note(cause);
        }
        failure.fault
    }

    fn head(&mut self, response: &Response<Incoming>, plan: &Plan) -> Head {
        let mut head = Head::new(response.status().as_u16());
        for (name, value) in headers::for_client(response.headers()) {
            head.push(name, value);
        }
        if answer::is_event_stream(response) {
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

    fn sign(&self, head: &mut Head, plan: &Plan) {
        head.push("request-id", self.request_id.clone());
        head.push("x-request-id", self.request_id.clone());
        head.push("x-gateway-model", plan.model.clone());
        head.push("x-gateway-tier", plan.tier.clone());
        head.push("x-gateway-upstream", plan.upstream.clone());
    }

    async fn stream(
        &mut self,
        head: Head,
        body: Incoming,
        upstream: &Upstream,
    ) -> Result<Served, Fault> {
        let Some(mut record) = self.record.take() else {
            return Err(Fault::new(Kind::Internal, "a stream without a record"));
        };
        let status = head.status;
        record.status = status;
        let core = Rc::clone(&self.core);
        let mut pump = Pump::new(head, body, self.dialect, upstream.idle, &core.metrics);
        let end = pump
            .run(&mut self.client, &mut self.watch, &mut record)
            .await;
        record.usage = pump.usage();
        let head = pump.take_head();
        self.answering = pump.delivered();
        self.record = Some(record);
        match end {
            End::Complete { last } => {
                self.last(head.as_ref(), &last, Outcome::Complete, status)
                    .await;
            }
            End::Told { last } if !self.has_content() => {
                // The error is all there was: the upstream refused, only late.
                return Ok(Served::GiveBack(Answer {
                    head,
                    body: last,
                    status,
                    outcome: Outcome::Failed,
                }));
            }
            End::Told { last } => {
                self.last(head.as_ref(), &last, Outcome::Broken, status)
                    .await;
            }
            End::ClientLeft => self.close(Outcome::ClientLeft, status),
            End::Broken { last, fault } if !pump.delivered() && last.is_empty() => {
                return Err(fault);
            }
            End::Broken { mut last, fault } => {
                let event = wire::stream_event(&fault, self.dialect, &self.request_id);
                last.push(Bytes::from(event));
                if let Some(record) = &mut self.record {
                    record.blame(&fault);
                }
                self.last(head.as_ref(), &last, Outcome::Broken, status)
                    .await;
            }
        }
        Ok(Served::Counts)
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
            record.blame(fault);
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
