//! What a page, and the folder behind it, show.

use std::fs;
use std::path::Path;

use counters::Registry;

use crate::families::sample;

pub(crate) fn requests(registry: &Registry) -> f64 {
    sample(
        &registry.render(),
        "gateway_requests_total",
        &[("tier", "free")],
    )
    .unwrap_or_default()
}

pub(crate) fn streams(registry: &Registry) -> f64 {
    sample(&registry.render(), "gateway_active_streams", &[]).unwrap_or_default()
}

pub(crate) fn file_count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}
