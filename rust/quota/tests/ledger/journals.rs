//! Journals in real files: what a worker leaves behind is settled by the next.

use std::fs;
use std::io::Write as _;
use std::mem::forget;
use std::path::Path;

use quota::{Denied, Lease};
use tempfile::TempDir;

use crate::model_store::{LATENCY, ModelStore, Trouble};
use crate::world::{
    PLACES, REQUESTS, TOKENS, Worker, closed, denied, on_one_thread, open, order, pass, settings,
    until, want,
};

/// Makes a worker vanish as `kill -9` does, and gives what is left of its files: they are locked by no one.
fn kill(worker: Worker, leases: Vec<Lease<ModelStore>>, folder: &Path) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    forget(leases);
    drop(worker);
    left
}

fn text(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_worker_let_in_stands_and_what_had_ended_is_settled() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(folder.path())));
        let wants = [want(REQUESTS, 1), want(TOKENS, 100), want(PLACES, 1)];
        let taken = worker.reserve(order("taken", "t", &wants)).await.unwrap();
        store.down(Trouble::ReplyLost);
        let running = worker.reserve(order("running", "r", &wants)).await.unwrap();
        let ended = worker.reserve(order("ended", "e", &wants)).await.unwrap();
        ended.settle(&[1, 30, 1]).await;
        let given_back = worker
            .reserve(order("given_back", "g", &wants))
            .await
            .unwrap();
        given_back.give_back().await;
        taken.settle(&[1, 40, 1]).await;
        let refused = worker.reserve(closed(order("refused", "c", &wants))).await;
        assert_eq!(denied(refused), Denied::Closed);
        let left = kill(worker, vec![running], folder.path());
        store.up();
        let file = fs::read_dir(left.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let opened = fs::File::open(file).unwrap();
        let next = Worker::with(&store, settings(Some(left.path())));
        until(|| store.used("running", "") > 0).await;
        next.settled().await;
        pass(5).await;
        let used = |user: &str| {
            (
                store.used(user, "}:2026"),
                store.used(user, "tokens"),
                store.flying(user),
            )
        };
        assert_eq!(used("running"), (1, 100, 0));
        assert_eq!(used("ended"), (1, 30, 0));
        assert_eq!(used("given_back"), (0, 0, 0));
        assert_eq!(used("taken"), (1, 40, 0));
        assert_eq!(used("refused"), (0, 0, 0));
        assert_eq!(next.watched.lost.get(), 0);
        assert_eq!(files(left.path()), 1, "what was adopted is gone");
        let nothing = opened.metadata().unwrap().len();
        assert_eq!(nothing, 0, "also for who had opened it to adopt it");
        assert_eq!(text(left.path()), "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn settling_twice_after_a_second_kill_counts_once() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(folder.path())));
        store.down(Trouble::CutBefore);
        let lease = worker
            .reserve(open(order("u", "a", &[want(TOKENS, 100)])))
            .await
            .unwrap();
        lease.settle(&[30]).await;
        let mut left = kill(worker, Vec::new(), folder.path());
        store.up();
        for _ in 0..4 {
            // Killed after the store was told, before that was written down.
            let worker = Worker::with(&store, settings(Some(left.path())));
            // The first call asks for the time.
            store.trouble([Trouble::Slow(LATENCY), Trouble::ReplyLost]);
            store.forget_calls();
            until(|| store.calls("settle") > 0).await;
            assert!(text(left.path()).contains("tried"));
            left = kill(worker, Vec::new(), left.path());
            pass(60).await;
            assert_eq!(store.used("u", ""), 30);
        }
        let last = Worker::with(&store, settings(Some(left.path())));
        pass(5).await;
        assert_eq!((store.used("u", ""), last.watched.waiting.get()), (30, 0));
        pass(3600).await;
        let worker = Worker::with(&store, settings(Some(left.path())));
        pass(5).await;
        assert_eq!((store.used("u", ""), worker.watched.waiting.get()), (30, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_another_worker_tried_is_judged_by_the_stores_time() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        // A day before this machine's time, or longer.
        store.jump(-86_400_000);
        let worker = Worker::with(&store, settings(Some(folder.path())));
        worker.ledger.state().await;
        store.down(Trouble::CutBefore);
        let lease = worker
            .reserve(open(order("u", "a", &[want(TOKENS, 100)])))
            .await
            .unwrap();
        let _ = lease.settle(&[30]).await;
        until(|| text(folder.path()).contains("tried")).await;
        let left = kill(worker, Vec::new(), folder.path());
        store.up();
        store.trouble([Trouble::CutBefore]);
        let next = Worker::with(&store, settings(Some(left.path())));
        until(|| next.watched.waiting.get() == 1).await;
        next.settled().await;
        assert_eq!(store.used("u", ""), 30);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_in_a_drain_is_told_by_the_next_worker() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(folder.path())));
        let wants = [want(TOKENS, 100), want(PLACES, 1)];
        let lease = worker.reserve(order("u", "a", &wants)).await.unwrap();
        worker.stop().await;
        drop(lease);
        assert!(text(folder.path()).contains("\"settle\""));
        let _next = Worker::with(&store, settings(Some(folder.path())));
        until(|| store.flying("u") == 0).await;
        assert_eq!(store.used("u", ""), 100);
        until(|| text(folder.path()).is_empty()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_living_workers_file_is_nobodys_to_adopt() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        let one = Worker::with(&store, settings(Some(folder.path())));
        store.down(Trouble::CutBefore);
        let lease = one
            .reserve(open(order("u", "a", &[want(TOKENS, 100)])))
            .await
            .unwrap();
        let other = Worker::with(&store, settings(Some(folder.path())));
        store.up();
        pass(60).await;
        assert_eq!(files(folder.path()), 2);
        assert_eq!(store.used("u", ""), 0);
        lease.settle(&[30]).await;
        one.settled().await;
        assert_eq!(store.used("u", ""), 30);
        until(|| text(folder.path()).is_empty()).await;
        one.stop().await;
        until(|| files(folder.path()) == 1).await;
        drop(other);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_torn_line_spoils_no_other() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(folder.path())));
        store.down(Trouble::CutBefore);
        let mut leases = Vec::new();
        for lease in ["a", "b", "c"] {
            let order = open(order("u", lease, &[want(TOKENS, 100)]));
            leases.push(worker.reserve(order).await.unwrap());
        }
        leases.remove(0).settle(&[10]).await;
        let left = kill(worker, leases, folder.path());
        let file = fs::read_dir(left.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(br#"{"v":1,"what":"end","lease":"b","us"#)
            .unwrap();
        store.up();
        let next = Worker::with(&store, settings(Some(left.path())));
        until(|| store.used("u", "") == 210).await;
        next.settled().await;
        assert_eq!(next.watched.lost.get(), 1, "it is counted");
        until(|| text(left.path()).is_empty()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_later_versions_file_is_left_alone() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later.jsonl");
        let line = "{\"v\":2,\"what\":\"something else\"}\n";
        fs::write(&later, line).unwrap();
        let worker = Worker::with(&ModelStore::default(), settings(Some(folder.path())));
        pass(30).await;
        assert_eq!(fs::read_to_string(later).unwrap(), line);
        assert_eq!(worker.watched.lost.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_where_nothing_can_be_written() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("journal");
        fs::write(&blocked, "a file where the folder should be").unwrap();
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(&blocked)));
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        assert!(worker.ledger.state().await.journal_failed);
        store.down(Trouble::ReplyLost);
        for refused in [
            order("u", "b", &[want(TOKENS, 1)]),
            open(order("u", "c", &[want(TOKENS, 1)])),
        ] {
            assert_eq!(denied(worker.reserve(refused).await), Denied::JournalFull);
        }
        let _ = lease.settle(&[40]).await;
        let changed = worker.watched.changed.borrow().clone();
        let failed: Vec<bool> = changed.iter().map(|state| state.journal_failed).collect();
        assert_eq!(failed, [true], "told once");
        fs::remove_file(&blocked).unwrap();
        until(|| {
            worker
                .watched
                .changed
                .borrow()
                .iter()
                .any(|state| !state.journal_failed)
        })
        .await;
        assert!(
            text(&blocked).contains("\"taken\":100,\"used\":40"),
            "what was kept in memory is written now"
        );
        let lease = worker
            .reserve(order("u", "d", &[want(TOKENS, 2)]))
            .await
            .unwrap();
        let _ = lease.settle(&[2]).await;
        store.up();
        worker.settled().await;
        pass(2).await;
        assert_eq!((store.used("u", ""), worker.watched.lost.get()), (42, 0));
        assert_eq!(text(&blocked), "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_worker_leaves_nothing_behind() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("a/b");
        let store = ModelStore::default();
        let worker = Worker::with(&store, settings(Some(&nested)));
        let lease = worker
            .reserve(order("u", "a", &[want(TOKENS, 100)]))
            .await
            .unwrap();
        let _ = lease.settle(&[40]).await;
        pass(20).await;
        assert_eq!((files(&nested), text(&nested).as_str()), (1, ""));
        worker.stop().await;
        assert_eq!(files(&nested), 0);
    })
    .await;
}
