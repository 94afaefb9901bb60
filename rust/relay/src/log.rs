//! JSON lines on standard error, written by a thread of their own so that a stuck reader delays nobody.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use counters::Counter;

/// Lines that may wait for the writer; beyond that they are dropped and counted.
const QUEUE_LINES: usize = 16 * 1024;
/// Lines are joined up to this size for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// How long the writer lets lines gather: waking it for each would cost every request a context switch.
const GATHER: Duration = Duration::from_millis(5);
/// A flush waits no longer than this for the writer.
const FLUSH: Duration = Duration::from_secs(1);

enum Entry {
    Line(String),
    Flush(SyncSender<()>),
}

/// The way into the log. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct Log {
    queue: SyncSender<Entry>,
    dropped: Counter,
}

impl Log {
    /// Starts the writer thread, which ends when the last clone is gone. `dropped` counts lines lost.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(dropped: Counter) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        std::thread::Builder::new()
            .name("gateway-log".into())
            .spawn(move || write_all(&lines))?;
        Ok(Self { queue, dropped })
    }

    /// Queues one line (without its newline).
    pub fn line(&self, line: String) {
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.dropped.add(1);
        }
    }

    /// Waits, not for ever, until everything queued so far has been written.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

fn write_all(entries: &Receiver<Entry>) {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    let mut flushed = Vec::new();
    while let Ok(entry) = entries.recv() {
        std::thread::sleep(GATHER);
        let mut next = Some(entry);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => {
                    buffer.extend_from_slice(line.as_bytes());
                    buffer.push(b'\n');
                }
                Entry::Flush(done) => flushed.push(done),
            }
            next = if buffer.len() < WRITE_BYTES {
                entries.try_recv().ok()
            } else {
                None
            };
        }
        // A closed standard error leaves nobody to tell.
        let _ = std::io::stderr().write_all(&buffer);
        buffer.clear();
        for done in flushed.drain(..) {
            let _ = done.try_send(());
        }
    }
}
