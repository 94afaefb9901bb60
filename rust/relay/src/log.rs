//! JSON lines on standard error, written by a thread of their own so that a stuck reader delays nobody.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use counters::Counter;

/// Lines that may wait for the writer; beyond that they are dropped and counted.
const QUEUE_LINES: usize = 16 * 1024;
/// Lines are joined up to this size for one write: that much a pipe takes in one piece (`PIPE_BUF` on Linux), so the
/// lines of several workers never land inside each other.
const WRITE_BYTES: usize = 4096;
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
    /// Starts the writer thread for standard error, which ends when the last clone is gone. `dropped` counts lines lost.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(dropped: Counter) -> std::io::Result<Self> {
        Self::to(std::io::stderr(), dropped)
    }

    /// The same for any `stream`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn to(mut stream: impl Write + Send + 'static, dropped: Counter) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        std::thread::Builder::new()
            .name("gateway-log".into())
            .spawn(move || write_all(&lines, &mut stream))?;
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

fn write_all(entries: &Receiver<Entry>, stream: &mut impl Write) {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    while let Ok(entry) = entries.recv() {
        std::thread::sleep(GATHER);
        let mut next = Some(entry);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => {
                    if buffer.len() + line.len() >= WRITE_BYTES {
                        write(&mut buffer, stream);
                    }
                    buffer.extend_from_slice(line.as_bytes());
                    buffer.push(b'\n');
                }
                Entry::Flush(done) => {
                    write(&mut buffer, stream);
                    let _ = done.try_send(());
                }
            }
            next = entries.try_recv().ok();
        }
        write(&mut buffer, stream);
    }
}

fn write(buffer: &mut Vec<u8>, stream: &mut impl Write) {
    if !buffer.is_empty() {
        // A closed standard error leaves nobody to tell.
        let _ = stream.write_all(buffer);
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::sync_channel;

    use super::{Entry, WRITE_BYTES, write_all};

    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_whole_lines_in_pieces_that_a_pipe_takes_at_once() {
        let lines: Vec<String> = (0..200).map(|number| "x".repeat(number * 7)).collect();
        let (queue, entries) = sync_channel(lines.len());
        for line in &lines {
            queue.send(Entry::Line(line.clone())).unwrap();
        }
        drop(queue);
        let mut writes = Writes::default();
        write_all(&entries, &mut writes);
        for written in &writes.0 {
            assert!(written.len() <= WRITE_BYTES && written.ends_with(b"\n"));
        }
        let text = String::from_utf8(writes.0.concat()).unwrap();
        assert!(text.lines().eq(lines.iter().map(String::as_str)));
        assert!(writes.0.len() < lines.len() / 2);
    }
}
