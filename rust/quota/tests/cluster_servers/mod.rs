//! A real cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::redis_server::{Server, free_port};

const SLOTS: usize = 16_384;
const PRIMARIES: usize = 3;

/// Three primaries, and perhaps a replica of each.
pub(crate) struct Cluster {
    pub(crate) primaries: Vec<Server>,
    pub(crate) replicas: Vec<Server>,
}

/// A cluster that several tests use, one after the other: a new one is not writable for two seconds.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
    pub(crate) cluster: Arc<Cluster>,
}

impl Cluster {
    /// Three primaries that share all slots.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::of(arguments, 0)
    }

    /// Three primaries, each with a replica that has its data.
    pub(crate) fn with_replicas(arguments: &[&str]) -> Option<Self> {
        Self::of(arguments, 3)
    }

    /// The one that tests share, with nothing in it, until this test has ended.
    pub(crate) fn shared() -> Option<Turn> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        static TURN: Mutex<()> = Mutex::new(());
        let cluster = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            let running = shared.upgrade();
            let cluster = match running {
                Some(cluster) => cluster,
                None => Arc::new(Self::start(&[])?),
            };
            *shared = Arc::downgrade(&cluster);
            cluster
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &cluster.primaries {
            node.ask::<()>(&["FLUSHALL"]);
        }
        Some(Turn {
            _turn: turn,
            cluster,
        })
    }

    fn of(arguments: &[&str], replicas: usize) -> Option<Self> {
        let mut primaries = (0..PRIMARIES + replicas)
            .map(|_| node(arguments))
            .collect::<Option<Vec<_>>>()?;
        for (number, primary) in primaries[..PRIMARIES].iter().enumerate() {
            let epoch = (number + 1).to_string();
            let first = (number * SLOTS).div_ceil(PRIMARIES).to_string();
            let last = (((number + 1) * SLOTS).div_ceil(PRIMARIES) - 1).to_string();
            primary.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            primary.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        // Each is introduced to each: left to themselves they would take seconds to hear of one another.
        for (number, one) in primaries.iter().enumerate() {
            for other in &primaries[number + 1..] {
                let (port, bus_port) = (client_port(other), setting(other, "cluster-port"));
                one.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]);
            }
        }
        let all = primaries.len().to_string();
        for node in &primaries {
            wait_for("the nodes to agree", || {
                said(node, "cluster_state") == "ok"
                    && said(node, "cluster_slots_assigned") == SLOTS.to_string()
                    && said(node, "cluster_size") == PRIMARIES.to_string()
                    && said(node, "cluster_known_nodes") == all
            });
        }
        let replicas = primaries.split_off(PRIMARIES);
        for (replica, primary) in replicas.iter().zip(&primaries) {
            replica.ask::<()>(&["CLUSTER", "REPLICATE", &id(primary)]);
        }
        for replica in &replicas {
            wait_for("a replica to follow", || {
                let said: String = replica.ask(&["INFO", "replication"]);
                said.contains("role:slave") && said.contains("master_link_status:up")
            });
        }
        Some(Self {
            primaries,
            replicas,
        })
    }

    /// The URL that names one node; the others are learned from it.
    pub(crate) fn url(&self) -> String {
        format!(
            "redis+cluster://127.0.0.1:{}",
            client_port(&self.primaries[1])
        )
    }

    /// The index of the primary that owns the slot of `key`, as it was when the cluster started.
    pub(crate) fn owner_of(&self, key: &str) -> usize {
        let slot = self.slot_of(key);
        (0..PRIMARIES)
            .find(|number| slot < ((number + 1) * SLOTS).div_ceil(PRIMARIES))
            .unwrap()
    }

    /// The slot of `key`.
    pub(crate) fn slot_of(&self, key: &str) -> usize {
        self.primaries[1].ask(&["CLUSTER", "KEYSLOT", key])
    }

    /// The migration of the slot of `key` from its owner to the next node.
    pub(crate) fn migration_of(&self, key: &str) -> Migration<'_> {
        let from = self.owner_of(key);
        Migration {
            slot: self.slot_of(key).to_string(),
            from: &self.primaries[from],
            to: &self.primaries[(from + 1) % PRIMARIES],
        }
    }
}

/// A slot on its way from one node to another.
pub(crate) struct Migration<'a> {
    slot: String,
    pub(crate) from: &'a Server,
    pub(crate) to: &'a Server,
}

impl Migration<'_> {
    /// Tells both nodes; the keys are where they were.
    pub(crate) fn begin(&self) {
        let slot = ["CLUSTER", "SETSLOT", &self.slot];
        let (from, to) = (id(self.from), id(self.to));
        self.to
            .ask::<()>(&[&slot[..], &["IMPORTING", &from]].concat());
        self.from
            .ask::<()>(&[&slot[..], &["MIGRATING", &to]].concat());
    }

    /// Moves all keys; the slot still belongs to the first node.
    pub(crate) fn move_keys(&self) {
        let port = self.to.port.to_string();
        loop {
            let list = ["CLUSTER", "GETKEYSINSLOT", &self.slot, "10"];
            let keys: Vec<String> = self.from.ask(&list);
            if keys.is_empty() {
                return;
            }
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            command.extend(keys.iter().map(String::as_str));
            self.from.ask::<redis::Value>(&command);
        }
    }

    /// Gives the slot to the second node.
    pub(crate) fn end(&self) {
        let to = id(self.to);
        for node in [self.to, self.from] {
            node.ask::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &to]);
        }
        // A node that moves the slot again before it has heard of this would not know that its word is the newer one.
        wait_for("both nodes to know of it", || {
            let epoch = |node| said(node, "cluster_current_epoch");
            epoch(self.to) == epoch(self.from)
        });
    }

    pub(crate) fn back(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            from: self.to,
            to: self.from,
        }
    }
}

/// The id of a node.
pub(crate) fn id(node: &Server) -> String {
    node.ask(&["CLUSTER", "MYID"])
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn node(arguments: &[&str]) -> Option<Server> {
    // By default the bus is at the port and ten thousand, which a free port need not allow.
    let bus_port = free_port().to_string();
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus_port];
    all.extend(["--cluster-node-timeout", "2000"]);
    all.extend(["--cluster-require-full-coverage", "no"]);
    let tls_port = free_port().to_string();
    if arguments.contains(&"--tls-cluster") {
        all.extend(["--tls-port", &tls_port]);
    }
    all.extend(arguments);
    Server::start(&all)
}

/// One value of what a node tells of the cluster.
fn said(node: &Server, name: &str) -> String {
    let text: String = node.ask(&["CLUSTER", "INFO"]);
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).unwrap().1.to_owned()
}

/// The port that a node announces: the one of TLS, if it has one.
fn client_port(node: &Server) -> String {
    let tls_port = setting(node, "tls-port");
    if tls_port == "0" {
        node.port.to_string()
    } else {
        tls_port
    }
}

fn setting(node: &Server, name: &str) -> String {
    let pair: Vec<String> = node.ask(&["CONFIG", "GET", name]);
    pair[1].clone()
}
