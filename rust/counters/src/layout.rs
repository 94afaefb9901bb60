//! What lies where in a worker's file, in words of 8 bytes.
//!
//! ```text
//! 0        magic, with the version of the layout as its last letter
//! 1        used: the number of words that are complete, this header included
//! 2..      entries: head (key bytes | kind << 32 | cells << 48), cells, key (UTF-8, zero-padded)
//! ```
//!
//! Only the owner appends, and raises `used` after the entry is complete. A reader may meet anything
//! in a file, so it checks every length.

use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"counter1");
const HEADER_WORDS: usize = 2;

/// What an entry's cells mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One cell: the count.
    Counter = 1,
    /// One cell: an i64.
    Gauge = 2,
    /// Three cells: the bits of an f64, the stamp it expires at or 0, the stamp it was set at or 0.
    Latest = 3,
    /// One cell for each finite bucket, not cumulative; one for `+Inf`; the sum in microseconds.
    Histogram = 4,
}

impl Kind {
    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Counter),
            2 => Some(Self::Gauge),
            3 => Some(Self::Latest),
            4 => Some(Self::Histogram),
            _ => None,
        }
    }
}

/// Kind and number of cells: equal for all series of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) cells: usize,
}

/// Where a series' cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) shape: Shape,
    pub(crate) first: usize,
}

/// A series as found in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) slot: Slot,
}

/// Makes zeroed words an empty counter file.
pub(crate) fn initialise(words: &[AtomicU64]) {
    if let [magic, used, ..] = words {
        used.store(HEADER_WORDS as u64, Ordering::Relaxed);
        magic.store(MAGIC, Ordering::Release);
    }
}

/// Adds a series with zeroed cells, or says `None` where it does not fit. Only for the file's owner,
/// one call at a time.
pub(crate) fn append(words: &[AtomicU64], key: &str, shape: Shape) -> Option<Slot> {
    let used = usize::try_from(words.get(1)?.load(Ordering::Relaxed)).ok()?;
    let key_bytes = u32::try_from(key.len()).ok()?;
    let cells = u16::try_from(shape.cells).ok()?;
    let end = used + 1 + shape.cells + key.len().div_ceil(8);
    let (head, rest) = words.get(used..end)?.split_first()?;
    let (cell_words, key_words) = rest.split_at(shape.cells);
    let code = u64::from(key_bytes) | (shape.kind as u64) << 32 | u64::from(cells) << 48;
    head.store(code, Ordering::Relaxed);
    for cell in cell_words {
        cell.store(0, Ordering::Relaxed);
    }
    for (word, chunk) in key_words.iter().zip(key.as_bytes().chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
    }
    words[1].store(end as u64, Ordering::Release);
    Some(Slot {
        shape,
        first: used + 1,
    })
}

/// Every series of a file, or `None` when it is not a sound counter file.
pub(crate) fn entries(words: &[AtomicU64]) -> Option<Vec<Entry>> {
    if words.first()?.load(Ordering::Acquire) != MAGIC {
        return None;
    }
    let used = usize::try_from(words.get(1)?.load(Ordering::Acquire)).ok()?;
    let mut rest = words.get(HEADER_WORDS..used)?;
    let mut entries = Vec::new();
    while let Some((head, tail)) = rest.split_first() {
        let code = head.load(Ordering::Relaxed);
        let key_bytes = usize::try_from(code & 0xffff_ffff).ok()?;
        let kind = Kind::from_code(code >> 32 & 0xffff)?;
        let cells = usize::try_from(code >> 48).ok()?;
        let key_words = tail.get(cells..)?.get(..key_bytes.div_ceil(8))?;
        let slot = Slot {
            shape: Shape { kind, cells },
            first: used - tail.len(),
        };
        entries.push(Entry {
            key: read_key(key_words, key_bytes)?,
            slot,
        });
        rest = &tail[cells + key_words.len()..];
    }
    Some(entries)
}

/// The key, unless it is something that would break a line of the page.
fn read_key(words: &[AtomicU64], bytes: usize) -> Option<String> {
    let mut key: Vec<u8> = words
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    key.truncate(bytes);
    String::from_utf8(key)
        .ok()
        .filter(|key| !key.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::{Kind, MAGIC, Shape, append, entries, initialise};

    const COUNTER: Shape = Shape {
        kind: Kind::Counter,
        cells: 1,
    };

    fn zeroed(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn finds_what_was_appended_and_refuses_what_does_not_fit() {
        let words = zeroed(10);
        initialise(&words);
        let first = append(&words, "a", COUNTER).unwrap();
        let second = append(&words, "ninebytes", COUNTER).unwrap();
        assert_eq!(append(&words, "b", COUNTER), None);
        let found: Vec<_> = entries(&words)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.key, entry.slot))
            .collect();
        assert_eq!(
            found,
            [("a".to_owned(), first), ("ninebytes".to_owned(), second)]
        );
    }

    #[test]
    fn clears_what_a_killed_owner_left_half_written() {
        let words: Vec<_> = (0..16).map(|_| AtomicU64::new(u64::MAX)).collect();
        initialise(&words);
        let slot = append(&words, "a", COUNTER).unwrap();
        assert_eq!(words[slot.first].load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn never_fails_on_a_hostile_file(mut content in prop::collection::vec(any::<u64>(), 0..40), used in 0_u64..50) {
            for (word, value) in content.iter_mut().zip([MAGIC, used]) {
                *word = value;
            }
            for word in content.iter_mut().skip(2).step_by(3) {
                *word &= 0x0003_0007_0000_000f;
            }
            let words: Vec<_> = content.into_iter().map(AtomicU64::new).collect();
            for entry in entries(&words).unwrap_or_default() {
                prop_assert!(entry.slot.first + entry.slot.shape.cells <= words.len());
            }
        }
    }
}
