//! Grammars of both APIs' streams, owned by the tests.

// Each test reads streams of one of them, and a test exports nothing.
#![allow(dead_code, unreachable_pub)]

pub mod anthropic;
pub mod openai;
