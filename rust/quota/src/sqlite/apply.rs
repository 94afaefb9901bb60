//! One operation on one account, as `lua/quota.lua` has it: both are kept by one test suite.

use rusqlite::Result;

use super::rows::{Record, Rows};
use crate::calendar::Bucket;
use crate::store::{Call, Claim, Hold, LeaseId, Lives, MOST, Operation, Reply, Verdict, Version};

/// Runs `call` on the rows, within their transaction.
pub(super) fn apply(rows: &Rows<'_>, call: &Call, lives: Lives) -> Result<Reply> {
    let mut reply = Reply {
        verdict: Verdict::Done,
        now_ms: rows.now.unix_ms(),
        version: None,
        flying: 0,
        used: Vec::new(),
    };
    if call.operation == Operation::Probe {
        rows.probe()?;
        return Ok(reply);
    }
    reply.version = rows.version(&call.account)?;
    if is_older(reply.version, call) {
        reply.verdict = Verdict::Older;
        return Ok(reply);
    }
    reply.flying = rows.flying(&call.account)?;
    let buckets = buckets(&call.operation);
    let counts = buckets.iter().map(|bucket| rows.count(bucket));
    reply.used = counts.collect::<Result<_>>()?;
    let is_current = buckets.iter().all(|bucket| rows.is_current(bucket));
    let mut account = Open {
        rows,
        call,
        lives,
        is_current,
        reply,
    };
    let before = account.reply.used.clone();
    if let Some(steps) = account.run()? {
        account.step(&buckets, &steps)?;
        account.count_change()?;
        if matches!(call.operation, Operation::Set { .. }) {
            account.reply.used = before;
        }
    }
    Ok(account.reply)
}

/// Whether the caller saw more of the account than there is, and wants nothing done then.
fn is_older(version: Option<Version>, call: &Call) -> bool {
    let heals = matches!(
        call.operation,
        Operation::Restore { .. } | Operation::Reopen { .. }
    );
    !heals
        && call.seen.is_some_and(|seen| {
            version.is_none_or(|version| {
                version.epoch != seen.epoch || version.sequence < seen.sequence
            })
        })
}

fn buckets(operation: &Operation) -> Vec<&Bucket> {
    match operation {
        Operation::Reserve { claims, .. }
        | Operation::Reopen { claims, .. }
        | Operation::Restore { floors: claims } => {
            claims.iter().map(|claim| &claim.bucket).collect()
        }
        Operation::Settle { closings, .. } => {
            closings.iter().map(|closing| &closing.bucket).collect()
        }
        Operation::Read { buckets } => buckets.iter().collect(),
        Operation::Set { bucket, .. } => vec![bucket],
        Operation::Extend { .. } | Operation::Probe => Vec::new(),
    }
}

/// An account that the operation may be run on.
struct Open<'a> {
    rows: &'a Rows<'a>,
    call: &'a Call,
    lives: Lives,
    /// Whether all buckets are those of now.
    is_current: bool,
    reply: Reply,
}

