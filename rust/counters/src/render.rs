//! The page, merged from the files of all workers.
//!
//! Source: Prometheus, "Exposition formats", text format 0.0.4.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::iter;
use std::sync::atomic::Ordering;

use crate::family::{Family, FamilyKind, OVERFLOW};
use crate::layout::{self, Entry, Kind};
use crate::map::Map;
use crate::series;

/// A page in the making.
pub(crate) struct Page {
    now_ms: u64,
    families: Vec<(&'static Family, BTreeMap<String, Vec<u64>>)>,
    positions: HashMap<&'static str, usize>,
}

impl Page {
    pub(crate) fn new(families: &[&'static Family], now_ms: u64) -> Self {
        let all = families.iter().copied().chain(iter::once(&OVERFLOW));
        let families: Vec<_> = all.map(|family| (family, BTreeMap::new())).collect();
        let positions = families
            .iter()
            .enumerate()
            .map(|(at, (family, _))| (family.name, at))
            .collect();
        Self {
            now_ms,
            families,
            positions,
        }
    }

    /// Adds what a worker's file holds; nothing if it is not a sound counter file.
    pub(crate) fn take(&mut self, map: &Map, live: bool) {
        for Entry { key, slot } in layout::entries(map.words()).unwrap_or_default() {
            let (name, labels) = series::split(&key);
            let Some(&at) = self.positions.get(name) else {
                continue;
            };
            let (family, merged) = &mut self.families[at];
            if family.kind.shape() != slot.shape || (slot.shape.kind == Kind::Gauge && !live) {
                continue;
            }
            let words = &map.words()[slot.first..slot.first + slot.shape.cells];
            // Last to first, and Acquire: the stamp of a `Latest` must be read first.
            let mut cells = vec![0; words.len()];
            for (cell, word) in cells.iter_mut().zip(words).rev() {
                *cell = word.load(Ordering::Acquire);
            }
            match merged.get_mut(labels) {
                Some(sum) => merge(slot.shape.kind, sum, &cells),
                None => {
                    merged.insert(labels.to_owned(), cells);
                }
            }
        }
    }

    /// The text of the page.
    pub(crate) fn finish(self) -> String {
        let mut page = String::with_capacity(16 << 10);
        for (family, series) in &self.families {
            push_head(&mut page, family);
            for (labels, cells) in series {
                let unused = series::is_overflow(labels) && cells.iter().all(|cell| *cell == 0);
                if !unused {
                    self.push_series(&mut page, family, labels, cells);
                }
            }
        }
        page
    }

    fn push_series(&self, page: &mut String, family: &Family, labels: &str, cells: &[u64]) {
        let name = family.name;
        match (family.kind, cells) {
            (FamilyKind::Counter, [count]) => {
                push_line(page, format_args!("{name}{labels} {count}"));
            }
            (FamilyKind::Gauge, [level]) => {
                push_line(page, format_args!("{name}{labels} {}", level.cast_signed()));
            }
            (FamilyKind::Latest, &[bits, expires, stamp])
                if stamp != 0 && (expires == 0 || self.now_ms < expires) =>
            {
                let value = decimal(f64::from_bits(bits));
                push_line(page, format_args!("{name}{labels} {value}"));
            }
            (FamilyKind::Histogram(bounds), [buckets @ .., micros]) => {
                push_histogram(page, (name, labels), bounds, buckets, *micros);
            }
            _ => {}
        }
    }
}

fn merge(kind: Kind, sum: &mut [u64], cells: &[u64]) {
    if kind == Kind::Latest {
        if cells[2] > sum[2] {
            sum.copy_from_slice(cells);
        }
        return;
    }
    for (total, cell) in sum.iter_mut().zip(cells) {
        // Wrapping is right for the two's complement of gauges, and safe for what a file may hold.
        *total = total.wrapping_add(*cell);
    }
}

fn push_head(page: &mut String, family: &Family) {
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    push_line(page, format_args!("# HELP {} {help}", family.name));
    push_line(
        page,
        format_args!("# TYPE {} {}", family.name, family.kind.type_word()),
    );
}

fn push_histogram(
    page: &mut String,
    (name, labels): (&str, &str),
    bounds: &[f64],
    buckets: &[u64],
    micros: u64,
) {
    let open = labels
        .strip_suffix('}')
        .map_or_else(|| "{".to_owned(), |own| format!("{own},"));
    let mut count: u64 = 0;
    for (bound, bucket) in bounds
        .iter()
        .copied()
        .chain(iter::once(f64::INFINITY))
        .zip(buckets)
    {
        count = count.wrapping_add(*bucket);
        push_line(
            page,
            format_args!("{name}_bucket{open}le=\"{}\"}} {count}", decimal(bound)),
        );
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    push_line(
        page,
        format_args!("{name}_sum{labels} {seconds}.{fraction:06}"),
    );
    push_line(page, format_args!("{name}_count{labels} {count}"));
}

/// A number without an exponent, and the format's words for those that are not finite.
fn decimal(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn push_line(page: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = page.write_fmt(line);
    page.push('\n');
}
