//! One request in flight, from the decision to serve it to its record.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::FutureExt;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
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

/// An answer that is not a stream is read whole up to this size, so that a failure in it is still a clean one.
const WHOLE_BYTES: usize = 1024 * 1024;

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

struct Exchange<C> {
    core: Rc<Core>,
    dialect: Dialect,
    request_id: String,
    record: Option<Record>,
    client: C,
    watch: Watch,
    answering: bool,
}

/// What became of the answer to a request that reached the upstream.
enum Served {
    /// The use of it counts.
    Counts,
    /// Nothing of worth was delivered: given back first, then this goes out.
    GiveBack(Answer),
}

struct Answer {
    head: Head,
    body: Vec<Bytes>,
    outcome: Outcome,
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
                self.finish(&answer.head, &answer.body, answer.outcome)
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
                    record.fail(&fault, status, Outcome::Broken);
                }
                self.last(head.as_ref(), &last, Outcome::Broken, status)
                    .await;
            }
        }
        Ok(Served::Counts)
    }

    async fn whole(
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
                        record.fail(&fault, status, Outcome::Broken);
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

    /// An upstream's own refusal: its words in the client's dialect pass, anything else gets ours.
    async fn refused(
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
            let fault = answer::in_our_words(status, retry_after);
            record.fail(&fault, status, Outcome::Failed);
        }
        Ok(Answer {
            head,
            body: pieces,
            outcome: Outcome::Failed,
        })
    }

    /// Sends a whole answer and ends the exchange.
    async fn finish(&mut self, head: &Head, body: &[Bytes], outcome: Outcome) {
        self.last(Some(head), body, outcome, head.status).await;
    }

    /// Accounts first, then sends the last part: whoever has read the answer finds it counted.
    async fn last(&mut self, head: Option<&Head>, body: &[Bytes], outcome: Outcome, status: u16) {
        self.answering = true;
        self.close(outcome, status);
        let sent = self.client.send(head, body, false);
        self.drained(sent).await;
    }

    /// Whether a part that was sent has been taken, rather than the client having left.
    async fn drained(&mut self, sent: Sent) -> bool {
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

    fn close(&mut self, outcome: Outcome, status: u16) {
        if let Some(mut record) = self.record.take() {
            record.outcome = outcome;
            record.status = status;
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
            record.fail(fault, answer.status, outcome);
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
