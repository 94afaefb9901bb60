//! The time at which an event was sent, carried inside its text so that every relay passes it on.

use memchr::memmem;
use rustix::time::{ClockId, clock_gettime};

const LABEL: &[u8] = b"sent_ns=";
const DIGITS: usize = 20;

/// Bytes that a stamp takes; a fixed width, so that it can be rewritten in place.
pub const LENGTH_BYTES: usize = LABEL.len() + DIGITS;

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of one machine share.
#[must_use]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let whole_s = u64::try_from(time.tv_sec).unwrap_or(0);
    whole_s * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A stamp to be filled in by [`write`].
#[must_use]
pub fn blank() -> String {
    format!("sent_ns={:020}", 0)
}

/// Where the first stamp begins in `bytes`, if there is one.
#[must_use]
pub fn position(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, LABEL)
}

/// Puts `time_ns` into the stamp that begins at `position`; bytes that hold no stamp there stay as they are.
pub fn write(bytes: &mut [u8], position: usize, time_ns: u64) {
    let Some(digits) = bytes.get_mut(position + LABEL.len()..position + LENGTH_BYTES) else {
        return;
    };
    let mut rest = time_ns;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

/// The time in the first stamp of `bytes`, in nanoseconds, if there is a whole one.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<u64> {
    let start = position(bytes)? + LABEL.len();
    let digits = bytes.get(start..start + DIGITS)?;
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut text = format!("data: {} and more", blank()).into_bytes();
        let position = position(&text).unwrap();
        for time_ns in [0, 7, 1_234_567_890_123, u64::MAX] {
            write(&mut text, position, time_ns);
            assert_eq!(read(&text), Some(time_ns));
        }
        assert!(text.ends_with(b" and more"));
    }

    #[test]
    fn a_broken_stamp_is_no_time() {
        assert_eq!(read(b"sent_ns=0000000000000000001"), None);
        assert_eq!(read(b"sent_ns=0000000000000000000x"), None);
        assert_eq!(read(b"nothing"), None);
    }
}
