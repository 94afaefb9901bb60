//! Bytes and JSON of the two APIs this gateway speaks: pure functions and small state machines.
//!
//! Nothing here knows sockets, clocks, threads or Python, so everything can be tested with bytes
//! alone. What comes in is hostile until proven otherwise: indexing is denied, nesting is bounded,
//! and a request is validated once, by [`peek()`], before anything else looks at it.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod adapt;
mod bound;
pub mod dialect;
pub mod peek;
mod produced;
mod prompt;
mod scan;
pub mod shape;
pub mod splice;
pub mod sse;
pub mod translate;
pub mod usage;

pub use adapt::{Adapted, adapt, betas};
pub use bound::{input_bound_tokens, media_bound_tokens};
pub use dialect::{Dialect, Operation};
pub use peek::{Peek, peek, session_id};
pub use produced::{Produced, produced_of_body};
pub use prompt::is_prompt;
pub use shape::{Answer, Refusal, shape, stream_event};
pub use splice::splice;
pub use sse::{FrameTooLarge, Frames};
pub use usage::{Observer, Seen, StreamError, Usage, usage_of_body, usage_of_tail};
