//! The files of journals: one for each worker, which holds a lock on it while it lives.
//!
//! A line is in the file, and safe from the death of its writer, once `write` has returned. It is not forced to the disk: that
//! would hold up every stream of the worker, and only a machine that crashes while the store is down would lose it.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::line;

const EXTENSION: &str = "jsonl";

/// Where the lines of a journal go.
pub(in crate::ledger) trait Medium {
    /// Writes all of `text` behind what is there; on failure, perhaps only some of it.
    fn append(&mut self, text: &[u8]) -> io::Result<()>;
    /// Leaves nothing there.
    fn clear(&mut self) -> io::Result<()>;
    /// Nothing is there that anybody will want.
    fn remove(&mut self) -> io::Result<()>;
}

/// A file that nobody else adopts while this lives.
#[derive(Debug)]
pub(in crate::ledger) struct LockedFile {
    file: File,
    path: PathBuf,
}

/// A file whose writer is gone, and what waits in it.
#[derive(Debug)]
pub(in crate::ledger) struct Adopted {
    /// The file, locked.
    pub(in crate::ledger) file: LockedFile,
    /// What it says.
    pub(super) read: line::Read,
}

impl LockedFile {
    /// A new file in `folder`, which is made if it is missing.
    pub(in crate::ledger) fn create(folder: &Path) -> io::Result<Self> {
        thread_local! { static MADE: Cell<u64> = const { Cell::new(0) }; }
        fs::create_dir_all(folder)?;
        let number = MADE.replace(MADE.get() + 1);
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{}-{}-{number}", std::process::id(), since_epoch.as_nanos());
        // Under its own name it could be adopted, being empty, before it is locked.
        let hidden = folder.join(format!("{name}.new"));
        let path = folder.join(format!("{name}.{EXTENSION}"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&hidden)?;
        file.lock()?;
        fs::rename(&hidden, &path)?;
        Ok(Self { file, path })
    }

    /// The files in `folder` that nobody holds, with at most `room` settlements together. Blocks.
    pub(in crate::ledger) fn adopt(folder: &Path, mut room: usize) -> Vec<Adopted> {
        let mut adopted = Vec::new();
        let Ok(files) = fs::read_dir(folder) else {
            return adopted;
        };
        for file in files.flatten() {
            let path = file.path();
            if path.extension().is_some_and(|name| name == EXTENSION)
                && let Ok(Some(file)) = Self::adopt_one(path)
                && file.read.settlements.len() <= room
            {
                room -= file.read.settlements.len();
                adopted.push(file);
            }
        }
        adopted
    }

    /// Whoever has the lock and finds nothing waiting may take the file away: it is emptied first, so that another who had it
    /// open already finds nothing either.
    fn adopt_one(path: PathBuf) -> io::Result<Option<Adopted>> {
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let Some(read) = line::read(&text) else {
            return Ok(None);
        };
        if text.last().is_some_and(|byte| *byte != b'\n') {
            file.write_all(b"\n")?;
        }
        Ok(Some(Adopted {
            file: Self { file, path },
            read,
        }))
    }
}

impl Medium for LockedFile {
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    fn remove(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        fs::remove_file(&self.path)
    }
}
