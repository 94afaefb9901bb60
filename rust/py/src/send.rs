//! The server's `send` and `receive`, called from the relay's own thread.
//!
//! What is relied on, read in and measured with Granian 2.8: both are plain methods that may be called from any
//! thread that holds the interpreter. `send` copies the body, and answers with an awaitable of one type when the
//! message was taken ("ready", the type that the head always gets) and of another when its queue of four is full;
//! that one has `add_done_callback`, and nothing more may be sent before it fires. A send to a client that has left
//! says nothing; only `receive` tells.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyType};
use relay::client::{Client, Head, Sent};
use std::rc::Rc;
use std::sync::Mutex;
use tokio::sync::oneshot;

use crate::future::Completion;
use crate::outbox::{Part, Slot};

/// The client behind one ASGI request. Dropping it wakes the coroutine that waits for the exchange.
pub(crate) struct AsgiClient(Rc<Slot>);

impl AsgiClient {
    pub(crate) fn new(ends: Ends) -> Self {
        Self(Slot::new(ends))
    }
}

impl Client for AsgiClient {
    fn send(
        &mut self,
        head: Option<Head>,
        body: Vec<Bytes>,
        more: bool,
    ) -> impl Future<Output = Sent> {
        Rc::clone(&self.0).send(Part { head, body, more })
    }

    fn left(&mut self) -> oneshot::Receiver<()> {
        self.0.ends.borrow().left()
    }
}

/// What the server gave for one ASGI request, and the future that its coroutine waits for.
pub(crate) struct Ends {
    server: Option<Server>,
    completion: Option<Completion>,
}

struct Server {
    send: Py<PyAny>,
    receive: Py<PyAny>,
    /// The type of awaitable that means "taken".
    ready: Option<Py<PyType>>,
    /// One message for all parts of a body: the server copies what it takes.
    part: Option<Py<PyDict>>,
}

impl Ends {
    pub(crate) fn new(send: Py<PyAny>, receive: Py<PyAny>, completion: Completion) -> Self {
        Self {
            server: Some(Server {
                send,
                receive,
                ready: None,
                part: None,
            }),
            completion: Some(completion),
        }
    }

    /// Hands a part to the server; with the last one the coroutine goes on.
    pub(crate) fn send(&mut self, py: Python<'_>, part: &Part) -> PyResult<Sent> {
        let Some(server) = &mut self.server else {
            return Ok(Sent::Gone);
        };
        if let Some(head) = &part.head {
            server.start(py, head)?;
        }
        let sent = server.body(py, &part.body, part.more)?;
        if !part.more && matches!(sent, Sent::Ready) {
            // In the same hold of the interpreter, as is letting go of what is Python's.
            self.server = None;
            if let Some(completion) = self.completion.take() {
                completion.finish(py);
            }
        }
        Ok(sent)
    }

    fn left(&self) -> oneshot::Receiver<()> {
        let (signal, left) = oneshot::channel();
        if let (Some(server), Some(completion)) = (&self.server, &self.completion) {
            Python::try_attach(|py| {
                let listener = Left {
                    receive: server.receive.clone_ref(py),
                    signal: Mutex::new(Some(signal)),
                };
                // On the event loop's own thread: an awaitable that is over already calls back with `call_soon`, which
                // does not wake a loop that sleeps. An error here drops the signal, which reads as "will never tell".
                let _ = completion.call_soon(py, Py::new(py, listener));
            });
        }
        left
    }
}

impl Server {
    fn start(&mut self, py: Python<'_>, head: &Head) -> PyResult<()> {
        let headers = PyList::empty(py);
        for (name, value) in &head.headers {
            headers.append((PyBytes::new(py, name), PyBytes::new(py, value)))?;
        }
        let message = PyDict::new(py);
        message.set_item(
            pyo3::intern!(py, "type"),
            pyo3::intern!(py, "http.response.start"),
        )?;
        message.set_item(pyo3::intern!(py, "status"), head.status)?;
        message.set_item(pyo3::intern!(py, "headers"), headers)?;
        let taken = self.send.bind(py).call1((message,))?;
        self.ready = Some(taken.get_type().unbind());
        Ok(())
    }

    fn body(&mut self, py: Python<'_>, body: &[Bytes], more: bool) -> PyResult<Sent> {
        let length = body.iter().map(Bytes::len).sum();
        let joined = PyBytes::new_with(py, length, |mut room| {
            for piece in body {
                let (here, rest) = room.split_at_mut(piece.len());
                here.copy_from_slice(piece);
                room = rest;
            }
            Ok(())
        })?;
        let message = if let Some(message) = &self.part {
            message.bind(py).clone()
        } else {
            let message = PyDict::new(py);
            let kind = pyo3::intern!(py, "http.response.body");
            message.set_item(pyo3::intern!(py, "type"), kind)?;
            self.part = Some(message.clone().unbind());
            message
        };
        message.set_item(pyo3::intern!(py, "body"), joined)?;
        message.set_item(pyo3::intern!(py, "more_body"), more)?;
        let taken = self.send.bind(py).call1((message,))?;
        if self
            .ready
            .as_ref()
            .is_some_and(|ready| taken.get_type().is(ready))
        {
            return Ok(Sent::Ready);
        }
        let (signal, drained) = oneshot::channel();
        let callback = Py::new(py, Drained(Mutex::new(Some(signal))))?;
        let name = pyo3::intern!(py, "add_done_callback");
        taken.call_method1(name, (callback.clone_ref(py),))?;
        // Over since before the callback was added, it calls without waking a loop that sleeps.
        if taken.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
            fire(&callback.get().0);
        }
        Ok(Sent::Full(drained))
    }
}

/// Wakes the relay when the server's queue has room again.
#[pyclass(frozen)]
struct Drained(Mutex<Option<oneshot::Sender<()>>>);

#[pymethods]
impl Drained {
    fn __call__(&self, _awaitable: &Bound<'_, PyAny>) {
        fire(&self.0);
    }
}

/// Wakes the relay when the client has left.
#[pyclass(frozen)]
struct Left {
    receive: Py<PyAny>,
    signal: Mutex<Option<oneshot::Sender<()>>>,
}

#[pymethods]
impl Left {
    #[pyo3(signature = (awaitable=None))]
    fn __call__(slf: &Bound<'_, Self>, awaitable: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let Some(awaitable) = awaitable else {
            return listen(slf);
        };
        let message = awaitable.call_method0(pyo3::intern!(py, "result"))?;
        let kind = message.get_item(pyo3::intern!(py, "type"))?;
        if kind.eq(pyo3::intern!(py, "http.disconnect"))? {
            fire(&slf.get().signal);
            return Ok(());
        }
        // The empty frame that ends the request's body comes first.
        listen(slf)
    }
}

fn listen(listener: &Bound<'_, Left>) -> PyResult<()> {
    let py = listener.py();
    let awaitable = listener.get().receive.bind(py).call0()?;
    let name = pyo3::intern!(py, "add_done_callback");
    match awaitable.getattr_opt(name)? {
        Some(add) => {
            add.call1((listener,))?;
        }
        // A message that is there at once can only be the disconnect.
        None => fire(&listener.get().signal),
    }
    Ok(())
}

fn fire(signal: &Mutex<Option<oneshot::Sender<()>>>) {
    let signal = signal.lock().ok().and_then(|mut signal| signal.take());
    if let Some(signal) = signal {
        let _ = signal.send(());
    }
}
