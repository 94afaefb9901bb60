//! The rows of the file, as of one time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row};

use crate::calendar::{Account, Bucket};
use crate::store::{LeaseId, Version};

/// How long an account is known after its last change: longer than anybody remembers what he saw of it.
const ACCOUNT_LIFE_S: u64 = 8 * 86_400;
const NOTES: u32 = 100;

/// The machine's clock when a transaction began: the same for all processes that share the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now(Duration);

/// What is known of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// What it took of each counter.
    Granted(Vec<u64>),
    Ended,
}

/// The tables within one transaction, without what has outlived its time.
pub(super) struct Rows<'a> {
    connection: &'a Connection,
    pub(super) now: Now,
}

impl Now {
    pub(super) fn read() -> Self {
        Self(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }

    pub(super) fn unix_s(self) -> u64 {
        self.0.as_secs()
    }

    pub(super) fn unix_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn unix_us(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(connection: &'a Connection, now: Now) -> Self {
        Self { connection, now }
    }

    pub(super) fn is_current(&self, bucket: &Bucket) -> bool {
        (bucket.starts_at_s..bucket.resets_at_s).contains(&integer(self.now.unix_s()))
    }

    pub(super) fn version(&self, account: &Account) -> Result<Option<Version>> {
        let found = self.one(
            "SELECT epoch, sequence FROM accounts WHERE prefix = ?1 AND forget_at_s > ?2",
            (account.prefix(), integer(self.now.unix_s())),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(found.map(|(epoch, sequence)| Version {
            epoch: natural(epoch),
            sequence: natural(sequence),
        }))
    }

    pub(super) fn set_version(&self, account: &Account, version: Version) -> Result<()> {
        self.write(
            "INSERT INTO accounts (prefix, epoch, sequence, forget_at_s) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (prefix) DO UPDATE SET
                 epoch = excluded.epoch,
                 sequence = excluded.sequence,
                 forget_at_s = excluded.forget_at_s",
            (
                account.prefix(),
                integer(version.epoch),
                integer(version.sequence),
                integer(self.now.unix_s() + ACCOUNT_LIFE_S),
            ),
        )
    }

    pub(super) fn count(&self, bucket: &Bucket) -> Result<u64> {
        let used = self.one(
            "SELECT used FROM counters WHERE key = ?1 AND forget_at_s > ?2",
            (&bucket.key, integer(self.now.unix_s())),
            |row| row.get(0),
        )?;
        Ok(used.map_or(0, natural))
    }

    pub(super) fn set_count(&self, bucket: &Bucket, used: u64) -> Result<()> {
        // At least a second from now: a bucket may be settled after it was forgotten.
        let forget_at_s = bucket.forget_at_s().max(integer(self.now.unix_s() + 1));
        self.write(
            "INSERT INTO counters (key, used, forget_at_s) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET
                 used = excluded.used,
                 forget_at_s = excluded.forget_at_s",
            (&bucket.key, integer(used), forget_at_s),
        )
    }

    /// How many leases are in flight.
    pub(super) fn flying(&self, account: &Account) -> Result<u64> {
        let flying = self.one(
            "SELECT count(*) FROM leases WHERE account = ?1 AND dies_at_ms > ?2",
            (account.prefix(), integer(self.now.unix_ms())),
            |row| row.get(0),
        )?;
        Ok(flying.map_or(0, natural))
    }

    pub(super) fn is_flying(&self, account: &Account, lease: &LeaseId) -> Result<bool> {
        let found = self.one(
            "SELECT 1 FROM leases WHERE account = ?1 AND lease = ?2 AND dies_at_ms > ?3",
            (
                account.prefix(),
                lease.as_str(),
                integer(self.now.unix_ms()),
            ),
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    pub(super) fn record(&self, account: &Account, lease: &LeaseId) -> Result<Option<Record>> {
        let found: Option<Option<String>> = self.one(
            "SELECT taken FROM leases WHERE account = ?1 AND lease = ?2 AND forget_at_ms > ?3",
            (
                account.prefix(),
                lease.as_str(),
                integer(self.now.unix_ms()),
            ),
            |row| row.get(0),
        )?;
        Ok(found.map(|taken| match taken {
            Some(amounts) => {
                let amounts = amounts.split_ascii_whitespace();
                Record::Granted(amounts.filter_map(|text| text.parse().ok()).collect())
            }
            None => Record::Ended,
        }))
    }

    /// Writes what a lease took, for `kept_ms`; in flight for `dies_in_ms`, if at all.
    pub(super) fn grant(
        &self,
        account: &Account,
        lease: &LeaseId,
        amounts: &[u64],
        dies_in_ms: Option<u64>,
        kept_ms: u64,
    ) -> Result<()> {
        let amounts: Vec<String> = amounts.iter().map(u64::to_string).collect();
        let (dies_at_ms, forget_at_ms) = self.ends_ms(dies_in_ms, kept_ms);
        self.write(
            "INSERT OR REPLACE INTO leases (account, lease, taken, dies_at_ms, forget_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                account.prefix(),
                lease.as_str(),
                amounts.join(" "),
                dies_at_ms,
                forget_at_ms,
            ),
        )
    }

    /// Writes that a lease has ended, for `kept_ms`.
    pub(super) fn end(&self, account: &Account, lease: &LeaseId, kept_ms: u64) -> Result<()> {
        let (_, forget_at_ms) = self.ends_ms(None, kept_ms);
        self.write(
            "INSERT OR REPLACE INTO leases (account, lease, taken, dies_at_ms, forget_at_ms)
             VALUES (?1, ?2, NULL, NULL, ?3)",
            (account.prefix(), lease.as_str(), forget_at_ms),
        )
    }

    pub(super) fn extend(
        &self,
        account: &Account,
        lease: &LeaseId,
        dies_in_ms: Option<u64>,
        kept_ms: u64,
    ) -> Result<()> {
        let (dies_at_ms, forget_at_ms) = self.ends_ms(dies_in_ms, kept_ms);
        self.write(
            "UPDATE leases SET dies_at_ms = coalesce(?3, dies_at_ms), forget_at_ms = ?4
             WHERE account = ?1 AND lease = ?2",
            (account.prefix(), lease.as_str(), dies_at_ms, forget_at_ms),
        )
    }

    /// The last notes of an account, the newest first.
    pub(super) fn notes(&self, account: &Account) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT note FROM notes WHERE account = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let notes = statement.query_map((account.prefix(), NOTES), |row| row.get(0))?;
        notes.collect()
    }

    pub(super) fn add_note(&self, account: &Account, note: &str) -> Result<()> {
        self.write(
            "INSERT INTO notes (account, note, at_s) VALUES (?1, ?2, ?3)",
            (account.prefix(), note, integer(self.now.unix_s())),
        )?;
        self.write(
            "DELETE FROM notes WHERE account = ?1 AND id <= (
                 SELECT id FROM notes WHERE account = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (account.prefix(), NOTES),
        )
    }

    /// Writes as much as a reservation may need, and takes it away again.
    pub(super) fn probe(&self) -> Result<()> {
        self.write("INSERT INTO probes (filling) VALUES (zeroblob(16384))", ())?;
        self.write("DELETE FROM probes", ())
    }

    fn ends_ms(&self, dies_in_ms: Option<u64>, kept_ms: u64) -> (Option<i64>, i64) {
        let after = |life_ms: u64| integer(self.now.unix_ms().saturating_add(life_ms));
        (dies_in_ms.map(after), after(kept_ms))
    }

    fn one<T>(
        &self,
        statement: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(statement)?;
        statement.query_row(parameters, read).optional()
    }

    fn write(&self, statement: &str, parameters: impl Params) -> Result<()> {
        let mut statement = self.connection.prepare_cached(statement)?;
        statement.execute(parameters).map(drop)
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
