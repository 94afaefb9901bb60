//! Where an account stands, what is done when it has gone back, and what an operator changes.

use quota::{Bucket, Hold, Operation, Store, Verdict, Version};

use super::Fixture;
use super::caller::{Caller, LIVES, PATIENCE, amounts, id, now_ms, read, reserve, settle, user};

/// The same account with more changes than the store knows of, as if it had lost some.
fn later(version: Version) -> Version {
    Version {
        sequence: version.sequence + 10,
        ..version
    }
}

pub(crate) async fn grows_with_every_change_and_only_with_changes(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    let taken = caller.fly("lease", &[(&tokens, 60)], None).await;
    let Version { epoch, sequence } = taken.version.unwrap();
    assert_eq!(sequence, 1);
    let extended = caller.extend("lease").await;
    let settled = caller.settle("lease", &[(&tokens, 60, 70)]).await;
    for (reply, sequence) in [(extended, 2), (settled, 3)] {
        assert_eq!(reply.version, Some(Version { epoch, sequence }));
    }
    let unchanged = [
        caller.look(&[&tokens]).await,
        caller.settle("lease", &[(&tokens, 60, 70)]).await,
        caller.fly("lease", &[(&tokens, 60)], None).await,
        caller.fly("more", &[(&tokens, 60)], None).await,
        caller.fly("crowd", &[], Some(0)).await,
    ];
    for reply in unchanged {
        let version = Some(Version { epoch, sequence: 3 });
        assert_eq!(reply.version, version, "{reply:?}");
    }
}

pub(crate) async fn does_nothing_for_who_saw_more(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    let taken = caller.fly("lease", &[(&tokens, 40)], None).await;
    let known = taken.version.unwrap();
    let other_epoch = Version {
        epoch: known.epoch + 1,
        sequence: 0,
    };
    for seen in [later(known), other_epoch] {
        let operations = [
            reserve("more", &[(&tokens, 1)], Hold::Open, None),
            settle("lease", &[(&tokens, 40, 0)], true),
            settle("lost", &[(&tokens, 0, 9)], true),
            Operation::Extend {
                lease: id("lease"),
                hold: Hold::Open,
            },
            read(&[&tokens]),
            set(&caller, 3, "{}"),
        ];
        for operation in operations {
            let reply = caller.call_after(Some(seen), operation).await;
            assert_eq!(reply.verdict, Verdict::Older);
            assert_eq!(reply.version, Some(known));
        }
    }
    let reply = caller.look(&[&tokens]).await;
    assert_eq!((reply.used, reply.flying), (vec![40], 1));
    assert_eq!(reply.version, Some(known));
    let current = caller.call_after(Some(known), read(&[&tokens])).await;
    assert_eq!(current.verdict, Verdict::Done);
}

pub(crate) async fn raises_counters_and_never_lowers_them(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(10));
    let tokens = caller.bucket("tokens", "day", Some(100));
    let taken = caller.take("lease", &[(&requests, 5), (&tokens, 50)]).await;
    let floors = amounts(&[(&requests, 3), (&tokens, 80)]);
    let restore = Operation::Restore { floors };
    let known = taken.version.unwrap();
    for _ in 0..2 {
        let reply = caller.call_after(Some(later(known)), restore.clone()).await;
        assert_eq!((reply.verdict, reply.used), (Verdict::Done, vec![5, 80]));
        assert_ne!(reply.version.unwrap().epoch, known.epoch);
    }
    assert_eq!(caller.used(&[&requests, &tokens]).await, [5, 80]);
}

pub(crate) async fn restores_an_account_that_is_gone(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    let lost = Version {
        epoch: 1_700_000_000_000_000,
        sequence: 40,
    };
    let seen = Some(lost);
    let reserve = reserve("lease", &[(&tokens, 20)], Hold::Open, None);
    let older = caller.call_after(seen, reserve.clone()).await;
    assert_eq!((older.verdict, older.version), (Verdict::Older, None));
    let floors = amounts(&[(&tokens, 70)]);
    let restored = caller.call_after(seen, Operation::Restore { floors }).await;
    assert_eq!((restored.verdict, restored.used), (Verdict::Done, vec![70]));
    assert_ne!(restored.version.unwrap().epoch, lost.epoch);
    let taken = caller.call_after(restored.version, reserve).await;
    assert_eq!((taken.verdict, taken.used), (Verdict::Done, vec![90]));
}

pub(crate) async fn restores_for_two_who_saw_more_without_end(fixture: &impl Fixture) {
    let callers = [user(fixture), user(fixture)];
    let tokens = callers[0].bucket("tokens", "day", None);
    let taken = callers[0].take("before", &[(&tokens, 5)]).await;
    let mut seen = [Some(later(taken.version.unwrap())); 2];
    let floors = [amounts(&[(&tokens, 30)]), amounts(&[(&tokens, 40)])];
    let take = |lease| reserve(lease, &[(&tokens, 1)], Hold::Settled, None);
    for (place, caller) in callers.iter().enumerate() {
        let older = caller.call_after(seen[place], take("lease")).await;
        assert_eq!(older.verdict, Verdict::Older);
        let floors = floors[place].clone();
        let restored = caller
            .call_after(seen[place], Operation::Restore { floors })
            .await;
        seen[place] = restored.version;
    }
    assert_eq!(
        seen[0].unwrap().epoch,
        seen[1].unwrap().epoch,
        "the second found the account restored already"
    );
    for (place, lease) in [(0, "a"), (1, "b"), (0, "c"), (1, "d")] {
        let reply = callers[place].call_after(seen[place], take(lease)).await;
        assert_eq!(reply.verdict, Verdict::Done, "{lease}");
        seen[place] = reply.version;
    }
    assert_eq!(callers[0].used(&[&tokens]).await, [44]);
}

