//! What every store promises. `shared_suite!` makes a test of each promise for one store.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use quota::{Bucket, Calendar, Count, Decision, Lease, Period, Store, Unit, Window};
use tokio::task::{JoinSet, LocalSet};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// An empty store that handles can be opened on.
pub(crate) trait Fixture {
    type Handle: Store + 'static;

    fn open(&self) -> Self::Handle;
}

pub(crate) fn bucket(user: &str, limit: Option<u64>) -> Bucket {
    let window = Window {
        unit: Unit::Requests,
        period: Period::Day,
        limit,
    };
    Calendar::new("UTC")
        .unwrap()
        .bucket(user, window, SystemTime::now())
}

/// The bucket of another window of the same user, which there is no unit or period for yet.
pub(crate) fn other_bucket(user: &str, limit: Option<u64>) -> Bucket {
    let mut bucket = bucket(user, limit);
    bucket.key.push_str(":other");
    bucket
}

pub(crate) fn used(counts: &[Count]) -> Vec<u64> {
    counts.iter().map(|count| count.used).collect()
}

pub(crate) async fn in_parallel<F>(calls: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let all = async {
        let mut set = JoinSet::new();
        for call in calls {
            set.spawn_local(call);
        }
        set.join_all().await
    };
    LocalSet::new().run_until(all).await
}

async fn granted_of<S: Store + 'static>(handles: Vec<S>, calls: usize, limit: u64) -> usize {
    let handles: Vec<Rc<S>> = handles.into_iter().map(Rc::new).collect();
    let calls = (0..calls).map(|call| {
        let store = Rc::clone(&handles[call % handles.len()]);
        async move { store.reserve(&[bucket("u", Some(limit))]).await.unwrap() }
    });
    let decisions = in_parallel(calls).await;
    decisions
        .iter()
        .filter(|decision| matches!(decision, Decision::Granted(_)))
        .count()
}

pub(crate) async fn grants_exactly_ten_of_64_at_once(fixture: &impl Fixture) {
    assert_eq!(granted_of(vec![fixture.open()], 64, 10).await, 10);
    let counts = fixture.open().read(&[bucket("u", Some(10))]).await.unwrap();
    assert_eq!(used(&counts), [10]);
}

pub(crate) async fn grants_exactly_100_of_500_over_two_handles(fixture: &impl Fixture) {
    assert_eq!(
        granted_of(vec![fixture.open(), fixture.open()], 500, 100).await,
        100
    );
}

pub(crate) async fn says_what_is_used_and_which_window_is_full(fixture: &impl Fixture) {
    let store = fixture.open();
    let buckets = [bucket("u", None), other_bucket("u", Some(1))];
    let count = |index: usize, used| Count {
        used,
        limit: buckets[index].window.limit,
        resets_at_s: buckets[index].resets_at_s,
        window: buckets[index].window,
    };
    let counts = vec![count(0, 1), count(1, 1)];
    assert_eq!(
        store.reserve(&buckets).await.unwrap(),
        Decision::Granted(counts.clone())
    );
    let refusal = Decision::Refused {
        counts,
        exhausted: 1,
    };
    assert_eq!(store.reserve(&buckets).await.unwrap(), refusal);
}

pub(crate) async fn takes_from_all_windows_or_from_none(fixture: &impl Fixture) {
    let store = fixture.open();
    let [wide, narrow] = [bucket("u", Some(100)), other_bucket("u", Some(2))];
    for _ in 0..5 {
        store
            .reserve(&[wide.clone(), narrow.clone()])
            .await
            .unwrap();
        store
            .reserve(&[narrow.clone(), wide.clone()])
            .await
            .unwrap();
    }
    assert_eq!(used(&store.read(&[wide, narrow]).await.unwrap()), [2, 2]);
}

pub(crate) async fn refuses_everything_at_a_limit_of_zero(fixture: &impl Fixture) {
    let decision = fixture
        .open()
        .reserve(&[bucket("u", Some(0))])
        .await
        .unwrap();
    assert!(matches!(decision, Decision::Refused { exhausted: 0, .. }));
}

