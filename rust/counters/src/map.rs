//! A worker's file as a slice of atomic words: the only place of this crate with `unsafe`.

use std::fs::File;
use std::io;
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Larger files are not ours.
const MAX_BYTES: u64 = 64 << 20;

/// A file mapped and shared with every other process that maps it.
///
/// Holds the file too, and with it whatever lock was taken on it.
#[derive(Debug)]
pub(crate) struct Map {
    raw: MmapRaw,
    word_count: usize,
    file: File,
    /// Makes the several words of a `Latest` change as one among the threads of this process.
    pub(crate) setting: Mutex<()>,
}

impl Map {
    /// Maps the whole of `file`, which must be open for reading and writing.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes > MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too large for a counter file",
            ));
        }
        let word_count = usize::try_from(bytes / 8).unwrap_or(0);
        let raw = MmapOptions::new().len(word_count * 8).map_raw(&file)?;
        Ok(Self {
            raw,
            word_count,
            file,
            setting: Mutex::new(()),
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The file's content. Every access goes through these atomics, in this process and the others.
    #[expect(unsafe_code, reason = "shared memory has no safe view in std")]
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts on a page")]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping starts on a page, hence aligned for u64, is `word_count * 8` bytes
        // long, readable and writable, and lives as long as `self`. Every u64 is a valid AtomicU64,
        // and no process makes a plain reference into it, so that all concurrent accesses are
        // atomic. Counter files are never truncated (a page gone would raise SIGBUS).
        unsafe { slice::from_raw_parts(self.raw.as_ptr().cast::<AtomicU64>(), self.word_count) }
    }
}
