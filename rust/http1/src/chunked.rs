//! The chunked coding (RFC 9112, section 7.1), read as it comes.

/// Extensions of one chunk, and all trailers, are passed over up to so many bytes.
const IGNORED_BYTES: u16 = 8 * 1024;
/// More hexadecimal digits than any length has.
const DIGITS: u8 = 15;

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Among the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// Behind the digits, up to the end of the line.
    Extension { size: u64, seen: u16 },
    /// The line feed that ends the line of the size.
    SizeEnd { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// The carriage return behind the data.
    DataReturn,
    /// The line feed behind the data.
    DataEnd,
    /// At the beginning of a line of trailers.
    TrailerStart { seen: u16 },
    /// In a line of trailers.
    Trailer { seen: u16 },
    /// The line feed that ends a line of trailers.
    TrailerEnd { seen: u16 },
    /// The last line feed.
    LastEnd,
    /// Behind all of it.
    Done,
    /// At something that is not the coding.
    Broken(&'static str),
}

impl Chunked {
    pub(crate) const START: Self = Self::Size { size: 0, digits: 0 };

    /// Moves the data in `input` to its front: how much that is, and how far the coding went. What lies behind its end is left,
    /// and so is what is not the coding, to the letter.
    pub(crate) fn decode(&mut self, input: &mut [u8]) -> (usize, usize) {
        let (mut read, mut written) = (0, 0);
        while !matches!(self, Self::Done | Self::Broken(_)) {
            if let Self::Data { left } = *self {
                let there = input.len() - read;
                let take = usize::try_from(left).map_or(there, |left| left.min(there));
                if take == 0 {
                    break;
                }
                input.copy_within(read..read + take, written);
                read += take;
                written += take;
                let left = left - take as u64;
                *self = if left == 0 {
                    Self::DataReturn
                } else {
                    Self::Data { left }
                };
                continue;
            }
            let Some(byte) = input.get(read) else { break };
            *self = self.after(*byte).unwrap_or_else(Self::Broken);
            read += 1;
        }
        (written, read)
    }

    /// The state behind one byte that is not data.
    fn after(self, byte: u8) -> Result<Self, &'static str> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS {
                    return Err("a chunk is too large");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size {
                    size: size * 16 + u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => {
                return Err("a chunk has no size");
            }
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::Extension { size, seen: 0 },
            (Self::Size { .. }, _) => return Err("a chunk's size is no number"),
            (Self::Extension { .. }, b'\n') => {
                return Err("a line feed in a chunk's extension");
            }
            (Self::Extension { size, seen }, _) => Self::Extension {
                size,
                seen: ignored(seen)?,
            },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart { seen: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::START,
            (Self::TrailerStart { .. }, b'\r') => Self::LastEnd,
            (Self::Trailer { seen }, b'\r') => Self::TrailerEnd { seen },
            (Self::TrailerStart { .. } | Self::Trailer { .. }, b'\n') => {
                return Err("a trailer ends in a bare line feed");
            }
            (Self::TrailerStart { seen } | Self::Trailer { seen }, _) => Self::Trailer {
                seen: ignored(seen)?,
            },
            (Self::TrailerEnd { seen }, b'\n') => Self::TrailerStart { seen },
            (Self::LastEnd, b'\n') => Self::Done,
            _ => return Err("a chunk does not end where it said"),
        })
    }
}

fn ignored(seen: u16) -> Result<u16, &'static str> {
    if seen == IGNORED_BYTES {
        return Err("too much beside the chunks");
    }
    Ok(seen + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Chunked;

    /// What `input` holds, read in pieces of these sizes over and over, and where it ended, if it did; what came before a
    /// mistake.
    fn read(input: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, Option<usize>), Vec<u8>> {
        let (mut state, mut data, mut at) = (Chunked::START, Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let mut piece = input[at..input.len().min(at + size)].to_vec();
            let (written, consumed) = state.decode(&mut piece);
            data.extend_from_slice(&piece[..written]);
            if let Chunked::Broken(_) = state {
                return Err(data);
            }
            at += consumed;
            if state == Chunked::Done {
                return Ok((data, Some(at)));
            }
            if at == input.len() {
                break;
            }
        }
        Ok((data, None))
    }

    #[test]
    fn reads_chunks_extensions_and_trailers() {
        let coded =
            b"4\r\nWiki\r\n05 ;a=\"b\"\r\npedia\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\nnext";
        let (data, end) = read(coded, &[coded.len()]).unwrap();
        assert_eq!(data, b"Wikipedia0123456789");
        assert_eq!(end, Some(coded.len() - 4));
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for coded in [
            "-3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "\r\nabc",
            "3\nabc\r\n",
            "3;a\nb\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nab\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "3\r\rabc",
            "0\r\nx: y\n\r\n",
            "0\r\n\n",
        ] {
            assert!(read(coded.as_bytes(), &[64]).is_err(), "{coded:?}");
        }
    }

    #[test]
    fn passes_over_only_so_much() {
        for (before, after) in [("1;", "\r\na\r\n"), ("0\r\n", "\r\n\r\n")] {
            let long = |bytes| format!("{before}{}{after}", "x".repeat(bytes));
            assert!(read(long(8000).as_bytes(), &[100]).is_ok());
            assert!(read(long(9000).as_bytes(), &[100]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_cut_reads_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            sizes in prop::collection::vec(1_usize..50, 1..6),
        ) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                coded.extend_from_slice(chunk);
                coded.extend_from_slice(b"\r\n");
            }
            coded.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(&coded, &sizes).unwrap(), (chunks.concat(), Some(coded.len())));
        }

        #[test]
        fn garbage_reads_the_same_in_any_cut(
            coded in "[0-3a;\r\n x]{0,60}",
            sizes in prop::collection::vec(1_usize..9, 1..4),
        ) {
            prop_assert_eq!(read(coded.as_bytes(), &sizes), read(coded.as_bytes(), &[100]));
        }
    }
}
