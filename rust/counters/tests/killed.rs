//! What becomes of the file of a worker that is killed.
//!
//! In a test binary of its own: a process that is being started holds its parent's files, and so their locks, for a
//! moment, which would disturb the tests that look at locks.

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

use std::env;

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use counters::Registry;
use families::{ALL, REQUESTS, STREAMS};
use seen::{file_count, requests, streams};

#[test]
fn counts_survive_a_worker_killed_with_9_and_gauges_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let survivor = Registry::open(folder.path(), ALL).unwrap();
    for round in 1_u32..=5 {
        let mut child = spawn_worker(folder.path());
        assert_eq!((survivor.live_workers(), streams(&survivor)), (2, 5.0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((survivor.live_workers(), streams(&survivor)), (1, 0.0));
        assert_eq!(requests(&survivor), f64::from(round * 1000));
        assert_eq!(file_count(folder.path()), 2);
    }
}

/// Starts [`worker_process`] in a process of its own, and returns once it has counted.
fn spawn_worker(folder: &Path) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "worker_process", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_ref().unwrap(), "{}", folder.display()).unwrap();
    let said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        said.map_while(Result::ok)
            .any(|line| line.ends_with("counted"))
    );
    child
}

#[test]
#[ignore = "not a test: the process that another test kills; reads its folder from stdin"]
fn worker_process() {
    let mut folder = String::new();
    io::stdin().read_line(&mut folder).unwrap();
    if folder.is_empty() {
        return;
    }
    let registry = Registry::open(Path::new(folder.trim_end()), ALL).unwrap();
    let counter = registry.counter(&REQUESTS, &[("tier", "free")]);
    (0..1000).for_each(|_| counter.add(1));
    registry.gauge(&STREAMS, &[]).add(5);
    println!("counted");
    // Blocks until the process is killed, or ends with the test that started it.
    io::stdin().read_line(&mut folder).unwrap();
}
