//! The folder of counter files: one for each worker, locked while its worker lives.
//!
//! Whether a worker is alive is whether its file is locked; the kernel drops the lock with the
//! process. Looking takes the lock of a dead worker's file for a moment, which is why a worker that
//! seeks a file to adopt looks more than once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::layout::{self, Entry, Kind};
use crate::map::Map;

const EXTENSION: &str = "counters";
const ADOPTION_ATTEMPTS: usize = 3;
const ADOPTION_PAUSE: Duration = Duration::from_millis(2);

/// A file that is now this worker's.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) path: PathBuf,
    pub(crate) map: Map,
    pub(crate) entries: Vec<Entry>,
}

/// Adopts the file of a dead worker, or makes one of `bytes`.
pub(crate) fn claim(folder: &Path, bytes: usize) -> io::Result<Claim> {
    for attempt in 0..ADOPTION_ATTEMPTS {
        let paths = counter_files(folder)?;
        if paths.is_empty() {
            break;
        }
        if let Some(claim) = paths.into_iter().find_map(adopt) {
            return Ok(claim);
        }
        if attempt + 1 < ADOPTION_ATTEMPTS {
            thread::sleep(ADOPTION_PAUSE);
        }
    }
    create(folder, bytes)
}

fn counter_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(EXTENSION)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Takes over a file whose worker is dead; its gauges start from 0.
fn adopt(path: PathBuf) -> Option<Claim> {
    let file = open(&path).ok()?;
    file.try_lock().ok()?;
    let map = Map::new(file).ok()?;
    let entries = layout::entries(map.words())?;
    for entry in entries
        .iter()
        .filter(|entry| entry.slot.shape.kind == Kind::Gauge)
    {
        map.words()[entry.slot.first].store(0, Ordering::Relaxed);
    }
    Some(Claim { path, map, entries })
}

/// Makes a file that is complete and locked before it gets the name others look for.
fn create(folder: &Path, bytes: usize) -> io::Result<Claim> {
    let mut number = 0;
    let (mut file, unnamed) = loop {
        let unnamed = folder.join(format!("worker-{}-{number}.new", process::id()));
        match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&unnamed)
        {
            Ok(file) if !unnamed.with_extension(EXTENSION).exists() => break (file, unnamed),
            Ok(_) => fs::remove_file(&unnamed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        number += 1;
    };
    file.try_lock()?;
    // Written, not sparse: a full disk is an error here, and would be a SIGBUS later.
    file.write_all(&vec![0; bytes])?;
    let map = Map::new(file)?;
    layout::initialise(map.words());
    let path = unnamed.with_extension(EXTENSION);
    fs::rename(&unnamed, &path)?;
    Ok(Claim {
        path,
        map,
        entries: Vec::new(),
    })
}

/// The other workers' files. Kept open once seen, so that running out of file descriptors does not
/// make counts vanish from a page.
#[derive(Debug)]
pub(crate) struct Peers {
    folder: PathBuf,
    own: PathBuf,
    maps: HashMap<PathBuf, Map>,
}

impl Peers {
    pub(crate) fn new(folder: &Path, own: PathBuf) -> Self {
        Self {
            folder: folder.to_owned(),
            own,
            maps: HashMap::new(),
        }
    }

    /// The file of every other worker, and whether that worker is alive.
    pub(crate) fn look(&mut self) -> impl Iterator<Item = (&Map, bool)> {
        for path in counter_files(&self.folder).unwrap_or_default() {
            if path != self.own
                && !self.maps.contains_key(&path)
                && let Ok(map) = open(&path).and_then(Map::new)
            {
                self.maps.insert(path, map);
            }
        }
        self.maps.values().map(|map| (map, is_locked(map.file())))
    }
}

fn is_locked(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().is_err(),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
    }
}
