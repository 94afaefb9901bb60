//! A connection that is cut at any moment, a hundred thousand times: the accounts stay exact.

#![cfg(test)]

#[expect(dead_code, reason = "other tests need more of it")]
mod redis_server;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quota::{
    Account, Bucket, Calendar, Call, Claim, Closing, Hold, LeaseId, Lives, Operation, RedisStore,
    Reply, Store, Verdict, Window,
};
use redis_server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const CUTS: u64 = 100_000;
const CALLERS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(5);
const LIMIT: u64 = 1_000_000_000;

/// A relay in front of Redis that cuts what it carries.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    async fn start(redis_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        tokio::task::spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::task::spawn_local(async move {
                    let server = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
                    let _ = carry(client, server, &counted).await;
                });
            }
        });
        Self { port, cuts }
    }

    fn is_done(&self) -> bool {
        self.cuts.load(Ordering::Relaxed) >= CUTS
    }
}

/// Carries bytes until it is time to cut: before a command is sent on, after it, or in the middle of its reply.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    cuts: &AtomicU64,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asked, mut told) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                // The first commands of a connection introduce the client: only scripts are worth a cut.
                let is_script = asked[..length].windows(4).any(|word| word == b"EVAL");
                match fastrand::u8(..8) {
                    0 if is_script => {
                        cuts.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    1 if is_script => {
                        server.write_all(&asked[..length]).await?;
                        // The command ran, and its reply is lost.
                        let _ = server.read(&mut told).await?;
                        cuts.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    2 if is_script => {
                        server.write_all(&asked[..length / 2]).await?;
                        cuts.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    3 if is_script => {
                        server.write_all(&asked[..length]).await?;
                        let length = server.read(&mut told).await?;
                        client.write_all(&told[..length / 2]).await?;
                        cuts.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    _ => server.write_all(&asked[..length]).await?,
                }
            }
            read = server.read(&mut told) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                client.write_all(&told[..length]).await?;
            }
        }
    }
}

/// One caller's account, and what it should say.
struct Caller {
    store: RedisStore,
    account: Account,
    buckets: Vec<Bucket>,
    expected: Vec<u64>,
    leases: u64,
    failures: u64,
}

impl Caller {
    fn new(number: u64, port: u16) -> Self {
        let account = Account::of(&format!("caller-{number}"));
        let calendar = Calendar::new("UTC").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = u64::try_from(now.as_millis()).unwrap();
        let windows = [("requests", "month"), ("tokens", "month")];
        let buckets = windows.map(|(unit, period)| {
            let window = Window::parse(unit, Some(period), Some(LIMIT)).unwrap();
            calendar.bucket(&account, window, now_ms).unwrap()
        });
        let url = format!("redis://127.0.0.1:{port}");
        Self {
            store: RedisStore::new(&url, None, Lives::of_lease(60_000), Box::new(|_| {})).unwrap(),
            account,
            buckets: buckets.to_vec(),
            expected: vec![0, 0],
            leases: 0,
            failures: 0,
        }
    }

    /// Asks until there is an answer, as whoever must not lose a unit does.
    async fn insist(&mut self, operation: Operation) -> Reply {
        let call = Call {
            account: self.account.clone(),
            seen: None,
            operation,
        };
        loop {
            match self.store.call(&call, PATIENCE).await {
                Ok(reply) => return reply,
                Err(_) => self.failures += 1,
            }
        }
    }

    async fn one_request(&mut self) {
        self.leases += 1;
        let lease = LeaseId::new(format!("lease-{}", self.leases)).unwrap();
        let taken = [1, fastrand::u64(1..5_000)];
        let claims = self.buckets.iter().zip(taken);
        let claims = claims.map(|(bucket, amount)| Claim {
            bucket: bucket.clone(),
            amount,
        });
        let reserve = Operation::Reserve {
            lease: lease.clone(),
            claims: claims.collect(),
            hold: Hold::Open,
            places: None,
        };
        assert_eq!(self.insist(reserve).await.verdict, Verdict::Done);
        let used = match fastrand::u8(..4) {
            0 => [0, 0],
            1 => taken,
            _ => [1, fastrand::u64(..10_000)],
        };
        let closings = self.buckets.iter().zip(taken).zip(used);
        let closings = closings.map(|((bucket, taken), used)| Closing {
            bucket: bucket.clone(),
            taken,
            used,
        });
        let settle = Operation::Settle {
            lease,
            closings: closings.collect(),
            sure: false,
        };
        self.insist(settle).await;
        for (expected, used) in self.expected.iter_mut().zip(used) {
            *expected += used;
        }
    }
}

#[tokio::test]
async fn stays_exact_over_a_hundred_thousand_cuts() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    LocalSet::new()
        .run_until(async {
            let cutter = Rc::new(Cutter::start(server.port).await);
            let callers = (0..CALLERS).map(|number| {
                let cutter = Rc::clone(&cutter);
                tokio::task::spawn_local(async move {
                    let mut caller = Caller::new(number, cutter.port);
                    while !cutter.is_done() {
                        caller.one_request().await;
                    }
                    caller
                })
            });
            let mut leases = 0;
            for caller in callers.collect::<Vec<_>>() {
                let caller = caller.await.unwrap();
                leases += caller.leases;
                assert!(caller.failures > 0, "no cut was ever felt");
                // Past the cutter, so that the last look cannot fail.
                let direct = Caller {
                    store: Caller::new(0, server.port).store,
                    ..caller
                };
                let read = Call {
                    account: direct.account.clone(),
                    seen: None,
                    operation: Operation::Read {
                        buckets: direct.buckets.clone(),
                    },
                };
                let reply = direct.store.call(&read, PATIENCE).await.unwrap();
                assert_eq!(reply.used, direct.expected);
                assert_eq!(reply.flying, 0);
            }
            assert!(leases > CUTS / 4, "{leases} leases");
        })
        .await;
}
