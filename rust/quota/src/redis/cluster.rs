//! A cluster: each account on the node that owns its slot.
//!
//! All keys of a call lie on one slot, so little is left to do. The client library's own cluster connection is not used: no
//! deadline bounds what it repeats and waits for, and nobody learns that a slot has moved.
//!
//! Source: Redis Cluster specification, "Redirection and resharding".

mod map;
mod slots;

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo, Value};
use tokio::time::{Instant, sleep};

use super::attempt::{Attempts, first_of};
use super::errors::{Failure, Redirect};
use super::script::Invocation;
use super::target::Node;
use crate::calendar::Account;
use crate::store::{Overcome, StoreErrorKind};
use map::{Map, Member};
use slots::{Address, known, slot_of};

/// How often a call follows its slot to another node without a pause.
const HOPS: u32 = 5;
/// How many nodes are asked for the map at once, so that one that hangs delays nobody.
const ASKED_AT_ONCE: usize = 3;
/// The first pause while a slot is between two nodes; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// The way to the node that has an account.
pub(super) struct Cluster {
    map: RefCell<Map>,
    learning: Attempts,
}

/// What has become of a call so far.
struct Journey {
    slot: u16,
    deadline: Instant,
    hops: u32,
    pause: Duration,
    met_nobody: bool,
    /// The node that takes the call this once, though it does not own the slot.
    detour: Option<Rc<Member>>,
}

impl Cluster {
    /// The cluster that `seeds` belong to; reaches nobody yet.
    pub(super) fn new(seeds: &[ConnectionInfo], node: Node) -> Self {
        let addresses = seeds.iter().filter_map(|seed| match seed.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Address::new(host, *port))
            }
            _ => None,
        });
        Self {
            map: RefCell::new(Map::new(addresses, node)),
            learning: Attempts::new(),
        }
    }

    /// A number for the node that an account lies on; zero before that is known.
    pub(super) fn part(&self, account: &Account) -> u64 {
        let owner = self.map.borrow().owner(slot_of(account.prefix()));
        owner.map_or(0, |owner| {
            let mut hasher = DefaultHasher::new();
            owner.address.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// The answer of the account's node, wherever that is by then.
    pub(super) async fn run(
        &self,
        account: &Account,
        invocation: &Invocation,
        deadline: Instant,
        overcome: &Overcome,
    ) -> Result<Value, Failure> {
        let mut journey = Journey {
            slot: slot_of(account.prefix()),
            deadline,
            hops: 0,
            pause: FIRST_PAUSE,
            met_nobody: false,
            detour: None,
        };
        loop {
            let asking = journey.detour.is_some();
            let member = self.next(&mut journey).await?;
            let answer = async {
                let live = member.link.connection(deadline).await?;
                invocation.run(&live, asking, deadline, overcome).await
            };
            match answer.await {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    let kind = failure.error.kind;
                    self.go_on(&member, failure, &mut journey).await?;
                    overcome(kind);
                }
            }
        }
    }

    /// The node to ask now.
    async fn next(&self, journey: &mut Journey) -> Result<Rc<Member>, Failure> {
        if let Some(member) = journey.detour.take() {
            return Ok(member);
        }
        loop {
            match self.owner(journey.slot, journey.deadline).await {
                Err(failure) if failure.error.kind == StoreErrorKind::Down => {
                    journey.rest(failure).await?;
                }
                owner => return owner,
            }
        }
    }

    /// Makes ready for another try after `failure` of `member`, or returns it if there is no sense in one.
    async fn go_on(
        &self,
        member: &Member,
        failure: Failure,
        journey: &mut Journey,
    ) -> Result<(), Failure> {
        if let Some(redirect) = &failure.redirect
            && journey.hops < HOPS
        {
            journey.hops += 1;
            self.follow(redirect, member, journey);
            return Ok(());
        }
        match failure.error.kind {
            // Nobody has the slot now, or each of two nodes says that it is the other one.
            StoreErrorKind::Down | StoreErrorKind::Moved => {
                self.map.borrow_mut().doubt();
                journey.rest(failure).await
            }
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout => {
                member.doubted.set(true);
                self.map.borrow_mut().doubt();
                // Nothing was sent: perhaps the others know by now who does the work of this one.
                let again = failure.error.kind == StoreErrorKind::Unreachable
                    && !failure.lost
                    && !journey.met_nobody;
                journey.met_nobody = true;
                if again { Ok(()) } else { Err(failure) }
            }
            _ => Err(failure),
        }
    }

    /// Has the call sent to where `member` says that its slot is.
    fn follow(&self, redirect: &Redirect, member: &Member, journey: &mut Journey) {
        let host = known(&redirect.host, &member.address.host);
        let mut map = self.map.borrow_mut();
        let target = map.member(Address::new(host, redirect.port));
        if redirect.once {
            journey.detour = Some(target);
        } else {
            map.moved(redirect.slot, target);
        }
    }

    /// The node that owns a slot, as far as is known.
    async fn owner(&self, slot: u16, deadline: Instant) -> Result<Rc<Member>, Failure> {
        let is_to_be_learned = self.map.borrow().is_to_be_learned(slot);
        let learned = if is_to_be_learned {
            self.learning.make(self.learn(deadline), deadline).await
        } else {
            Ok(())
        };
        if let Some(owner) = self.map.borrow().owner(slot) {
            // If the map could not be asked for, the old one may still hold for this slot.
            return Ok(owner);
        }
        learned?;
        let cause = "no node of the cluster owns the slot of this account";
        Err(Failure::new(StoreErrorKind::Down, cause))
    }

    /// Asks the nodes for the map, those that answered the last time first.
    async fn learn(&self, deadline: Instant) -> Result<(), Failure> {
        let all = self.map.borrow().all();
        let groups = all.chunks(ASKED_AT_ONCE);
        let mut last = Failure::new(StoreErrorKind::Down, "no node of the cluster is known");
        for (group, groups_left) in groups.clone().zip((1..=groups.len()).rev()) {
            // A part of the time is for the call itself.
            let now = Instant::now();
            let parts = u32::try_from(groups_left + 1).unwrap_or(u32::MAX);
            let until = now + deadline.saturating_duration_since(now) / parts;
            let answers = group.iter().map(|member| member.ranges(until)).collect();
            match first_of(answers, last).await {
                Ok(ranges) => {
                    self.map.borrow_mut().learned(ranges);
                    return Ok(());
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }
}

impl Journey {
    /// A pause before another try; or the failure, if no time is left for both.
    async fn rest(&mut self, failure: Failure) -> Result<(), Failure> {
        // This failure is certain. A try that is cut off would not be: it gets as much time as the pause.
        if self.deadline.saturating_duration_since(Instant::now()) < 2 * self.pause {
            return Err(failure);
        }
        sleep(self.pause).await;
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
        self.hops = 0;
        Ok(())
    }
}
