//! Several processes at one file: one test starts others of this program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use quota::{Call, Hold, Operation, SqliteStore, Store as _, Verdict};

use crate::File;
use crate::suite::caller::{Caller, LIVES, PATIENCE, in_parallel, read, reserve, user};

/// Starts one of the ignored tests below in a process of its own, on `file`.
fn process(file: &File, test: &str, before: &str) -> Child {
    let this_program = std::env::current_exe().unwrap();
    let script =
        format!("{before} exec \"$0\" --exact sqlite_processes::{test} --ignored --nocapture");
    let mut process = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(this_program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    writeln!(input, "{}", file.path().display()).unwrap();
    process
}

/// What one of the ignored tests finds of the test that has started it.
fn user_of_another_process() -> Caller<SqliteStore> {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    let store = SqliteStore::open(path.trim_end().as_ref(), LIVES).unwrap();
    Caller::new(store, "u")
}

/// The numbers that another process says under this name, as it says them.
fn said(process: &mut Child, name: &'static str) -> impl Iterator<Item = String> + use<> {
    let output = BufReader::new(process.stdout.take().unwrap());
    output.lines().filter_map(move |line| {
        let line = line.unwrap();
        let (_, text) = line.split_once(name)?;
        Some(text.strip_prefix('=')?.to_owned())
    })
}

#[test]
fn grants_exactly_the_limit_over_four_processes() {
    let file = File::new();
    let processes: Vec<Child> = (0..4)
        .map(|_| process(&file, "one_of_four_processes", ""))
        .collect();
    let granted: usize = processes
        .into_iter()
        .map(|mut process| {
            let granted = said(&mut process, "granted").map(|text| text.parse::<usize>().unwrap());
            let granted = granted.sum::<usize>();
            assert!(process.wait().unwrap().success());
            granted
        })
        .sum();
    assert_eq!(granted, 100);
}

#[tokio::test]
#[ignore = "started by grants_exactly_the_limit_over_four_processes"]
async fn one_of_four_processes() {
    let caller = Rc::new(user_of_another_process());
    let mut granted = 0;
    for turn in 0..10 {
        let calls = (0..10).map(|call| {
            let caller = Rc::clone(&caller);
            async move {
                let bucket = caller.bucket("requests", "day", Some(100));
                let lease = format!("{}-{turn}-{call}", std::process::id());
                caller.take(&lease, &[(&bucket, 1)]).await.verdict
            }
        });
        let verdicts = in_parallel(calls).await;
        granted += verdicts.iter().filter(|one| **one == Verdict::Done).count();
    }
    println!("granted={granted}");
}

#[tokio::test]
async fn loses_nothing_acknowledged_when_a_process_is_killed() {
    let file = File::new();
    let mut process = process(&file, "one_that_is_killed", "");
    let mut acknowledged = said(&mut process, "taken");
    let mut last = 0;
    for text in acknowledged.by_ref().take(200) {
        last = text.parse::<u64>().unwrap();
    }
    process.kill().unwrap();
    process.wait().unwrap();
    // Said before it was killed, and not read yet.
    last = acknowledged.fold(last, |_, text| text.parse().unwrap_or(last));
    assert!(last >= 200, "{last}");
    let caller = user(&file);
    let [requests, tokens] = ["requests", "tokens"].map(|unit| caller.bucket(unit, "day", None));
    let used = caller.used(&[&requests, &tokens]).await;
    assert!(used[0] == last || used[0] == last + 1, "{used:?} {last}");
    assert_eq!(used[1], 7 * used[0], "both windows or none");
    for lease in 1..=last + 1 {
        let claims = [(&requests, 1), (&tokens, 7)];
        caller.fly(&format!("lease-{lease}"), &claims, None).await;
    }
    let reply = caller.look(&[&requests, &tokens]).await;
    assert_eq!(reply.used, [last + 1, 7 * (last + 1)], "asked for twice");
    assert_eq!(reply.flying, last + 1);
}

#[tokio::test]
#[ignore = "started by loses_nothing_acknowledged_when_a_process_is_killed"]
async fn one_that_is_killed() {
    let caller = user_of_another_process();
    let [requests, tokens] = ["requests", "tokens"].map(|unit| caller.bucket(unit, "day", None));
    for lease in 1_u64.. {
        let claims = [(&requests, 1), (&tokens, 7)];
        caller.fly(&format!("lease-{lease}"), &claims, None).await;
        println!("taken={lease}");
    }
}

#[tokio::test]
async fn changes_nothing_when_the_disk_is_full() {
    let file = File::new();
    // A write beyond the limit fails rather than ends the process if the signal is ignored.
    let limited = "trap '' XFSZ; ulimit -f 400;";
    let mut process = process(&file, "one_whose_disk_is_full", limited);
    let said: Vec<String> = said(&mut process, "said").collect();
    assert!(process.wait().unwrap().success(), "{said:?}");
    let [taken, errors @ ..] = said.as_slice() else {
        panic!("it said nothing");
    };
    assert_eq!(errors, ["Misconfigured", "Misconfigured", "readable"]);
    let taken: u64 = taken.parse().unwrap();
    let caller = user(&file);
    let [requests, tokens] = ["requests", "tokens"].map(|unit| caller.bucket(unit, "day", None));
    let used = caller.used(&[&requests, &tokens]).await;
    assert_eq!(used, [taken, 7 * taken]);
    let claims = [(&requests, 1), (&tokens, 7)];
    let refused = format!("lease-{}", taken + 1);
    let reply = caller.fly(&refused, &claims, Some(taken + 1)).await;
    assert_eq!(reply.verdict, Verdict::Done, "there is room again");
    assert_eq!(reply.used, [taken + 1, 7 * (taken + 1)]);
}

#[tokio::test]
#[ignore = "started by changes_nothing_when_the_disk_is_full"]
async fn one_whose_disk_is_full() {
    let caller = user_of_another_process();
    let [requests, tokens] = ["requests", "tokens"].map(|unit| caller.bucket(unit, "day", None));
    let ask = async |operation| {
        let call = Call {
            account: caller.account.clone(),
            seen: None,
            operation,
        };
        caller.store.call(&call, PATIENCE).await
    };
    let claims = [(&requests, 1), (&tokens, 7)];
    let mut taken = 0;
    let error = loop {
        let lease = format!("lease-{}", taken + 1);
        match ask(reserve(&lease, &claims, Hold::Open, None)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    println!("said={taken}");
    println!("said={:?}", error.kind);
    println!("said={:?}", ask(Operation::Probe).await.unwrap_err().kind);
    let reply = ask(read(&[&requests, &tokens])).await.unwrap();
    assert_eq!(reply.used, [taken, 7 * taken]);
    println!("said=readable");
}
