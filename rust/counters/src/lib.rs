//! Counters of several worker processes, kept in mapped files of one folder and rendered as one page.
//!
//! Each worker owns one file, locked for as long as the worker lives. A counter is a word of that
//! file, so a worker killed with -9 leaves its counts behind, and the worker that replaces it goes on
//! counting in the same file. Any worker renders the exact sums by reading every file of the folder.
//! The folder is made fresh by whoever starts the workers; each worker opens its own [`Registry`]
//! after it was forked or spawned, never before.

mod bounded;
mod family;
mod folder;
mod handle;
mod layout;
mod map;
mod registry;
mod render;
mod series;

pub use bounded::Bounded;
pub use family::{Family, FamilyKind, OVERFLOW};
pub use handle::{Counter, Gauge, Histogram, Latest};
pub use registry::Registry;
