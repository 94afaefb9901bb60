//! The nodes of a cluster and who owns what, as it was last said or met.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ::redis::cmd;
use tokio::time::Instant;

use super::super::errors::Failure;
use super::super::link::Link;
use super::super::target::Node;
use super::slots::{Address, Range, SLOTS, ranges};
use crate::store::StoreErrorKind;

/// A map is not asked for again sooner: it would say the same.
const HOLDS: Duration = Duration::from_millis(100);

/// One node.
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) link: Link,
    /// It did not answer the last time.
    pub(super) doubted: Cell<bool>,
}

/// Who owns which slot.
pub(super) struct Map {
    node: Node,
    seeds: Vec<Rc<Member>>,
    members: Vec<Rc<Member>>,
    /// By slot; none where nobody is known.
    owners: Vec<Option<Rc<Member>>>,
    doubted: bool,
    learned_at: Option<Instant>,
}

impl Member {
    fn new(address: Address, node: &Node) -> Rc<Self> {
        Rc::new(Self {
            link: Link::new(node.at(&address.host, address.port)),
            address,
            doubted: Cell::new(false),
        })
    }

    /// Who owns which slots, as this node knows it.
    pub(super) async fn ranges(&self, deadline: Instant) -> Result<Vec<Range>, Failure> {
        let answer = async {
            let live = self.link.connection(deadline).await?;
            live.ask(cmd("CLUSTER").arg("SLOTS"), deadline).await
        };
        let answer = answer.await;
        self.doubted.set(answer.is_err());
        // A node that has left the cluster, or not yet joined it, knows of no slots.
        ranges(&answer?, &self.address.host)
            .filter(|ranges| !ranges.is_empty())
            .ok_or_else(|| {
                Failure::new(
                    StoreErrorKind::Down,
                    "a node of the cluster knows of no slots",
                )
            })
    }
}

impl Map {
    /// The map of a cluster of which only `seeds` are known.
    pub(super) fn new(seeds: impl Iterator<Item = Address>, node: Node) -> Self {
        Self {
            seeds: seeds.map(|address| Member::new(address, &node)).collect(),
            node,
            members: Vec::new(),
            owners: vec![None; SLOTS],
            doubted: false,
            learned_at: None,
        }
    }

    /// Who owns a slot, if that is known.
    pub(super) fn owner(&self, slot: u16) -> Option<Rc<Member>> {
        self.owners.get(usize::from(slot))?.clone()
    }

    /// Whether it is time to ask a node for the map, before a call that concerns `slot`.
    pub(super) fn is_to_be_learned(&self, slot: u16) -> bool {
        (self.doubted || self.owner(slot).is_none())
            && self
                .learned_at
                .is_none_or(|learned_at| learned_at.elapsed() >= HOLDS)
    }

    /// Something was met that does not agree with the map.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// The nodes that may know the map, the best first.
    pub(super) fn all(&self) -> Vec<Rc<Member>> {
        let seeds = self.seeds.iter();
        let seeds = seeds.filter(|seed| !is_among(&self.members, seed));
        let mut all: Vec<_> = self.members.iter().chain(seeds).map(Rc::clone).collect();
        all.sort_by_key(|member| member.doubted.get());
        all
    }

    /// The node at `address`, with the connection to it if there is one.
    pub(super) fn member(&self, address: Address) -> Rc<Member> {
        let mut all = self.members.iter().chain(&self.seeds);
        match all.find(|member| member.address == address) {
            Some(member) => Rc::clone(member),
            None => Member::new(address, &self.node),
        }
    }

    /// One slot has a new owner.
    pub(super) fn moved(&mut self, slot: u16, owner: Rc<Member>) {
        if !is_among(&self.members, &owner) {
            self.members.push(Rc::clone(&owner));
        }
        if let Some(place) = self.owners.get_mut(usize::from(slot)) {
            *place = Some(owner);
        }
        // Others may have moved with it.
        self.doubted = true;
    }

    /// The map as a node tells it. Nodes that own nothing in it are forgotten, but for the seeds.
    pub(super) fn learned(&mut self, ranges: Vec<Range>) {
        let mut members: Vec<Rc<Member>> = Vec::new();
        let mut owners = vec![None; SLOTS];
        for Range { first, last, owner } in ranges {
            let member = match members.iter().find(|member| member.address == owner) {
                Some(member) => Rc::clone(member),
                None => self.member(owner),
            };
            if let Some(places) = owners.get_mut(usize::from(first)..=usize::from(last)) {
                places.fill(Some(Rc::clone(&member)));
            }
            if !is_among(&members, &member) {
                members.push(member);
            }
        }
        self.members = members;
        self.owners = owners;
        self.doubted = false;
        self.learned_at = Some(Instant::now());
    }
}

fn is_among(members: &[Rc<Member>], member: &Rc<Member>) -> bool {
    members.iter().any(|one| Rc::ptr_eq(one, member))
}
