//! What has to be settled later: in memory, and in a file that outlives the worker.
//!
//! A request that is let in without the store is written down before it goes on, and again when it ends: if its worker is killed
//! in between, what was given out stands. A lease that was taken in the store is written down only if its settlement could not
//! be delivered. The next worker adopts what a killed one has left. Settling twice is harmless, since the store keeps the record
//! of a lease that has ended for a while: see [`Settlement::is_sure`].

mod disk;
mod entries;
mod line;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::calendar::Account;
use crate::store::{Closing, LeaseId, Lives};

pub(super) use disk::{Adopted, LockedFile, Medium};
use entries::{Entries, Entry};
use line::{Line, Written};

/// The settlements that are kept in memory.
const MOST_ENTRIES: usize = 100_000;

/// How a lease ended, or will have if nothing more is heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settlement {
    /// Whose.
    pub(super) user: String,
    /// The keys of that user.
    pub(super) account: Account,
    /// The lease.
    pub(super) lease: LeaseId,
    /// What it took, and used.
    pub(super) closings: Vec<Closing>,
    /// When the store may have been told first, by its clock.
    pub(super) tried_at_ms: Option<u64>,
}

/// What one worker has to settle later.
pub(super) struct Journal {
    most: usize,
    entries: RefCell<Entries>,
    make: Option<Make>,
    own: RefCell<Option<Rc<Sheet>>>,
    failed: Cell<bool>,
    lost: Cell<u64>,
}

type Make = Box<dyn Fn() -> io::Result<Box<dyn Medium>>>;

/// A file, and how many entries it keeps.
struct Sheet {
    medium: RefCell<Box<dyn Medium>>,
    adopted: bool,
    /// Whether a line may have been written in part.
    torn: Cell<bool>,
    empty: Cell<bool>,
    live: Cell<usize>,
}

/// There is no place left for what would have to be settled later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Journal {
    /// The journal in a file of its own in `folder`; without one, in memory only.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let make = folder
            .map(|folder| -> Make { Box::new(move || Ok(Box::new(LockedFile::create(&folder)?))) });
        Self::with(make, MOST_ENTRIES)
    }

    fn with(make: Option<Make>, most: usize) -> Self {
        let journal = Self {
            most,
            entries: RefCell::default(),
            make,
            own: RefCell::new(None),
            failed: Cell::new(false),
            lost: Cell::new(0),
        };
        journal.check_disk();
        journal
    }

    /// Keeps what a request that goes on without the store will have used, unless there is no place for it where it outlives
    /// this worker.
    pub(super) fn let_in(&self, settlement: Settlement) -> Result<(), Full> {
        if self.failed.get() || self.room() == 0 {
            return Err(Full);
        }
        let line = Line::Let(Written::from(&settlement));
        let home = self.write(&line);
        if self.failed.get() {
            return Err(Full);
        }
        let entry = Entry::in_flight(settlement, home);
        self.entries.borrow_mut().insert(entry);
        Ok(())
    }

    /// Keeps the same of a request that is under way already.
    pub(super) fn let_on(&self, settlement: Settlement) {
        if self.has_room() {
            let home = self.write(&Line::Let(Written::from(&settlement)));
            let entry = Entry::in_flight(settlement, home);
            self.entries.borrow_mut().insert(entry);
        }
    }

    /// Ends a request that was let in: it used so much, and waits for being settled.
    pub(super) fn end(&self, lease: &LeaseId, used: &[u64]) {
        let line = Line::End {
            lease: lease.as_str().to_owned(),
            used: used.to_owned(),
        };
        self.write_more(lease, &line);
        self.entries.borrow_mut().end(lease, used);
    }

    /// Keeps a settlement that could not be delivered.
    pub(super) fn push(&self, settlement: Settlement) {
        if self.has_room() {
            let home = self.write(&Line::Settle(Written::from(&settlement)));
            let entry = Entry::waiting(settlement, home);
            self.entries.borrow_mut().insert(entry);
        }
    }

    /// Takes over what a worker that is gone has left.
    pub(super) fn adopt(&self, adopted: Adopted) {
        self.lost.set(self.lost.get() + adopted.read.torn);
        let sheet = Rc::new(Sheet::new(Box::new(adopted.file), true));
        for settlement in adopted.read.settlements {
            sheet.take();
            let entry = Entry::waiting(settlement, Some(Rc::clone(&sheet)));
            self.entries.borrow_mut().insert(entry);
        }
        sheet.tidy();
    }

    /// The next settlement to deliver, of an account that `may_ask` holds for and none other is being delivered of.
    pub(super) fn next(
        &self,
        now_ms: u64,
        may_ask: impl Fn(&Account) -> bool,
    ) -> Option<Settlement> {
        let settlement = self.entries.borrow_mut().next(may_ask)?;
        if settlement.tried_at_ms.is_none() {
            let line = Line::Tried {
                lease: settlement.lease.as_str().to_owned(),
                at_ms: now_ms,
            };
            self.write_more(&settlement.lease, &line);
        }
        Some(settlement)
    }

    /// Forgets a settlement: the store has answered.
    pub(super) fn done(&self, lease: &LeaseId) {
        let line = Line::Done {
            lease: lease.as_str().to_owned(),
        };
        self.write_more(lease, &line);
        let done = self.entries.borrow_mut().remove(lease);
        if let Some(entry) = done {
            entry.release();
        }
    }

    /// Keeps a settlement that was not delivered, for later; `tried_at_ms` if the store may have been told.
    pub(super) fn put_back(&self, lease: &LeaseId, tried_at_ms: Option<u64>) {
        self.entries.borrow_mut().put_back(lease, tried_at_ms);
    }

    /// Lets those be delivered again that [`Journal::next`] could not ask for.
    pub(super) fn unpark(&self) {
        self.entries.borrow_mut().unpark();
    }

    /// Lets those be delivered again that failed some time ago.
    pub(super) fn resume(&self) {
        self.entries.borrow_mut().resume();
    }

    /// Whether an account has something that waits.
    pub(super) fn waits(&self, account: &Account) -> bool {
        self.entries.borrow().waits(account)
    }

    /// Settlements that wait.
    pub(super) fn waiting(&self) -> usize {
        self.entries.borrow().waiting()
    }

    /// Settlements that could be kept nowhere, and lines that cannot be read.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Whether it cannot be written.
    pub(super) fn failed(&self) -> bool {
        self.failed.get()
    }

    /// How many more entries there is room for.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.entries.borrow().len())
    }

    /// Looks whether the file can be written, and writes what it does not have yet.
    pub(super) fn check_disk(&self) {
        if self.make.is_none() {
            return;
        }
        self.failed.set(false);
        let Some(own) = self.own_sheet() else {
            return;
        };
        let mut entries = self.entries.borrow_mut();
        let written = entries
            .unwritten()
            .try_for_each(|entry| {
                let line = entry.line();
                let sheet = entry.home.get_or_insert_with(|| {
                    own.take();
                    Rc::clone(&own)
                });
                sheet.append(&line)?;
                entry.written = true;
                Ok(())
            })
            // A disk that is still full is found out even if nothing is missing.
            .and_then(|()| own.append_text(b"\n"));
        drop(entries);
        own.tidy();
        self.failed.set(written.is_err());
    }

    fn has_room(&self) -> bool {
        let room = self.room() > 0;
        if !room {
            self.lost.set(self.lost.get() + 1);
        }
        room
    }

    /// Writes the first line of an entry; tells where, unless it is in memory only.
    fn write(&self, line: &Line) -> Option<Rc<Sheet>> {
        if self.make.is_none() || self.failed.get() {
            return None;
        }
        let sheet = self.own_sheet()?;
        if sheet.append(line).is_err() {
            self.failed.set(true);
            return None;
        }
        sheet.take();
        Some(sheet)
    }

    /// Writes a further line of an entry where its first one is.
    fn write_more(&self, lease: &LeaseId, line: &Line) {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(lease) else {
            return;
        };
        let Some(home) = &entry.home else {
            return;
        };
        if self.failed.get() || home.append(line).is_err() {
            entry.written = false;
            self.failed.set(true);
        }
    }

    fn own_sheet(&self) -> Option<Rc<Sheet>> {
        let mut own = self.own.borrow_mut();
        if own.is_none() {
            match self.make.as_ref()?() {
                Ok(medium) => *own = Some(Rc::new(Sheet::new(medium, false))),
                Err(_) => self.failed.set(true),
            }
        }
        own.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(own) = self.own.get_mut()
            && own.live.get() == 0
        {
            // What cannot be taken away is empty, and the next worker does it.
            let _ = own.medium.borrow_mut().remove();
        }
    }
}

