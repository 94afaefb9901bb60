//! Records in the file: a row each, and one for each shelf with the number of its last put.

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::rows::Now;
use crate::records::{Found, RecordOperation, Shelf, When};

/// Runs one operation.
pub(super) fn run(
    connection: &Connection,
    now: Now,
    shelf: &Shelf,
    operation: &RecordOperation,
) -> Result<Found> {
    let rows = Records {
        connection,
        now_ms: integer(now.unix_ms()),
        shelf: shelf.key(),
    };
    match operation {
        RecordOperation::Put {
            name,
            value,
            life_ms,
            when,
            most,
        } => rows.put(name, value, integer(*life_ms), *when, *most),
        RecordOperation::Get { name } => rows.get(name),
        RecordOperation::Take { name } => {
            let found = rows.get(name)?;
            rows.remove(name)?;
            Ok(found)
        }
        RecordOperation::List { after } => rows.list(integer(*after)),
    }
}

struct Records<'a> {
    connection: &'a Connection,
    now_ms: i64,
    shelf: &'a str,
}

impl Records<'_> {
    fn put(
        &self,
        name: &str,
        value: &[u8],
        life_ms: i64,
        when: When,
        most: Option<u64>,
    ) -> Result<Found> {
        let is_there = !self.get(name)?.rows.is_empty();
        let fits = match most {
            Some(most) if !is_there => self.living()? < integer(most),
            _ => true,
        };
        let may = match when {
            When::Any => true,
            When::Absent => !is_there,
            When::Present => is_there,
        };
        let last = self.sequence()?;
        if !may || !fits {
            return Ok(Found {
                done: false,
                sequence: natural(last),
                rows: Vec::new(),
            });
        }
        // As in Redis, the first number is the time.
        let number = self.now_ms.max(last + 1);
        let ends_at_ms = self.now_ms.saturating_add(life_ms);
        self.connection
            .prepare_cached(
                "INSERT INTO shelves (shelf, sequence, forget_at_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT (shelf) DO UPDATE SET
                     sequence = excluded.sequence,
                     forget_at_ms = max(forget_at_ms, excluded.forget_at_ms)",
            )?
            .execute((self.shelf, number, ends_at_ms))?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO records (shelf, name, value, sequence, forget_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((self.shelf, name, value, number, ends_at_ms))?;
        Ok(Found {
            done: true,
            sequence: natural(number),
            rows: Vec::new(),
        })
    }

    fn get(&self, name: &str) -> Result<Found> {
        let value: Option<Vec<u8>> = self
            .connection
            .prepare_cached(
                "SELECT value FROM records WHERE shelf = ?1 AND name = ?2 AND forget_at_ms > ?3",
            )?
            .query_row((self.shelf, name, self.now_ms), |row| row.get(0))
            .optional()?;
        Ok(Found {
            done: true,
            sequence: 0,
            rows: value
                .map(|value| (name.to_owned(), value))
                .into_iter()
                .collect(),
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM records WHERE shelf = ?1 AND name = ?2")?
            .execute((self.shelf, name))
            .map(drop)
    }

    fn list(&self, after: i64) -> Result<Found> {
        let sequence = self.sequence()?;
        let mut found = Found {
            done: true,
            sequence: natural(sequence),
            rows: Vec::new(),
        };
        if sequence == after {
            return Ok(found);
        }
        let after = if sequence < after { 0 } else { after };
        let mut statement = self.connection.prepare_cached(
            "SELECT name, value FROM records WHERE shelf = ?1 AND sequence > ?2 AND forget_at_ms > ?3
             ORDER BY sequence",
        )?;
        let rows = statement.query_map((self.shelf, after, self.now_ms), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        found.rows = rows.collect::<Result<_>>()?;
        Ok(found)
    }

    fn living(&self) -> Result<i64> {
        self.connection
            .prepare_cached("SELECT count(*) FROM records WHERE shelf = ?1 AND forget_at_ms > ?2")?
            .query_row((self.shelf, self.now_ms), |row| row.get(0))
    }

    fn sequence(&self) -> Result<i64> {
        let found = self
            .connection
            .prepare_cached("SELECT sequence FROM shelves WHERE shelf = ?1 AND forget_at_ms > ?2")?
            .query_row((self.shelf, self.now_ms), |row| row.get(0))
            .optional()?;
        Ok(found.unwrap_or(0))
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
