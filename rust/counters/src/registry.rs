//! One worker's counters, and the page of all workers.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::family::{self, Family, FamilyKind, OVERFLOW};
use crate::folder::{self, Peers};
use crate::handle::{Cells, Counter, Gauge, Histogram, Latest};
use crate::layout::{self, Entry, Kind, Shape, Slot};
use crate::map::Map;
use crate::render;
use crate::series;

/// The size of a worker's file: room for some 15,000 counters or 4,000 histograms of 14 buckets.
const FILE_BYTES: usize = 2 << 20;

/// Takes what must not be rendered; large enough for any kind without buckets.
const SCRAP: Shape = Shape {
    kind: Kind::Latest,
    cells: 3,
};

/// The counters of this worker, among those of the other workers of the folder.
#[derive(Debug)]
pub struct Registry {
    families: &'static [&'static Family],
    map: Arc<Map>,
    slots: Mutex<HashMap<Box<str>, Slot>>,
    scrap: Cells,
    overflows: Counter,
    peers: Mutex<Peers>,
}

impl Registry {
    /// Opens this worker's file in `folder`: one left by a dead worker, or else a new one.
    ///
    /// The file stays this worker's until the registry and all its handles are gone. `families` are
    /// rendered in the order given, and must be the same in all workers of the folder.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a family that cannot be rendered; otherwise what the file system says.
    pub fn open(folder: &Path, families: &'static [&'static Family]) -> io::Result<Self> {
        family::check(families)?;
        let own = folder::claim(folder, FILE_BYTES)?;
        let map = Arc::new(own.map);
        let mut slots: HashMap<Box<str>, Slot> = own
            .entries
            .into_iter()
            .map(|Entry { key, slot }| (key.into_boxed_str(), slot))
            .collect();
        // Made first, so that they are there when there is no room for anything else.
        let scrap = reserve(&map, &mut slots, "", SCRAP)?;
        let overflows = reserve(&map, &mut slots, OVERFLOW.name, OVERFLOW.kind.shape())?;
        for family in families {
            let key = series::overflow_key(family.name);
            reserve(&map, &mut slots, &key, family.kind.shape())?;
        }
        Ok(Self {
            families,
            slots: Mutex::new(slots),
            scrap,
            overflows: Counter(overflows),
            peers: Mutex::new(Peers::new(folder, own.path)),
            map,
        })
    }

    /// Finds or makes the counter of `family` with `labels`.
    pub fn counter(&self, family: &Family, labels: &[(&'static str, &str)]) -> Counter {
        Counter(
            self.cells(family, labels, Kind::Counter)
                .unwrap_or_else(|| self.scrap.clone()),
        )
    }

    /// Finds or makes the gauge of `family` with `labels`.
    pub fn gauge(&self, family: &Family, labels: &[(&'static str, &str)]) -> Gauge {
        Gauge(
            self.cells(family, labels, Kind::Gauge)
                .unwrap_or_else(|| self.scrap.clone()),
        )
    }

    /// Finds or makes the newest-value series of `family` with `labels`.
    pub fn latest(&self, family: &Family, labels: &[(&'static str, &str)]) -> Latest {
        Latest(
            self.cells(family, labels, Kind::Latest)
                .unwrap_or_else(|| self.scrap.clone()),
        )
    }

    /// Finds or makes the histogram of `family` with `labels`.
    pub fn histogram(&self, family: &Family, labels: &[(&'static str, &str)]) -> Histogram {
        match (family.kind, self.cells(family, labels, Kind::Histogram)) {
            (FamilyKind::Histogram(bounds), Some(cells)) => Histogram { cells, bounds },
            _ => Histogram {
                cells: self.scrap.clone(),
                bounds: &[],
            },
        }
    }

    /// The page of all workers in the Prometheus text format 0.0.4, as of now.
    pub fn render(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.render_at(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// The page as of `now_ms`, which decides what has expired.
    pub fn render_at(&self, now_ms: u64) -> String {
        let mut page = render::Page::new(self.families, now_ms);
        page.take(&self.map, true);
        for (map, live) in self
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look()
        {
            page.take(map, live);
        }
        page.finish()
    }

    /// The number of workers of the folder that are alive, this one included.
    pub fn live_workers(&self) -> usize {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        1 + peers.look().filter(|(_, live)| *live).count()
    }

    /// The cells of a series, of the family's overflow series when the file is full, or `None` when
    /// `family` is not one that was declared, or not of this kind.
    fn cells(&self, family: &Family, labels: &[(&'static str, &str)], kind: Kind) -> Option<Cells> {
        let key = series::key(family.name, labels);
        let shape = family.kind.shape();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.get(key.as_str()).copied();
        let own = known.or_else(|| {
            let declared = self
                .families
                .iter()
                .any(|declared| declared.name == family.name);
            let slot = declared.then(|| layout::append(self.map.words(), &key, shape))??;
            slots.insert(key.into_boxed_str(), slot);
            Some(slot)
        });
        let slot = own.or_else(|| {
            slots
                .get(series::overflow_key(family.name).as_str())
                .copied()
        });
        let slot = slot.filter(|slot| slot.shape == shape && shape.kind == kind);
        if own.is_none() || slot.is_none() {
            self.overflows.add(1);
        }
        slot.map(|slot| Cells {
            map: Arc::clone(&self.map),
            first: slot.first,
        })
    }
}

/// Finds or makes an entry that must be there.
fn reserve(
    map: &Arc<Map>,
    slots: &mut HashMap<Box<str>, Slot>,
    key: &str,
    shape: Shape,
) -> io::Result<Cells> {
    let slot = slots
        .get(key)
        .copied()
        .filter(|slot| slot.shape == shape)
        .or_else(|| layout::append(map.words(), key, shape))
        .ok_or_else(|| io::Error::other("the counter file has no room for its families"))?;
    slots.insert(key.into(), slot);
    Ok(Cells {
        map: Arc::clone(map),
        first: slot.first,
    })
}
