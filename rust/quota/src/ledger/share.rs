//! What one worker gives out by itself while the store is down.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::calendar::Account;
use crate::store::Claim;

/// What is given out of each bucket, a share of what was left of it when the outage began.
#[derive(Debug)]
pub(super) struct Shares {
    share: f64,
    books: RefCell<HashMap<Account, Vec<Book>>>,
}

#[derive(Debug)]
struct Book {
    key: String,
    /// What the store said last before it went down.
    base: u64,
    taken: u64,
}

impl Shares {
    /// Books of nothing, for a share from 0 to 1.
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            books: RefCell::default(),
        }
    }

    /// This worker's part of what is left.
    pub(super) fn of(&self, left: u64) -> u64 {
        // So that 7 % of 100, which is 7.000000000000001, is not 8.
        const ERROR: f64 = 1e-9;
        let share = (left as f64 * self.share - ERROR).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is one; a cast that does not fit goes to the nearest"
        )]
        let share = share as u64;
        share.min(left)
    }

    /// Takes all claims from this worker's shares, or none; the index of the first that has no room then. `before` tells of a
    /// bucket that nothing was given out of yet in this outage: what the store said last, and what is given out already.
    pub(super) fn take(
        &self,
        account: &Account,
        claims: &[Claim],
        before: impl Fn(&str) -> (u64, u64),
    ) -> Result<(), usize> {
        let mut books = self.books.borrow_mut();
        let known = books.get(account).map_or(&[][..], Vec::as_slice);
        let mut fresh = Vec::new();
        for (index, claim) in claims.iter().enumerate() {
            let key = &claim.bucket.key;
            let book = known.iter().find(|book| book.key == *key);
            let (base, taken) = book.map_or_else(|| before(key), |book| (book.base, book.taken));
            if book.is_none() {
                fresh.push(Book {
                    key: key.clone(),
                    base,
                    taken,
                });
            }
            let room = claim
                .bucket
                .window
                .limit
                .map(|limit| self.of(limit.saturating_sub(base)));
            if claim.amount > 0
                && room.is_some_and(|room| taken.saturating_add(claim.amount) > room)
            {
                return Err(index);
            }
        }
        let books = books.entry(account.clone()).or_default();
        books.append(&mut fresh);
        for claim in claims {
            change(books, &claim.bucket.key, 0, claim.amount);
        }
        Ok(())
    }

    /// Corrects what was `taken` of a bucket to what was `used`.
    pub(super) fn correct(&self, account: &Account, key: &str, taken: u64, used: u64) {
        if let Some(books) = self.books.borrow_mut().get_mut(account) {
            change(books, key, taken, used);
        }
    }

    /// Closes the books of every account for which `done` holds.
    pub(super) fn close(&self, done: impl Fn(&Account) -> bool) {
        self.books.borrow_mut().retain(|account, _| !done(account));
    }
}

fn change(books: &mut [Book], key: &str, taken: u64, used: u64) {
    if let Some(book) = books.iter_mut().find(|book| book.key == key) {
        book.taken = book.taken.saturating_add(used).saturating_sub(taken);
    }
}