pub(crate) async fn never_refuses_without_a_limit(fixture: &impl Fixture) {
    assert_eq!(granted_of(vec![fixture.open()], 50, u64::MAX).await, 50);
    let store = fixture.open();
    let decision = store.reserve(&[bucket("u", None)]).await.unwrap();
    assert!(matches!(decision, Decision::Granted(counts) if used(&counts) == [51]));
}

pub(crate) async fn gives_back_what_was_taken_and_never_more(fixture: &impl Fixture) {
    let store = fixture.open();
    let buckets = [bucket("u", Some(2)), other_bucket("u", Some(2))];
    store.refund(&buckets).await.unwrap();
    store.record(&buckets[..1]).await.unwrap();
    store.refund(&buckets).await.unwrap();
    store.refund(&buckets).await.unwrap();
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [0, 0]);
    store.reserve(&buckets).await.unwrap();
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [1, 1]);
}

pub(crate) async fn records_beyond_the_limit(fixture: &impl Fixture) {
    let store = fixture.open();
    let buckets = [bucket("u", Some(1))];
    for expected in 1..=3 {
        assert_eq!(used(&store.record(&buckets).await.unwrap()), [expected]);
    }
    assert!(matches!(
        store.reserve(&buckets).await.unwrap(),
        Decision::Refused { .. }
    ));
}

pub(crate) async fn reads_zero_of_what_was_never_touched(fixture: &impl Fixture) {
    let store = fixture.open();
    let buckets = [bucket("nobody", Some(7)), other_bucket("nobody", None)];
    for _ in 0..2 {
        let counts = store.read(&buckets).await.unwrap();
        assert_eq!(used(&counts), [0, 0]);
        assert_eq!(counts[0].limit, Some(7));
        assert_eq!(counts[1].limit, None);
    }
}

pub(crate) async fn grants_a_tier_without_windows(fixture: &impl Fixture) {
    let store = fixture.open();
    assert_eq!(
        store.reserve(&[]).await.unwrap(),
        Decision::Granted(Vec::new())
    );
    assert_eq!(store.read(&[]).await.unwrap(), []);
    store.refund(&[]).await.unwrap();
}

pub(crate) async fn counts_users_with_odd_names_apart(fixture: &impl Fixture) {
    let store = fixture.open();
    let long = "x".repeat(10_000);
    let users = [
        "a:b", "a", "{a}", "}", "*", "a\r\nb", "\0", "a%3Ab", "\u{e4}", "a\u{308}", "", &long,
        "' --",
    ];
    for user in users {
        assert_eq!(
            used(&store.record(&[bucket(user, None)]).await.unwrap()),
            [1],
            "{user:?}"
        );
    }
    for user in users {
        assert_eq!(
            used(&store.read(&[bucket(user, None)]).await.unwrap()),
            [1],
            "{user:?}"
        );
    }
}

pub(crate) async fn a_lease_gives_back_only_when_told(fixture: &impl Fixture) {
    let store = fixture.open();
    let buckets = vec![bucket("u", Some(3))];
    let mut leases = Vec::new();
    for _ in 0..3 {
        store.reserve(&buckets).await.unwrap();
        leases.push(Lease::granted(buckets.clone()));
    }
    leases.pop().unwrap().settle();
    drop(leases.pop());
    leases.pop().unwrap().refund(&store).await.unwrap();
    assert_eq!(used(&store.read(&buckets).await.unwrap()), [2]);
}

pub(crate) async fn answers_a_ping(fixture: &impl Fixture) {
    fixture.open().ping().await.unwrap();
}

macro_rules! shared_suite {
    ($fixture:expr) => {
        suite::shared_suite! { $fixture;
            grants_exactly_ten_of_64_at_once
            grants_exactly_100_of_500_over_two_handles
            says_what_is_used_and_which_window_is_full
            takes_from_all_windows_or_from_none
            refuses_everything_at_a_limit_of_zero
            never_refuses_without_a_limit
            gives_back_what_was_taken_and_never_more
            records_beyond_the_limit
            reads_zero_of_what_was_never_touched
            grants_a_tier_without_windows
            counts_users_with_odd_names_apart
            a_lease_gives_back_only_when_told
            answers_a_ping
        }
    };
    ($fixture:expr; $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                if let Some(fixture) = $fixture {
                    suite::$promise(&fixture).await;
                }
            }
        )*
    };
}
pub(crate) use shared_suite;
