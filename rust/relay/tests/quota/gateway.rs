//! A relay with a quota, and clients that read an answer or leave it.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quota::{OnFailure, Period, Unit, Window};
use relay::client::{Client, Head, Sent};
use relay::core::Core;
use relay::exchange::{Asked, run};
use relay::log::Log;
use relay::metrics::Metrics;
use relay::plan::{Plan, Weights};
use relay::record::Record;
use relay::runtime::{Job, Relay};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wire::Operation;

/// Nothing in these tests takes longer, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const WINDOWS: [Window; 4] = [
    window(Unit::Requests, Some(Period::Day), 5),
    window(Unit::Prompts, Some(Period::Day), 5),
    window(Unit::Tokens, Some(Period::Day), 100_000),
    window(Unit::Concurrent, None, 2),
];

const fn window(unit: Unit, period: Option<Period>, limit: u64) -> Window {
    Window {
        unit,
        period,
        limit: Some(limit),
    }
}

/// When a client leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaves {
    Never,
    /// As soon as anybody asks whether it has.
    AtOnce,
    /// When it has got the first part of an answer.
    Midway,
}

/// What a client has got.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}

struct Reader {
    told: Arc<Mutex<Told>>,
    parts: SyncSender<()>,
    leaves: Leaves,
    has_part: bool,
    watched: Option<oneshot::Sender<()>>,
}

impl Reader {
    fn leave(&mut self) {
        let leaves = match self.leaves {
            Leaves::Never => false,
            Leaves::AtOnce => true,
            Leaves::Midway => self.has_part,
        };
        if leaves && let Some(watched) = self.watched.take() {
            watched.send(()).unwrap();
        }
    }
}

impl Client for Reader {
    async fn send(&mut self, head: Option<Head>, body: Vec<Bytes>, _more: bool) -> Sent {
        let mut told = self.told.lock().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        if let Some(head) = head {
            told.status = head.status;
            let headers = head.headers.iter();
            told.headers = headers
                .map(|(name, value)| (text(name), text(value)))
                .collect();
        }
        told.body.push_str(&text(&body.concat()));
        drop(told);
        self.has_part = true;
        let _ = self.parts.try_send(());
        self.leave();
        Sent::Ready
    }

    fn left(&mut self) -> oneshot::Receiver<()> {
        let (watched, left) = oneshot::channel();
        self.watched = Some(watched);
        self.leave();
        left
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request on its way.
pub(crate) struct Asking {
    told: Arc<Mutex<Told>>,
    parts: Receiver<()>,
    ended: Receiver<()>,
}

impl Asking {
    /// Waits for the first part of the answer.
    pub(crate) fn begun(&self) {
        self.parts.recv_timeout(PATIENCE).unwrap();
    }

    /// What the client has got when it is over.
    pub(crate) fn told(self) -> Told {
        self.ended.recv_timeout(PATIENCE).unwrap();
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

pub(crate) struct Gateway {
    relay: Relay,
    metrics: Arc<Metrics>,
    log: Log,
    lines: Lines,
}

impl Gateway {
    /// A gateway in front of `upstream`, which keeps its accounts in `folder`.
    pub(crate) fn start(folder: &Path, upstream: &str, drain: Duration) -> Self {
        let settings = json!({
            "upstreams": {"u": {
                "urls": [upstream], "apis": ["anthropic", "openai"], "api_key": null, "auth_header": "bearer",
                "ca_file": null, "keep_alive_s": 5, "connect_s": 2, "first_byte_s": 30, "idle_s": 30, "ping_s": 30,
            }},
            "profiles": {"p": {"wire": {"kind": "openai"}, "tokenizer_file": null}},
            "quota": {
                "redis_url": null, "redis_ca_file": null, "sqlite_path": folder.join("quota.sqlite3"),
                "journal_folder": folder.join("journal"), "timezone": "UTC", "timeout_s": 10, "lease_s": 60,
                "share": 0.5, "local_for_s": 600, "cache_read_weight": 0.1, "reserved_output_tokens": 4096,
            },
            "metrics": {"user_label": "name", "user_series": 10},
            "limits": {"exchanges": 100},
        });
        let settings: relay::settings::Settings = serde_json::from_value(settings).unwrap();
        let counters = folder.join(format!("metrics-{}", fastrand::u64(..)));
        std::fs::create_dir(&counters).unwrap();
        let metrics = Arc::new(Metrics::open(&counters, &settings.metrics).unwrap());
        let lines = Lines::default();
        let log = Log::to(lines.clone(), metrics.log_dropped()).unwrap();
        let relay = Relay::start(
            settings,
            Arc::clone(&metrics),
            log.clone(),
            drain,
            |relay| relay(),
        )
        .unwrap();
        Self {
            relay,
            metrics,
            log,
            lines,
        }
    }

    /// Begins a request of alice.
    pub(crate) fn begin(&self, operation: Operation, body: &'static str, leaves: Leaves) -> Asking {
        let told = Arc::default();
        let (parts, seen) = sync_channel(1);
        let (over, ended) = sync_channel(1);
        let client = Reader {
            told: Arc::clone(&told),
            parts,
            leaves,
            has_part: false,
            watched: None,
        };
        let mut record = Record::start(Arc::clone(&self.metrics), self.log.clone(), operation);
        let body = Bytes::from_static(body.as_bytes());
        let peek = wire::peek(&body, operation).unwrap();
        record.stream = peek.stream;
        let asked = Asked {
            user: "alice".into(),
            operation,
            body,
            peek,
            headers: Vec::new(),
            query: String::new(),
        };
        self.submit(move |core| {
            Box::pin(async move {
                run(core, asked, Arc::new(plan()), record, client).await;
                let _ = over.send(());
            })
        });
        Asking {
            told,
            parts: seen,
            ended,
        }
    }

    /// What alice has used of [`WINDOWS`].
    pub(crate) fn used(&self) -> [u64; 4] {
        let (tell, told) = sync_channel(1);
        self.submit(move |core| {
            Box::pin(async move {
                tell.send(core.counts("alice", &WINDOWS).await).unwrap();
            })
        });
        let counts = told.recv_timeout(PATIENCE).unwrap().unwrap();
        let used: Vec<_> = counts.iter().map(|count| count.used).collect();
        used.try_into().unwrap()
    }

    /// The access record of the last request.
    pub(crate) fn record(&self) -> Value {
        self.log.flush();
        let lines = self.lines.0.lock().unwrap();
        let line = String::from_utf8_lossy(&lines);
        let mut records = line
            .lines()
            .filter(|line| line.contains(r#""event":"request""#));
        serde_json::from_str(records.next_back().unwrap()).unwrap()
    }

    pub(crate) fn page(&self) -> String {
        self.metrics.render()
    }

    /// Ends the gateway as a signal would.
    pub(crate) fn stop(mut self) {
        self.relay.close().unwrap().join().unwrap();
    }

    fn submit(&self, job: impl FnOnce(std::rc::Rc<Core>) -> Job + Send + 'static) {
        let ticket = self.relay.admit().unwrap();
        self.relay.submit(ticket, job);
    }
}

fn plan() -> Plan {
    Plan {
        tier: "free".into(),
        asked: "m".into(),
        model: "m".into(),
        served: "m".into(),
        wire_model: "m".into(),
        upstream: "u".into(),
        profile: "p".into(),
        adapt: false,
        windows: WINDOWS.to_vec(),
        weights: Weights {
            requests: 1,
            prompts: 1,
            tokens: 2.0,
        },
        on_failure: OnFailure::Local,
    }
}