impl Settlement {
    /// Whether the lease's record, where the store has none, proves that it was never told: before the first attempt, and as
    /// long afterwards as it would have kept the record of an ended lease.
    pub(super) fn is_sure(&self, now_ms: u64) -> bool {
        const MARGIN_MS: u64 = 60_000;
        const PROVES_FOR_MS: u64 = Lives::of_lease(0).record_ms - MARGIN_MS;
        self.tried_at_ms
            .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) < PROVES_FOR_MS)
    }

    /// Whether every counter that it would correct may be forgotten.
    pub(super) fn is_pointless(&self, now_s: i64) -> bool {
        let mut closings = self.closings.iter();
        !self.closings.is_empty() && closings.all(|closing| closing.bucket.forget_at_s() < now_s)
    }

    /// Sets what was used.
    fn use_only(&mut self, used: &[u64]) {
        for (closing, used) in self.closings.iter_mut().zip(used) {
            closing.used = *used;
        }
    }
}

impl Sheet {
    fn new(medium: Box<dyn Medium>, adopted: bool) -> Self {
        Self {
            medium: RefCell::new(medium),
            adopted,
            torn: Cell::new(false),
            empty: Cell::new(!adopted),
            live: Cell::new(0),
        }
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut text = Vec::with_capacity(256);
        if self.torn.get() {
            text.push(b'\n');
        }
        text.extend(line.to_text()?);
        text.push(b'\n');
        self.append_text(&text)
    }

    fn append_text(&self, text: &[u8]) -> io::Result<()> {
        let appended = self.medium.borrow_mut().append(text);
        self.torn.set(appended.is_err());
        self.empty.set(false);
        appended
    }

    /// One entry more is kept here.
    fn take(&self) {
        self.live.set(self.live.get() + 1);
    }

    /// One less.
    fn release(&self) {
        self.live.set(self.live.get().saturating_sub(1));
        self.tidy();
    }

    /// Empties the file if nothing in it waits, and takes it away if it was another worker's.
    fn tidy(&self) {
        if self.live.get() > 0 || self.empty.get() {
            return;
        }
        let mut medium = self.medium.borrow_mut();
        let tidied = if self.adopted {
            medium.remove()
        } else {
            medium.clear()
        };
        self.empty.set(tidied.is_ok());
        self.torn.set(self.torn.get() && tidied.is_err());
    }
}
