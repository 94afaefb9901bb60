//! `load-quota`: calls of the quota store as the gateway makes them, for the store itself to say what they cost.

mod options;

use std::cell::Cell;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quota::{
    Account, Bucket, Calendar, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, Period,
    RedisStore, Reply, Store as _, Unit, Verdict, Window,
};
use tokio::task::{JoinSet, LocalSet};

use crate::options::{Options, USAGE};

/// Calls that wait for their answer at once, as those of a busy gateway do.
const AT_ONCE: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(30);
const LEASE_MS: u64 = 60_000;
const PLENTY: u64 = 1_000_000_000;

/// What a tier counts that has as many windows as are asked for.
const WINDOWS: [(Unit, Period); options::MOST_WINDOWS] = [
    (Unit::Requests, Period::Day),
    (Unit::Tokens, Period::Day),
    (Unit::Prompts, Period::Day),
    (Unit::Requests, Period::Hour),
    (Unit::Tokens, Period::Month),
    (Unit::Requests, Period::Week),
];

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "load-quota: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Failure> {
    let options = Options::parse(lexopt::Parser::from_env())?;
    let lives = Lives::of_lease(LEASE_MS);
    let store = RedisStore::new(&options.url, None, lives, Box::new(|_| ()))
        .map_err(|fault| fault.message)?;
    let load = Rc::new(Load {
        store,
        calendar: Calendar::new("UTC").map_err(|fault| fault.message)?,
        options,
        next: Cell::new(0),
    });
    let callers = LocalSet::new();
    let mut running = JoinSet::new();
    for _ in 0..AT_ONCE {
        let load = Rc::clone(&load);
        running.spawn_local_on(async move { load.run().await }, &callers);
    }
    callers
        .run_until(async {
            while let Some(ended) = running.join_next().await {
                ended.map_err(|error| error.to_string())??;
            }
            Ok(())
        })
        .await
}

struct Load {
    store: RedisStore,
    calendar: Calendar,
    options: Options,
    next: Cell<u64>,
}

impl Load {
    /// One caller: as long as there is something to do.
    async fn run(&self) -> Result<(), String> {
        loop {
            let turn = self.next.get();
            let (user, ends) = match self.options.calls {
                Some(calls) if turn < calls => {
                    (scattered(turn) % self.options.users, !self.options.settled)
                }
                None if turn < self.options.users - self.options.from => {
                    (self.options.from + turn, false)
                }
                _ => return Ok(()),
            };
            self.next.set(turn + 1);
            self.request(user, turn, ends).await?;
        }
    }

    /// What a request costs the store: a lease, and its settlement if it `ends`.
    async fn request(&self, user: u64, turn: u64, ends: bool) -> Result<(), String> {
        let account = Account::of(&format!("user-{user}"));
        let lease = LeaseId::new(format!("{:032x}", scattered(now_ms() ^ (turn << 24))))
            .ok_or("no lease can have this id")?;
        let buckets = self.buckets(&account, now_ms());
        let claims = buckets.iter().map(|bucket| Claim {
            bucket: bucket.clone(),
            amount: 1,
        });
        self.call(
            &account,
            Operation::Reserve {
                lease: lease.clone(),
                claims: claims.collect(),
                hold: if ends { Hold::Open } else { Hold::Settled },
                places: None,
            },
        )
        .await?;
        if ends {
            let closings = buckets.into_iter().map(|bucket| Closing {
                bucket,
                taken: 1,
                used: 2,
            });
            let closings = closings.collect();
            let sure = true;
            self.call(
                &account,
                Operation::Settle {
                    lease,
                    closings,
                    sure,
                },
            )
            .await?;
        }
        Ok(())
    }

    fn buckets(&self, account: &Account, now_ms: u64) -> Vec<Bucket> {
        let windows = WINDOWS[..self.options.windows].iter();
        let windows = windows.map(|(unit, period)| Window {
            unit: *unit,
            period: Some(*period),
            limit: Some(PLENTY),
        });
        windows
            .filter_map(|window| self.calendar.bucket(account, window, now_ms))
            .collect()
    }

    async fn call(&self, account: &Account, operation: Operation) -> Result<Reply, String> {
        let call = Call {
            account: account.clone(),
            seen: None,
            operation,
        };
        let reply = self.store.call(&call, PATIENCE).await;
        let reply = reply.map_err(|error| error.to_string())?;
        match reply.verdict {
            Verdict::Done => Ok(reply),
            other => Err(format!("the store answered {other:?}")),
        }
    }
}

fn now_ms() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| {
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A number that looks like chance, the same for the same turn: `SplitMix64`.
const fn scattered(turn: u64) -> u64 {
    let mut mixed = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
