//! Server-sent events as bytes: where frames end, and the fields in them.
//!
//! A line ends with LF, CRLF or CR; a frame ends with an empty line, which belongs to it. Reads cut
//! anywhere, also between CR and LF. Frames are never rewritten: put together again they are the
//! stream. A CR that ends an empty line waits for the LF that may belong to it, unless the line
//! before ended with a lone CR as well: then the stream uses CR, and waiting would hold back an
//! event until the next one.
//!
//! Source: WHATWG HTML, section 9.2, "Server-sent events".

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use fault::{Fault, Kind};
use memchr::{memchr2, memrchr2};

/// The largest frame that is accepted: a search result in one event can be some hundreds of kilobytes, and hardly more.
pub const FRAME_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A frame grew beyond the limit: the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLarge {
    /// The limit, in bytes.
    pub limit_bytes: usize,
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the upstream sent an event of more than {} bytes",
            self.limit_bytes
        )
    }
}

impl std::error::Error for FrameTooLarge {}

impl From<FrameTooLarge> for Fault {
    fn from(error: FrameTooLarge) -> Self {
        Self::new(Kind::UpstreamError, error.to_string())
    }
}

/// Where a reader stands between two bytes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// At the start of a line.
    #[default]
    LineStart,
    /// Inside a line that has at least one byte.
    InLine,
    /// After the CR of a line that was not empty.
    AfterCr,
    /// After the CR of an empty line: the frame has ended, but for an LF that may follow.
    AfterEmptyCr,
}

/// Whether a byte shows that a frame has ended, and on which side of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    None,
    Before,
    After,
}

impl Place {
    fn step(&mut self, byte: u8) -> Cut {
        let (place, cut) = match (*self, byte) {
            (Self::LineStart | Self::AfterEmptyCr, b'\n') | (Self::AfterCr, b'\r') => {
                (Self::LineStart, Cut::After)
            }
            (Self::InLine | Self::AfterCr, b'\n') => (Self::LineStart, Cut::None),
            (Self::InLine, b'\r') => (Self::AfterCr, Cut::None),
            (Self::LineStart, b'\r') => (Self::AfterEmptyCr, Cut::None),
            (Self::AfterEmptyCr, b'\r') => (Self::AfterEmptyCr, Cut::Before),
            (Self::AfterEmptyCr, _) => (Self::InLine, Cut::Before),
            (Self::LineStart | Self::InLine | Self::AfterCr, _) => (Self::InLine, Cut::None),
        };
        *self = place;
        cut
    }
}

/// The places in `bytes` where frames end, in order, each as the index after the frame.
struct Ends<'a> {
    bytes: &'a [u8],
    at: usize,
    place: Place,
}

impl Iterator for Ends<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            if self.place == Place::InLine {
                let rest = self.bytes.get(self.at..)?;
                self.at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            }
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match self.place.step(byte) {
                Cut::None => {}
                Cut::Before => return Some(self.at - 1),
                Cut::After => return Some(self.at),
            }
        }
    }
}

/// Where the last frame that ends in `bytes` ends; moves `place` behind all of them.
///
/// Searches from the back: what most reads end with is the end of a frame. Between line ends the
/// place is known, so that only runs of line ends, and the byte after each, have to be stepped.
fn last_end(place: &mut Place, bytes: &[u8]) -> Option<usize> {
    let before = *place;
    let mut end = bytes.len();
    while let Some(unread) = bytes.get(..end).filter(|unread| !unread.is_empty()) {
        let run_end = memrchr2(b'\n', b'\r', unread).map_or(0, |last| last + 1);
        let run = unread.get(..run_end).unwrap_or_default();
        let run_start = run
            .iter()
            .rposition(|&byte| !is_line_end(byte))
            .map_or(0, |last| last + 1);
        let stepped = bytes
            .get(run_start..bytes.len().min(run_end + 1))
            .unwrap_or_default();
        let start = if run_start == 0 {
            before
        } else {
            Place::InLine
        };
        let mut ends = Ends {
            bytes: stepped,
            at: 0,
            place: start,
        };
        let found = ends.by_ref().last();
        if end == bytes.len() {
            *place = ends.place;
        }
        if let Some(found) = found {
            return Some(run_start + found);
        }
        end = run_start;
    }
    None
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Splits a stream of chunks into frames, keeping what has not ended yet.
#[derive(Debug)]
pub struct Frames {
    pending: BytesMut,
    place: Place,
    limit_bytes: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::with_limit(FRAME_LIMIT_BYTES)
    }
}

