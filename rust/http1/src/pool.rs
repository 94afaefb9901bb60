//! Connections that wait for their next request.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::connection::Connection;

/// How often those that wait are looked at: one whose peer has closed it holds a socket until then.
const LOOK: Duration = Duration::from_secs(1);

/// Idle connections to one server, the last used at the end.
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// How long a connection may wait.
    keep: Duration,
    sweeper: Cell<Option<AbortHandle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(keep: Duration) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            keep,
            sweeper: Cell::default(),
        })
    }

    /// A connection that its peer has not closed, as far as is known.
    pub(crate) fn take(&self) -> Option<Connection> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.since.elapsed() < self.keep && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn give(self: &Rc<Self>, connection: Connection) {
        let since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.push(Idle { connection, since });
        if idle.len() == 1 {
            self.sweep();
        }
    }

    /// Looks after those that wait, until there are none.
    fn sweep(self: &Rc<Self>) {
        let sweeper = self.sweeper.take();
        if let Some(sweeper) = sweeper.filter(|sweeper| !sweeper.is_finished()) {
            self.sweeper.set(Some(sweeper));
            return;
        }
        let pool = Rc::downgrade(self);
        let sweeper = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(pool) = pool.upgrade() else { break };
                let mut idle = pool.idle.borrow_mut();
                idle.retain_mut(|one| one.since.elapsed() < pool.keep && one.connection.is_quiet());
                if idle.is_empty() {
                    // The next that is given back begins anew.
                    pool.sweeper.take();
                    break;
                }
            }
        });
        self.sweeper.set(Some(sweeper.abort_handle()));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.take() {
            sweeper.abort();
        }
    }
}
