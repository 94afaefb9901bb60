//! What several workers of one folder see.

#![expect(
    clippy::float_cmp,
    reason = "the values are whole numbers, or compared as written"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a failing test panics, also in what its tests share"
)]

mod families;
mod seen;

use std::fs;
use std::sync::Barrier;
use std::thread;

use counters::Registry;
use families::{ALL, DURATION, QUOTA_USED, REQUESTS, STREAMS, sample};
use seen::{file_count, requests, streams};

#[test]
fn no_count_is_lost_between_threads() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    registry.counter(&REQUESTS, &[("tier", "free")]).add(1);
                    registry.histogram(&DURATION, &[]).observe(0.1);
                }
            });
        }
    });
    assert_eq!(requests(&registry), 80_000.0);
    let count = sample(
        &registry.render(),
        "gateway_request_duration_seconds_count",
        &[],
    );
    assert_eq!(count, Some(80_000.0));
}

#[test]
fn every_worker_renders_the_sum_over_all() {
    let folder = tempfile::tempdir().unwrap();
    let workers: Vec<_> = (0..3)
        .map(|_| Registry::open(folder.path(), ALL).unwrap())
        .collect();
    for (number, worker) in (1..).zip(&workers) {
        worker.counter(&REQUESTS, &[("tier", "free")]).add(number);
        worker
            .gauge(&STREAMS, &[])
            .set(10 - 8 * i64::try_from(number).unwrap());
        worker.histogram(&DURATION, &[]).observe(0.5);
    }
    for worker in &workers {
        let page = worker.render();
        assert_eq!(requests(worker), 6.0);
        assert_eq!(streams(worker), -18.0);
        let count = sample(&page, "gateway_request_duration_seconds_count", &[]);
        assert_eq!(count, Some(3.0));
        assert_eq!(worker.live_workers(), 3);
    }
}

#[test]
fn workers_that_start_at_once_get_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let start = Barrier::new(8);
    let workers: Vec<_> = thread::scope(|scope| {
        let open = || {
            start.wait();
            Registry::open(folder.path(), ALL).unwrap()
        };
        let started: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        started
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    for worker in &workers {
        worker.counter(&REQUESTS, &[("tier", "free")]).add(1);
    }
    assert_eq!((workers[0].live_workers(), requests(&workers[7])), (8, 8.0));
    assert_eq!(file_count(folder.path()), 8);
}

#[test]
fn the_newest_value_counts_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let older = Registry::open(folder.path(), ALL).unwrap();
    let newer = Registry::open(folder.path(), ALL).unwrap();
    let used = |now_ms| {
        sample(
            &older.render_at(now_ms),
            "gateway_quota_used",
            &[("user", "alice")],
        )
    };
    let labels = [("user", "alice")];
    newer
        .latest(&QUOTA_USED, &labels)
        .set_until(0.5, 2000, 3000);
    older.latest(&QUOTA_USED, &labels).set(0.25, 1000);
    newer.latest(&QUOTA_USED, &labels).set(0.1, 1999);
    assert_eq!(used(2999), Some(0.5));
    assert_eq!(used(3000), None);
    older.latest(&QUOTA_USED, &labels).set(0.75, 3001);
    assert_eq!(used(u64::MAX), Some(0.75));
}

#[test]
fn a_file_is_taken_over_only_when_registry_and_handles_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = Registry::open(folder.path(), ALL).unwrap();
    let held = first.counter(&REQUESTS, &[("tier", "free")]);
    drop(first);
    let second = Registry::open(folder.path(), ALL).unwrap();
    held.add(2);
    assert_eq!((file_count(folder.path()), requests(&second)), (2, 2.0));
    drop(held);
    let third = Registry::open(folder.path(), ALL).unwrap();
    third.counter(&REQUESTS, &[("tier", "free")]).add(1);
    assert_eq!((file_count(folder.path()), requests(&second)), (2, 3.0));
}

#[test]
fn files_that_are_not_sound_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), ALL).unwrap();
    registry.counter(&REQUESTS, &[("tier", "free")]).add(1);
    let own = fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let sound = fs::read(own).unwrap();
    let mut beyond = sound.clone();
    beyond[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut torn = sound.clone();
    torn[16..24].fill(0xff);
    let contents: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("short", b"count"),
        ("header", &sound[..16]),
        ("cut", &sound[..100]),
        ("garbage", &[0xa5; 5000]),
        ("beyond", &beyond),
        ("torn", &torn),
    ];
    for (name, content) in contents {
        fs::write(folder.path().join(name).with_extension("counters"), content).unwrap();
    }
    fs::create_dir(folder.path().join("folder.counters")).unwrap();
    assert_eq!(requests(&registry), 1.0);
    let other = Registry::open(folder.path(), ALL).unwrap();
    other.counter(&REQUESTS, &[("tier", "free")]).add(1);
    assert_eq!(requests(&registry), 2.0);
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Registry::open(&folder.path().join("missing"), ALL).is_err());
}