impl Open<'_> {
    /// What is added to each counter; none if nothing is changed.
    fn run(&mut self) -> Result<Option<Vec<i64>>> {
        match &self.call.operation {
            Operation::Reserve {
                lease,
                claims,
                hold,
                places,
            } => self.reserve(lease, claims, *hold, *places),
            Operation::Settle { .. } => self.settle(),
            Operation::Extend { lease, hold } => self.extend(lease, *hold),
            Operation::Restore { floors } => {
                let floors = floors.iter().zip(&self.reply.used);
                let steps = floors.map(|(floor, used)| step(*used, floor.amount.max(*used)));
                Ok(Some(steps.collect()))
            }
            Operation::Reopen {
                lease,
                claims,
                hold,
            } => self.reopen(lease, claims, *hold),
            Operation::Read { .. } | Operation::Set { .. } if !self.is_current => {
                self.refuse(Verdict::Moved)
            }
            Operation::Set { used, note, .. } => {
                self.rows.add_note(&self.call.account, note)?;
                let steps = self.reply.used.iter().map(|before| step(*before, *used));
                Ok(Some(steps.collect()))
            }
            Operation::Read { .. } | Operation::Probe => Ok(None),
        }
    }

    fn reserve(
        &mut self,
        lease: &LeaseId,
        claims: &[Claim],
        hold: Hold,
        places: Option<u64>,
    ) -> Result<Option<Vec<i64>>> {
        match self.rows.record(&self.call.account, lease)? {
            Some(Record::Ended) => self.refuse(Verdict::Ended),
            // Before its bucket is looked at: asked for again after midnight, it was taken from the day before.
            Some(Record::Granted(_)) => Ok(None),
            None if !self.is_current => self.refuse(Verdict::Moved),
            None if places.is_some_and(|most| self.reply.flying >= most) => {
                self.refuse(Verdict::Crowded)
            }
            None => match self.first_full(claims) {
                Some(place) => self.refuse(Verdict::Full(place)),
                None => self.grant(lease, claims, hold).map(Some),
            },
        }
    }

    fn first_full(&self, claims: &[Claim]) -> Option<usize> {
        claims
            .iter()
            .zip(&self.reply.used)
            .position(|(claim, used)| {
                let after = used.saturating_add(claim.amount);
                let limit = claim.bucket.window.limit;
                claim.amount > 0 && limit.is_some_and(|limit| after > limit)
            })
    }

    /// Writes the record of a lease that takes its claims.
    fn grant(&mut self, lease: &LeaseId, claims: &[Claim], hold: Hold) -> Result<Vec<i64>> {
        let account = &self.call.account;
        let amounts: Vec<u64> = claims.iter().map(|claim| claim.amount).collect();
        let dies_in_ms = self.dies_in_ms(hold);
        let kept_ms = self.kept_ms(hold);
        self.rows
            .grant(account, lease, &amounts, dies_in_ms, kept_ms)?;
        self.reply.flying += u64::from(hold == Hold::Open);
        Ok(amounts.into_iter().map(|amount| step(0, amount)).collect())
    }

    fn settle(&mut self) -> Result<Option<Vec<i64>>> {
        let Operation::Settle {
            lease,
            closings,
            sure,
        } = &self.call.operation
        else {
            return Ok(None);
        };
        let account = &self.call.account;
        let taken = match self.rows.record(account, lease)? {
            Some(Record::Ended) => {
                return self.refuse(Verdict::Ended);
            }
            Some(Record::Granted(taken)) => Some(taken),
            None => sure.then(|| closings.iter().map(|closing| closing.taken).collect()),
        };
        self.reply.flying -= u64::from(self.rows.is_flying(account, lease)?);
        self.rows.end(account, lease, self.lives.record_ms)?;
        let steps = |taken: Vec<u64>| {
            let taken = taken.into_iter().chain(std::iter::repeat(0));
            let closings = closings.iter().zip(taken);
            closings
                .map(|(closing, taken)| step(taken, closing.used))
                .collect()
        };
        Ok(Some(taken.map(steps).unwrap_or_default()))
    }

    fn extend(&mut self, lease: &LeaseId, hold: Hold) -> Result<Option<Vec<i64>>> {
        let account = &self.call.account;
        if !matches!(self.rows.record(account, lease)?, Some(Record::Granted(_))) {
            return self.refuse(Verdict::Ended);
        }
        let flew = self.rows.is_flying(account, lease)?;
        let dies_in_ms = self.dies_in_ms(hold);
        let kept_ms = self.kept_ms(hold);
        self.rows.extend(account, lease, dies_in_ms, kept_ms)?;
        self.reply.flying += u64::from(hold == Hold::Open && !flew);
        Ok(Some(Vec::new()))
    }

    fn reopen(
        &mut self,
        lease: &LeaseId,
        claims: &[Claim],
        hold: Hold,
    ) -> Result<Option<Vec<i64>>> {
        if self.rows.record(&self.call.account, lease)?.is_some() {
            return Ok(None);
        }
        self.grant(lease, claims, hold)?;
        Ok(Some(Vec::new()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the answer of whoever refuses")]
    fn refuse(&mut self, verdict: Verdict) -> Result<Option<Vec<i64>>> {
        self.reply.verdict = verdict;
        Ok(None)
    }

    fn dies_in_ms(&self, hold: Hold) -> Option<u64> {
        (hold == Hold::Open).then_some(self.lives.lease_ms)
    }

    fn kept_ms(&self, hold: Hold) -> u64 {
        match hold {
            Hold::Open => self.lives.open_record_ms,
            Hold::Settled => self.lives.record_ms,
        }
    }

    /// Adds the steps to the counters; none falls below zero.
    fn step(&mut self, buckets: &[&Bucket], steps: &[i64]) -> Result<()> {
        let counters = buckets.iter().zip(&mut self.reply.used).zip(steps);
        for ((bucket, used), step) in counters {
            let after = used.saturating_add_signed(*step).min(MOST);
            if after != *used {
                self.rows.set_count(bucket, after)?;
                *used = after;
            }
        }
        Ok(())
    }

    /// An epoch begins with the account, and anew with the first who found it rolled back: so everybody else who saw the
    /// old one finds out too, and none of them begins another.
    fn count_change(&mut self) -> Result<()> {
        let restores = matches!(self.call.operation, Operation::Restore { .. });
        let seen = self.call.seen.map(|seen| seen.epoch);
        let version = match self.reply.version {
            Some(Version { epoch, sequence }) if !(restores && seen == Some(epoch)) => Version {
                epoch,
                sequence: sequence + 1,
            },
            before => Version {
                epoch: self.rows.now.unix_us(),
                sequence: before.map_or(0, |before| before.sequence) + 1,
            },
        };
        self.rows.set_version(&self.call.account, version)?;
        self.reply.version = Some(version);
        Ok(())
    }
}

/// From one amount to another.
fn step(from: u64, to: u64) -> i64 {
    let signed = |amount: u64| i64::try_from(amount.min(MOST)).unwrap_or(i64::MAX);
    signed(to) - signed(from)
}
