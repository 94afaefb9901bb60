//! Notices that a client has left, at a price that short answers never pay.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::Client;

/// A watch on the client, armed when an answer turns out to take its time.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    armed: Option<oneshot::Receiver<()>>,
    over: bool,
}

impl Watch {
    /// How long an answer may take before the watch is worth its price.
    pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

    /// Whether [`Watch::arm`] has been called.
    pub(crate) fn armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Starts watching; does nothing the second time.
    pub(crate) fn arm(&mut self, client: &mut impl Client) {
        if self.armed.is_none() {
            self.armed = Some(client.left());
        }
    }

    /// Resolves when the client has left; never while not armed.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(crate) async fn left(&mut self) {
        if let Some(receiver) = self.armed.as_mut().filter(|_| !self.over) {
            if receiver.await.is_ok() {
                return;
            }
            // The server let go of its end without telling: there is nothing left to wait for.
            self.over = true;
        }
        std::future::pending::<()>().await;
    }
}
