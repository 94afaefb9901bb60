//! A primary and its replicas behind Sentinel: each call goes to who is the primary now.
//!
//! Source: "Guidelines for Redis clients with support for Redis Sentinel".

use std::cell::RefCell;
use std::rc::Rc;

use ::redis::{ConnectionInfo, Value, cmd, from_redis_value};
use tokio::time::Instant;

use super::attempt::{Attempts, first_of};
use super::errors::Failure;
use super::link::Link;
use super::script::Invocation;
use super::target::Node;
use crate::store::{Overcome, StoreErrorKind};

/// The way to the primary.
pub(super) struct Sentinel {
    sentinels: Vec<ConnectionInfo>,
    name: String,
    node: Node,
    primary: RefCell<Option<Rc<Link>>>,
    finding: Attempts,
}

impl Sentinel {
    /// The way to the primary that `sentinels` know by `name`; reaches nobody yet.
    pub(super) fn new(sentinels: Vec<ConnectionInfo>, name: String, node: Node) -> Self {
        Self {
            sentinels,
            name,
            node,
            primary: RefCell::new(None),
            finding: Attempts::new(),
        }
    }

    /// The answer of the primary; where it was none any more, or could not be reached, of the one the sentinels name then.
    pub(super) async fn run(
        &self,
        invocation: &Invocation,
        deadline: Instant,
        overcome: &Overcome,
    ) -> Result<Value, Failure> {
        let link = self.primary(deadline).await?;
        let failure = match ask(&link, invocation, deadline, overcome).await {
            Err(failure) if is_of_the_server(failure.error.kind) => failure,
            answer => return answer,
        };
        self.forget(&link);
        if failure.lost || failure.error.kind == StoreErrorKind::Timeout {
            return Err(failure);
        }
        overcome(failure.error.kind);
        let link = self.primary(deadline).await?;
        let answer = ask(&link, invocation, deadline, overcome).await;
        if answer
            .as_ref()
            .is_err_and(|failure| is_of_the_server(failure.error.kind))
        {
            self.forget(&link);
        }
        answer
    }

    async fn primary(&self, deadline: Instant) -> Result<Rc<Link>, Failure> {
        let known = self.primary.borrow().clone();
        if let Some(link) = known {
            return Ok(link);
        }
        self.finding.make(self.find(deadline), deadline).await?;
        let found = self.primary.borrow().clone();
        found.ok_or_else(|| Failure::new(StoreErrorKind::Down, "the primary is already gone again"))
    }

    fn forget(&self, link: &Rc<Link>) {
        let mut primary = self.primary.borrow_mut();
        if primary
            .as_ref()
            .is_some_and(|current| Rc::ptr_eq(current, link))
        {
            *primary = None;
        }
    }

    /// Asks all sentinels at once, so that one that hangs or was left behind delays nobody.
    async fn find(&self, deadline: Instant) -> Result<(), Failure> {
        let answers = self
            .sentinels
            .iter()
            .map(|sentinel| self.ask_one(sentinel, deadline));
        let nobody = Failure::new(StoreErrorKind::Down, "the URL names no sentinel");
        let link = first_of(answers.collect(), nobody).await?;
        *self.primary.borrow_mut() = Some(Rc::new(link));
        Ok(())
    }

    /// The way to the primary that one sentinel names, if that says so of itself too.
    async fn ask_one(&self, sentinel: &ConnectionInfo, deadline: Instant) -> Result<Link, Failure> {
        let live = Link::new(sentinel.clone()).connection(deadline).await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = live.ask(&question, deadline).await?;
        let Ok(Some((host, port))) = from_redis_value::<Option<(String, u16)>>(answer) else {
            let cause = format!("a sentinel knows no primary by the name {:?}", self.name);
            return Err(Failure::new(StoreErrorKind::Down, cause));
        };
        let link = Link::new(self.node.at(host, port));
        let live = link.connection(deadline).await?;
        match live.ask(&cmd("ROLE"), deadline).await? {
            Value::Array(role) if role.first().is_some_and(is_primary) => Ok(link),
            _ => {
                let cause = "a sentinel names a primary that is a replica";
                Err(Failure::new(StoreErrorKind::Down, cause))
            }
        }
    }
}

fn is_primary(role: &Value) -> bool {
    matches!(role, Value::BulkString(word) if word == b"master")
}

/// Whether another server may be the primary by now.
fn is_of_the_server(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Unreachable
            | StoreErrorKind::Timeout
            | StoreErrorKind::ReadOnly
            | StoreErrorKind::Down
    )
}

async fn ask(
    link: &Link,
    invocation: &Invocation,
    deadline: Instant,
    overcome: &Overcome,
) -> Result<Value, Failure> {
    let live = link.connection(deadline).await?;
    invocation.run(&live, false, deadline, overcome).await
}