pub(crate) async fn reopens_a_lease_without_counting_it(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    caller.take("before", &[(&tokens, 50)]).await;
    let reopen = |lease, hold| Operation::Reopen {
        lease: id(lease),
        claims: amounts(&[(&tokens, 40)]),
        hold,
    };
    for (lease, hold, flying) in [("open", Hold::Open, 1), ("settled", Hold::Settled, 1)] {
        for _ in 0..2 {
            let reply = caller.call(reopen(lease, hold)).await;
            assert_eq!((reply.verdict, reply.flying), (Verdict::Done, flying));
            assert_eq!(reply.used, [50]);
        }
    }
    let known = caller.fly("open", &[(&tokens, 40)], None).await;
    assert_eq!((known.verdict, known.used), (Verdict::Done, vec![50]));
    let ended = caller.settle("open", &[(&tokens, 0, 25)]).await;
    assert_eq!((ended.verdict, ended.used), (Verdict::Done, vec![35]));
    assert_eq!(ended.flying, 0);
}

pub(crate) async fn reopens_nothing_that_is_known(fixture: &impl Fixture) {
    let caller = user(fixture);
    let tokens = caller.bucket("tokens", "day", Some(100));
    let reopen = |lease| Operation::Reopen {
        lease: id(lease),
        claims: amounts(&[(&tokens, 99)]),
        hold: Hold::Open,
    };
    caller.fly("open", &[(&tokens, 10)], None).await;
    let reply = caller.call(reopen("open")).await;
    assert_eq!((reply.verdict, reply.flying), (Verdict::Done, 1));
    let ended = caller.settle("open", &[(&tokens, 10, 4)]).await;
    assert_eq!((ended.verdict, ended.used), (Verdict::Done, vec![4]));
    assert_eq!(caller.call(reopen("open")).await.flying, 0);
    let again = caller.settle("open", &[(&tokens, 10, 4)]).await;
    assert_eq!((again.verdict, again.used), (Verdict::Ended, vec![4]));
}

fn set(caller: &Caller<impl Store>, used: u64, note: &str) -> Operation {
    set_in(caller.bucket("requests", "day", Some(10)), used, note)
}

fn set_in(bucket: Bucket, used: u64, note: &str) -> Operation {
    Operation::Set {
        bucket,
        used,
        note: note.to_owned(),
    }
}

pub(crate) async fn sets_a_counter_and_says_what_was_there(fixture: &impl Fixture) {
    let caller = user(fixture);
    let requests = caller.bucket("requests", "day", Some(10));
    for (before, used) in [(0, 10), (10, 3), (3, 0), (0, 0), (0, 10)] {
        let reply = caller.call(set(&caller, used, "{}")).await;
        assert_eq!((reply.verdict, reply.used), (Verdict::Done, vec![before]));
        assert_eq!(caller.used(&[&requests]).await, [used]);
    }
    let full = caller.take("lease", &[(&requests, 1)]).await;
    assert_eq!(full.verdict, Verdict::Full(0));
    caller.call(set(&caller, 9, "{}")).await;
    let taken = caller.take("lease", &[(&requests, 1)]).await;
    assert_eq!((taken.verdict, taken.used), (Verdict::Done, vec![10]));
}

pub(crate) async fn sets_nothing_in_a_bucket_of_another_time(fixture: &impl Fixture) {
    const DAY_MS: u64 = 86_400_000;
    let caller = user(fixture);
    let yesterday = caller.bucket_at("requests", "day", Some(10), now_ms() - DAY_MS);
    let reply = caller.call(set_in(yesterday, 5, "{}")).await;
    assert_eq!(reply.verdict, Verdict::Moved);
    assert!(reply.now_ms.abs_diff(now_ms()) < 10_000, "{reply:?}");
    let notes = caller.store.notes(&caller.account, PATIENCE).await.unwrap();
    assert_eq!(notes, [""; 0]);
    assert_eq!(caller.look(&[]).await.version, None);
}

pub(crate) async fn keeps_the_last_hundred_notes(fixture: &impl Fixture) {
    let caller = user(fixture);
    let other = Caller::new(fixture.open(LIVES), "v");
    let note = |number| format!(r#"{{"used": {number}, "why": "it's \u00e4 \"test\""}}"#);
    for number in 0..105 {
        caller.call(set(&caller, number, &note(number))).await;
        if number % 50 == 0 {
            other.call(set(&other, number, &note(number))).await;
        }
    }
    let notes = caller.store.notes(&caller.account, PATIENCE).await.unwrap();
    let expected: Vec<String> = (5..105).rev().map(note).collect();
    assert_eq!(notes, expected);
    let notes = other.store.notes(&other.account, PATIENCE).await.unwrap();
    assert_eq!(notes, [note(100), note(50), note(0)]);
}