impl Frames {
    /// A splitter at the start of a stream, with the limit [`FRAME_LIMIT_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A splitter that accepts frames of at most `limit_bytes`.
    #[must_use]
    pub fn with_limit(limit_bytes: usize) -> Self {
        Self {
            pending: BytesMut::new(),
            place: Place::default(),
            limit_bytes,
        }
    }

    /// Appends every frame that `chunk` completes to `out`, with its empty line.
    ///
    /// A frame that lies within one chunk is a slice of it.
    ///
    /// # Errors
    ///
    /// If a frame, complete or not, is over the limit; frames before it are in `out`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "frames share the chunk's memory"
    )]
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameTooLarge> {
        let mut ends = Ends {
            bytes: &chunk,
            at: 0,
            place: self.place,
        };
        let mut start = 0;
        for end in ends.by_ref() {
            self.check(end - start)?;
            out.push(self.complete(chunk.slice(start..end)));
            start = end;
        }
        self.place = ends.place;
        self.check(chunk.len() - start)?;
        self.pending
            .extend_from_slice(chunk.get(start..).unwrap_or_default());
        Ok(())
    }

    /// All frames that `chunk` completes as one piece, or `None` if it completes none.
    ///
    /// If nothing was pending the piece is a slice of `chunk`.
    ///
    /// # Errors
    ///
    /// If a frame, complete or not, is over the limit.
    pub fn push_ready(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, FrameTooLarge> {
        if self.pending.len() + chunk.len() > self.limit_bytes {
            self.check_each(&chunk)?;
        }
        let ready = last_end(&mut self.place, &chunk).map(|end| self.complete(chunk.split_to(end)));
        self.pending.extend_from_slice(&chunk);
        Ok(ready)
    }

    /// What came after the last frame that ended, if anything did; the splitter is then empty.
    pub fn finish(&mut self) -> Option<Bytes> {
        self.place = Place::default();
        let rest = self.pending.split();
        (!rest.is_empty()).then(|| rest.freeze())
    }

    fn complete(&mut self, end: Bytes) -> Bytes {
        if self.pending.is_empty() {
            return end;
        }
        self.pending.extend_from_slice(&end);
        self.pending.split().freeze()
    }

    fn check_each(&self, chunk: &[u8]) -> Result<(), FrameTooLarge> {
        let mut pending_bytes = self.pending.len();
        let mut start = 0;
        let ends = Ends {
            bytes: chunk,
            at: 0,
            place: self.place,
        };
        for end in ends.chain([chunk.len()]) {
            self.check_length(pending_bytes + end - start)?;
            pending_bytes = 0;
            start = end;
        }
        Ok(())
    }

    fn check(&self, more_bytes: usize) -> Result<(), FrameTooLarge> {
        self.check_length(self.pending.len() + more_bytes)
    }

    fn check_length(&self, length_bytes: usize) -> Result<(), FrameTooLarge> {
        if length_bytes > self.limit_bytes {
            return Err(FrameTooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        Ok(())
    }
}

/// The frames in `ready`, in order; bytes after the last one that ended come as one more.
pub fn split(ready: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = Ends {
        bytes: ready,
        at: 0,
        place: Place::default(),
    };
    let mut start = 0;
    ends.chain([ready.len()]).filter_map(move |end| {
        let frame = ready.get(start..end).filter(|frame| !frame.is_empty());
        start = end;
        frame
    })
}

/// The frame's `data`, several lines joined with LF; `None` if it has no such field.
#[must_use]
pub fn data(frame: &[u8]) -> Option<Cow<'_, [u8]>> {
    values(frame, b"data")
        .map(Cow::Borrowed)
        .reduce(|joined, line| {
            let mut joined = joined.into_owned();
            joined.push(b'\n');
            joined.extend_from_slice(&line);
            Cow::Owned(joined)
        })
}

/// The frame's event name, the last one if it has several; `None` if it has none.
#[must_use]
pub fn event_name(frame: &[u8]) -> Option<&[u8]> {
    values(frame, b"event").last()
}

/// The values of the field `name`, without the one space that may follow the colon.
fn values<'a>(frame: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    lines(frame).filter_map(move |line| match line.strip_prefix(name)? {
        [] => Some(&[][..]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    })
}

fn lines(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((line, after)) =
            memchr2(b'\n', b'\r', rest).and_then(|end| rest.split_at_checked(end))
        else {
            return Some(std::mem::take(&mut rest));
        };
        rest = match after {
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
            [] => after,
        };
        Some(line)
    })
}

#[cfg(test)]
mod tests;
