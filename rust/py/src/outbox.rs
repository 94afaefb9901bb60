//! Parts of answers on their way from the relay's thread to the server.
//!
//! What the tasks that are ready now have to send goes out together, in one hold of the interpreter: each hold may have to
//! wait for the event loop to let go, and lets nothing else of the relay run meanwhile. Nothing waits for work that is not
//! ready yet.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use pyo3::prelude::*;
use relay::client::{Head, Sent};

use crate::send::Ends;

thread_local! {
    static OUTBOX: Outbox = const {
        Outbox { slots: RefCell::new(Vec::new()), going: Cell::new(false) }
    };
}

/// Slots with a part that has not gone, of all exchanges of this thread.
struct Outbox {
    slots: RefCell<Vec<Rc<Slot>>>,
    /// Whether a task is about to send them.
    going: Cell<bool>,
}

/// A part of an answer: the head if it has not gone yet, then `body`.
pub(crate) struct Part {
    pub(crate) head: Option<Head>,
    pub(crate) body: Vec<Bytes>,
    pub(crate) more: bool,
}

/// Where one exchange puts its parts, one at a time.
pub(crate) struct Slot {
    pub(crate) ends: RefCell<Ends>,
    part: Cell<Option<Part>>,
    sent: Cell<Option<Sent>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    pub(crate) fn new(ends: Ends) -> Rc<Self> {
        Rc::new(Self {
            ends: RefCell::new(ends),
            part: Cell::default(),
            sent: Cell::default(),
            waker: Cell::default(),
        })
    }

    /// Sends `part` with those of the others.
    pub(crate) async fn send(self: Rc<Self>, part: Part) -> Sent {
        self.part.set(Some(part));
        OUTBOX.with(|outbox| {
            outbox.slots.borrow_mut().push(Rc::clone(&self));
            if !outbox.going.replace(true) {
                // Behind everything that is ready now.
                tokio::task::spawn_local(async { flush() });
            }
        });
        poll_fn(|context| {
            if let Some(sent) = self.sent.take() {
                return Poll::Ready(sent);
            }
            self.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    fn go(&self, py: Option<Python<'_>>) {
        let Some(part) = self.part.take() else {
            return;
        };
        let sent = py.and_then(|py| self.ends.borrow_mut().send(py, &part).ok());
        // The server refuses messages of a connection that is over; so does an interpreter that is.
        self.sent.set(Some(sent.unwrap_or(Sent::Gone)));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn flush() {
    let slots = OUTBOX.with(|outbox| {
        outbox.going.set(false);
        outbox.slots.take()
    });
    let sent = Python::try_attach(|py| {
        for slot in &slots {
            slot.go(Some(py));
        }
    });
    if sent.is_none() {
        for slot in &slots {
            slot.go(None);
        }
    }
}
