//! What the store said last of each account: how a store that came back older is found out, and what is gone on from while it
//! is down.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::calendar::{Account, Bucket};
use crate::store::{Claim, Version};

/// A store forgets an account that nothing was counted for in eight days, so what was seen long ago proves nothing.
const PROVES_FOR: Duration = Duration::from_secs(12 * 3600);

/// The last known counts of the accounts in use, at most two generations of them.
#[derive(Debug)]
pub(super) struct Memory {
    generation: usize,
    accounts: RefCell<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Account, Known>,
    old: HashMap<Account, Known>,
}

#[derive(Debug)]
struct Known {
    version: Option<Version>,
    told_at: Instant,
    counts: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    bucket: Bucket,
    used: u64,
    /// The account's sequence when this was said.
    sequence: u64,
}

/// What one answer said of an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// Where the account stands.
    pub(super) version: Option<Version>,
    /// Whether this is the word that settles which history the account has now: the answer to its being restored.
    pub(super) begins: bool,
    /// The store's time, in Unix seconds.
    pub(super) now_s: i64,
}

impl Memory {
    /// A memory that keeps between one and two times `generation` accounts.
    pub(super) fn new(generation: usize) -> Self {
        Self {
            generation,
            accounts: RefCell::default(),
        }
    }

    /// Where the account stood last; none if that was never heard, or too long ago.
    pub(super) fn seen(&self, account: &Account) -> Option<Version> {
        self.accounts.borrow().get(account)?.proven()
    }

    /// What a counter said last.
    pub(super) fn used(&self, account: &Account, key: &str) -> Option<u64> {
        let accounts = self.accounts.borrow();
        let mut counts = accounts.get(account)?.counts.iter();
        counts
            .find(|told| told.bucket.key == key)
            .map(|told| told.used)
    }

    /// What each counter of the account said last, of the buckets that are current.
    pub(super) fn floors(&self, account: &Account, now_s: i64) -> Vec<Claim> {
        let accounts = self.accounts.borrow();
        let Some(known) = accounts.get(account) else {
            return Vec::new();
        };
        let current = known
            .counts
            .iter()
            .filter(|told| told.bucket.resets_at_s > now_s);
        current
            .map(|told| Claim {
                bucket: told.bucket.clone(),
                amount: told.used,
            })
            .collect()
    }

    /// Takes in what an answer said. What is older than what is known already changes nothing.
    pub(super) fn learn<'a>(
        &self,
        account: &Account,
        telling: Telling,
        counts: impl Iterator<Item = (&'a Bucket, u64)>,
    ) {
        let mut accounts = self.accounts.borrow_mut();
        let known = accounts.entry(account, self.generation);
        if let Some(sequence) = known.accept(telling) {
            known
                .counts
                .retain(|told| told.bucket.resets_at_s > telling.now_s);
            for (bucket, used) in counts.filter(|(bucket, _)| bucket.resets_at_s > telling.now_s) {
                known.tell(bucket, used, sequence);
            }
        }
    }
}

impl Generations {
    fn get(&self, account: &Account) -> Option<&Known> {
        self.young.get(account).or_else(|| self.old.get(account))
    }

    fn entry(&mut self, account: &Account, generation: usize) -> &mut Known {
        if !self.young.contains_key(account) && self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(account.clone()).or_insert_with(|| {
            old.remove(account).unwrap_or_else(|| Known {
                version: None,
                told_at: Instant::now(),
                counts: Vec::new(),
            })
        })
    }
}

impl Known {
    fn proven(&self) -> Option<Version> {
        self.version.filter(|_| self.told_at.elapsed() < PROVES_FOR)
    }

    /// The sequence of what was told, or `None` if it comes too late to count.
    ///
    /// An answer without the account's first word is of the history that is known, since the call named it; if it is of another,
    /// it was overtaken on its way by the one that told of the new history.
    fn accept(&mut self, telling: Telling) -> Option<u64> {
        let told = telling.version.unwrap_or(Version {
            epoch: 0,
            sequence: 0,
        });
        match self.proven() {
            Some(known) if known.epoch == told.epoch => {
                self.version = Some(Version {
                    epoch: told.epoch,
                    sequence: told.sequence.max(known.sequence),
                });
            }
            Some(_) if !telling.begins => return None,
            _ => {
                self.version = telling.version;
                for count in &mut self.counts {
                    count.sequence = 0;
                }
            }
        }
        self.told_at = Instant::now();
        Some(told.sequence)
    }

