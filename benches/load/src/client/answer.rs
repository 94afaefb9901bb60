//! One answer as it arrives: taken apart, timed, and checked to be whole and right.

use std::io;

use load::message::{Body, ResponseHead, invalid, response_head};
use load::stamp;
use memchr::memmem;

use crate::options::Mode;
use crate::tally::Tally;

const HEAD_LIMIT_BYTES: usize = 64 * 1024;
const QUOTED_BYTES: usize = 300;

/// The reader of one answer, fed with bytes as they come.
#[derive(Debug)]
pub(crate) struct Answer {
    mode: Mode,
    events_wanted: u64,
    started_ns: u64,
    head: Option<(ResponseHead, Body)>,
    /// The head while it is not whole, then content that is not yet a whole frame.
    pending: Vec<u8>,
    first_event_ns: Option<u64>,
    events: u64,
    stopped: bool,
}

impl Answer {
    /// The reader of an answer to a request sent at `started_ns`.
    pub(crate) fn new(mode: Mode, events_wanted: u64, started_ns: u64) -> Self {
        Self {
            mode,
            events_wanted,
            started_ns,
            head: None,
            pending: Vec::new(),
            first_event_ns: None,
            events: 0,
            stopped: false,
        }
    }

    /// Takes in bytes read at `now_ns`; returns whether the answer is whole.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> io::Result<bool> {
        let Some((head, body)) = &mut self.head else {
            return self.feed_head(input, now_ns, tally);
        };
        let used = body.feed(input, &mut self.pending)?;
        if used < input.len() {
            return Err(invalid("bytes after the end of the answer"));
        }
        let (status, done) = (head.status, body.is_done());
        if status == 200 && self.mode == Mode::Stream {
            self.take_frames(now_ns, tally)?;
        }
        Ok(done)
    }

    fn feed_head(&mut self, input: &[u8], now_ns: u64, tally: &mut Tally) -> io::Result<bool> {
        self.pending.extend_from_slice(input);
        let Some(head) = response_head(&self.pending)? else {
            return match self.pending.len() {
                ..HEAD_LIMIT_BYTES => Ok(false),
                _ => Err(invalid("response head too large")),
            };
        };
        let rest = self.pending.split_off(head.length_bytes);
        self.pending.clear();
        let body = Body::new(head.framing);
        self.head = Some((head, body));
        self.feed(&rest, now_ns, tally)
    }

    fn take_frames(&mut self, now_ns: u64, tally: &mut Tally) -> io::Result<()> {
        let mut start = 0;
        while let Some(length) = memmem::find(&self.pending[start..], b"\n\n") {
            let frame = &self.pending[start..start + length];
            self.first_event_ns.get_or_insert(now_ns);
            if let Some(sent_ns) = stamp::read(frame) {
                tally.delay.record(now_ns.saturating_sub(sent_ns));
                self.events += 1;
            } else if frame.starts_with(b"event: message_stop") {
                self.stopped = true;
            } else if frame.starts_with(b"event: error") {
                return Err(invalid(format!("error in the stream: {}", quoted(frame))));
            }
            start += length + 2;
        }
        self.pending.drain(..start);
        Ok(())
    }

    /// Counts the whole answer, if it is right; returns whether the connection may be used again.
    ///
    /// An answer that the server ended by closing is given here too.
    pub(crate) fn finish(self, now_ns: u64, tally: &mut Tally) -> io::Result<bool> {
        let Some((head, body)) = self.head else {
            return Err(invalid("connection closed before the answer"));
        };
        if head.status != 200 {
            return Err(invalid(format!(
                "status {}: {}",
                head.status,
                quoted(&self.pending)
            )));
        }
        if !body.may_close() {
            return Err(invalid("connection closed inside the answer"));
        }
        match self.mode {
            Mode::Stream if self.events != self.events_wanted => {
                let (found, wanted) = (self.events, self.events_wanted);
                return Err(invalid(format!("{found} events instead of {wanted}")));
            }
            Mode::Stream if !self.stopped || !self.pending.is_empty() => {
                return Err(invalid("stream without its message_stop"));
            }
            Mode::Request if memmem::find(&self.pending, b"\"usage\"").is_none() => {
                return Err(invalid(format!(
                    "not the answer: {}",
                    quoted(&self.pending)
                )));
            }
            Mode::Stream | Mode::Request => {}
        }
        tally.requests += 1;
        tally.events += self.events;
        tally.latency.record(now_ns.saturating_sub(self.started_ns));
        if let Some(first_event_ns) = self.first_event_ns {
            tally
                .first_event
                .record(first_event_ns.saturating_sub(self.started_ns));
        }
        Ok(head.keep_alive)
    }
}

fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_BYTES)]).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "event: message_start\ndata: {}\n\n";
    const DELTA: &str =
        "event: content_block_delta\ndata: {\"text\":\"sent_ns=00000000000000000005\"}\n\n";
    const STOP: &str = "event: message_stop\ndata: {}\n\n";

    fn stream_of(frames: &[&str]) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for frame in frames {
            bytes.extend(format!("{:x}\r\n{frame}\r\n", frame.len()).bytes());
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    fn take(mode: Mode, bytes: &[u8], piece_bytes: usize) -> (io::Result<bool>, Tally) {
        let (mut tally, mut answer) = (Tally::default(), Answer::new(mode, 2, 1));
        for piece in bytes.chunks(piece_bytes) {
            if let Err(error) = answer.feed(piece, 10, &mut tally) {
                return (Err(error), tally);
            }
        }
        (answer.finish(11, &mut tally), tally)
    }

    fn refusal(mode: Mode, bytes: &[u8]) -> String {
        take(mode, bytes, 7).0.unwrap_err().to_string()
    }

    #[test]
    fn any_split_of_a_stream_is_counted_alike() {
        let bytes = stream_of(&[START, DELTA, DELTA, STOP]);
        for piece_bytes in 1..=bytes.len() {
            let (outcome, tally) = take(Mode::Stream, &bytes, piece_bytes);
            assert!(outcome.unwrap());
            assert_eq!((tally.requests, tally.events), (1, 2));
            assert_eq!(tally.delay.quantile_ms(0.5), Some(5e-6));
        }
    }

    #[test]
    fn refuses_a_stream_that_lost_something() {
        let lost_event = stream_of(&[START, DELTA, STOP]);
        assert_eq!(refusal(Mode::Stream, &lost_event), "1 events instead of 2");
        let lost_end = stream_of(&[START, DELTA, DELTA]);
        assert_eq!(
            refusal(Mode::Stream, &lost_end),
            "stream without its message_stop"
        );
        let mut cut = stream_of(&[START, DELTA, DELTA, STOP]);
        cut.truncate(cut.len() - 5);
        assert_eq!(
            refusal(Mode::Stream, &cut),
            "connection closed inside the answer"
        );
    }

    #[test]
    fn refuses_errors_and_says_their_words() {
        let failed = stream_of(&[
            START,
            "event: error\ndata: {\"message\":\"overloaded\"}\n\n",
        ]);
        assert!(refusal(Mode::Stream, &failed).contains("overloaded"));
        let refused = b"HTTP/1.1 429 Too Many\r\ncontent-length: 6\r\n\r\nenough";
        assert_eq!(refusal(Mode::Request, refused), "status 429: enough");
        let other = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(refusal(Mode::Request, other), "not the answer: {}");
    }
}
