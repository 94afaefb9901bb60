use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::calendar::{Account, Bucket};
use crate::store::{Closing, LeaseId};
use crate::window::Window;

use super::{Full, Journal, Medium, Settlement, line};

/// A disk with so many bytes left.
#[derive(Clone, Default)]
struct Disk(Rc<RefCell<(Vec<u8>, usize)>>);

impl Disk {
    fn of(room_bytes: usize) -> Self {
        let disk = Self::default();
        disk.0.borrow_mut().1 = room_bytes;
        disk
    }

    fn give(&self, room_bytes: usize) {
        self.0.borrow_mut().1 = room_bytes;
    }

    fn read(&self) -> line::Read {
        line::read(&self.0.borrow().0).unwrap()
    }

    fn journal(&self, most: usize) -> Journal {
        let disk = self.clone();
        Journal::with(Some(Box::new(move || Ok(Box::new(disk.clone())))), most)
    }
}

impl Medium for Disk {
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let (written, room_bytes) = &mut *self.0.borrow_mut();
        let fits = text.len().min(*room_bytes);
        written.extend(&text[..fits]);
        *room_bytes -= fits;
        if fits < text.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.borrow_mut().0.clear();
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        self.clear()
    }
}

fn settlement(user: &str, lease: &str, used: u64) -> Settlement {
    Settlement {
        user: user.to_owned(),
        account: Account::of(user),
        lease: LeaseId::new(lease).unwrap(),
        closings: vec![Closing {
            bucket: Bucket {
                window: Window::parse("tokens", Some("day"), None).unwrap(),
                key: format!("quota:{{{user}}}:tokens:day:2026-11-23"),
                starts_at_s: 1_795_392_000,
                resets_at_s: 1_795_478_400,
            },
            taken: 9,
            used,
        }],
        tried_at_ms: None,
    }
}

fn lease(text: &str) -> LeaseId {
    LeaseId::new(text).unwrap()
}

fn next(journal: &Journal) -> Option<String> {
    let settlement = journal.next(7_000, |_| true)?;
    Some(settlement.lease.as_str().to_owned())
}

#[test]
fn a_file_says_what_waits() {
    let disk = Disk::of(usize::MAX);
    let journal = disk.journal(10);
    for (name, used) in [("a", 5), ("b", 6), ("c", 7), ("d", 8)] {
        journal.let_in(settlement("u", name, used)).unwrap();
    }
    journal.end(&lease("b"), &[1]);
    journal.push(settlement("ü\n", "e", 3));
    for name in ["c", "d"] {
        journal.end(&lease(name), &[2]);
    }
    assert_eq!(next(&journal).as_deref(), Some("b"));
    journal.done(&lease("b"));
    assert_eq!(next(&journal).as_deref(), Some("e"));
    assert_eq!(next(&journal).as_deref(), Some("c"));
    let read = disk.read();
    assert_eq!(read.torn, 0);
    let tried = |mut settlement: Settlement| {
        settlement.tried_at_ms = Some(7_000);
        settlement
    };
    let waiting = [
        settlement("u", "a", 5),
        tried(settlement("u", "c", 2)),
        settlement("u", "d", 2),
        tried(settlement("ü\n", "e", 3)),
    ];
    assert_eq!(read.settlements, waiting);
    for name in ["e", "c"] {
        journal.done(&lease(name));
    }
    assert_eq!(next(&journal).as_deref(), Some("d"));
    journal.done(&lease("d"));
    assert_eq!(journal.waiting(), 0);
    assert!(!disk.0.borrow().0.is_empty(), "one is in flight");
    journal.end(&lease("a"), &[5]);
    assert_eq!(next(&journal).as_deref(), Some("a"));
    journal.done(&lease("a"));
    assert!(disk.0.borrow().0.is_empty());
}

#[test]
fn what_is_kept_twice_is_settled_once() {
    let disk = Disk::of(usize::MAX);
    let journal = disk.journal(10);
    journal.push(settlement("u", "a", 5));
    journal.push(settlement("u", "a", 5));
    assert_eq!(next(&journal).as_deref(), Some("a"));
    journal.done(&lease("a"));
    assert_eq!((next(&journal), journal.waiting()), (None, 0));
    assert!(disk.0.borrow().0.is_empty());
}