    fn tell(&mut self, bucket: &Bucket, used: u64, sequence: u64) {
        match self
            .counts
            .iter_mut()
            .find(|told| told.bucket.key == bucket.key)
        {
            Some(told) if told.sequence > sequence => {}
            Some(told) => (told.used, told.sequence) = (used, sequence),
            None => self.counts.push(Told {
                bucket: bucket.clone(),
                used,
                sequence,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::window::Window;

    use super::*;

    fn bucket(key: &str, resets_at_s: i64) -> Bucket {
        Bucket {
            window: Window::parse("requests", Some("day"), None).unwrap(),
            key: key.to_owned(),
            starts_at_s: 0,
            resets_at_s,
        }
    }

    fn telling(epoch: u64, sequence: u64, begins: bool) -> Telling {
        Telling {
            version: Some(Version { epoch, sequence }),
            begins,
            now_s: 100,
        }
    }

    fn tell(memory: &Memory, telling: Telling, key: &str, used: u64) {
        let bucket = bucket(key, 200);
        memory.learn(&Account::of("u"), telling, [(&bucket, used)].into_iter());
    }

    fn seen(memory: &Memory) -> Option<(u64, u64)> {
        let version = memory.seen(&Account::of("u"))?;
        Some((version.epoch, version.sequence))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_overtaken_changes_nothing() {
        let memory = Memory::new(10);
        let used = |key| memory.used(&Account::of("u"), key);
        assert_eq!((seen(&memory), used("a")), (None, None));
        tell(&memory, telling(7, 3, false), "a", 30);
        tell(&memory, telling(7, 2, false), "a", 20);
        tell(&memory, telling(7, 2, false), "b", 2);
        assert_eq!(
            (seen(&memory), used("a"), used("b")),
            (Some((7, 3)), Some(30), Some(2))
        );
        tell(&memory, telling(8, 9, false), "a", 1);
        assert_eq!(
            (seen(&memory), used("a")),
            (Some((7, 3)), Some(30)),
            "another history"
        );
        tell(&memory, telling(6, 1, true), "a", 40);
        tell(&memory, telling(7, 4, false), "a", 50);
        assert_eq!(
            (seen(&memory), used("a")),
            (Some((6, 1)), Some(40)),
            "until it begins anew"
        );
        let floors = memory.floors(&Account::of("u"), 150);
        assert_eq!(
            floors.iter().map(|floor| floor.amount).collect::<Vec<_>>(),
            [40, 2]
        );
        assert!(
            memory.floors(&Account::of("u"), 200).is_empty(),
            "no bucket is current any more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_long_ago_proves_nothing() {
        let memory = Memory::new(10);
        tell(&memory, telling(7, 3, false), "a", 30);
        tokio::time::advance(PROVES_FOR).await;
        assert_eq!(seen(&memory), None);
        tell(&memory, telling(9, 1, false), "a", 1);
        assert_eq!(
            (seen(&memory), memory.used(&Account::of("u"), "a")),
            (Some((9, 1)), Some(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn remembers_two_generations_of_accounts() {
        let memory = Memory::new(100);
        let bucket = bucket("a", 200);
        for number in 0..1_000 {
            for user in [format!("u{number}"), "always".to_owned()] {
                let counts = [(&bucket, number)].into_iter();
                memory.learn(&Account::of(&user), telling(1, number, false), counts);
            }
        }
        let known =
            (0..1_000).filter(|number| memory.seen(&Account::of(&format!("u{number}"))).is_some());
        assert!((100..200).contains(&known.count()));
        assert_eq!(memory.seen(&Account::of("always")).unwrap().sequence, 999);
    }
}
