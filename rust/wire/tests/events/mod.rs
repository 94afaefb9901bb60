//! Streams of Anthropic Messages to be translated.

#![expect(unreachable_pub, reason = "a test exports nothing")]

pub mod legal;
pub mod odd;