#[test]
fn a_full_disk_lets_nobody_in_and_loses_nothing() {
    let disk = Disk::of(700);
    let journal = disk.journal(1_000);
    let mut let_in = 0;
    while journal
        .let_in(settlement("u", &format!("a{let_in}"), 1))
        .is_ok()
    {
        let_in += 1;
    }
    assert!(let_in > 0 && journal.failed());
    assert_eq!(disk.read().settlements.len(), let_in);
    journal.end(&lease("a0"), &[4]);
    journal.push(settlement("v", "later", 2));
    journal.let_on(settlement("w", "unlimited", 3));
    journal.check_disk();
    assert!(journal.failed(), "it is still full");
    assert_eq!(journal.let_in(settlement("u", "b", 1)), Err(Full));
    disk.give(100_000);
    journal.check_disk();
    assert!(!journal.failed());
    let read = disk.read();
    assert!(read.torn > 0, "what was torn when the disk was full");
    let used: Vec<_> = read
        .settlements
        .iter()
        .map(|waits| (waits.lease.as_str(), waits.closings[0].used))
        .collect();
    assert_eq!(used.len(), let_in + 2);
    for expected in [("a0", 4), ("later", 2), ("unlimited", 3)] {
        assert!(used.contains(&expected), "{used:?}");
    }
    assert_eq!(
        (journal.let_in(settlement("u", "b", 1)), journal.lost()),
        (Ok(()), 0)
    );
}

#[test]
fn what_finds_no_place_is_refused_or_counted() {
    let journal = Journal::with(None, 2);
    journal.let_in(settlement("u", "a", 1)).unwrap();
    journal.push(settlement("u", "b", 1));
    assert_eq!(journal.let_in(settlement("u", "c", 1)), Err(Full));
    assert_eq!(journal.lost(), 0);
    journal.push(settlement("u", "d", 1));
    journal.let_on(settlement("u", "e", 1));
    assert_eq!((journal.lost(), journal.waiting()), (2, 1));
    journal.end(&lease("a"), &[1]);
    assert_eq!(journal.waiting(), 2, "what was let in has its place");
}

#[tokio::test(start_paused = true)]
async fn delivers_the_oldest_of_each_account_and_one_at_a_time() {
    let journal = Journal::new(None);
    for name in ["u1", "u2", "u3", "v1", "v2"] {
        journal.push(settlement(&name[..1], name, 1));
    }
    assert_eq!(next(&journal).as_deref(), Some("u1"));
    assert_eq!(next(&journal).as_deref(), Some("v1"));
    assert_eq!(next(&journal), None);
    journal.put_back(&lease("u1"), Some(3));
    assert!(journal.waits(&Account::of("u")));
    journal.done(&lease("v1"));
    assert_eq!(next(&journal).as_deref(), Some("v2"));
    journal.done(&lease("v2"));
    assert!(!journal.waits(&Account::of("v")));
    journal.resume();
    assert_eq!(next(&journal), None, "it pauses after a failure");
    tokio::time::advance(Duration::from_secs(1)).await;
    journal.resume();
    let again = journal.next(9, |_| true).unwrap();
    assert_eq!((again.lease.as_str(), again.tried_at_ms), ("u1", Some(3)));
    journal.done(&lease("u1"));
    assert!(journal.next(9, |_| false).is_none());
    assert_eq!(next(&journal), None, "parked until its store answers");
    journal.unpark();
    assert_eq!(next(&journal).as_deref(), Some("u2"));
}

#[test]
fn is_sure_as_long_as_the_record_of_an_ended_lease_would_prove_it() {
    let mut settlement = settlement("u", "a", 1);
    assert!(settlement.is_sure(u64::MAX));
    settlement.tried_at_ms = Some(1_000_000);
    assert!(settlement.is_sure(0), "the clock was set back");
    assert!(settlement.is_sure(1_000_000 + 14 * 60_000 - 1));
    assert!(!settlement.is_sure(1_000_000 + 14 * 60_000));
}

#[test]
fn is_pointless_once_its_counters_may_be_forgotten() {
    let mut settlement = settlement("u", "a", 1);
    let forget_at_s = settlement.closings[0].bucket.forget_at_s();
    assert!(!settlement.is_pointless(forget_at_s));
    assert!(settlement.is_pointless(forget_at_s + 1));
    settlement.closings.clear();
    assert!(
        !settlement.is_pointless(i64::MAX),
        "a place is given back all the same"
    );
}
