//! One exchange from end to end: quota, upstream, stream, record.
//!
//! Read [`exchange`] first; everything else is a part of it.

mod answer;
mod call;
pub mod client;
pub mod core;
mod count;
mod denial;
pub mod exchange;
pub mod headers;
mod ledger;
pub mod log;
pub mod metrics;
pub mod plan;
mod probe;
mod pump;
mod quota_headers;
pub mod record;
pub mod runtime;
pub mod settings;
mod store_watch;
mod stream;
mod tally;
mod tls;
mod upstream;
mod voice;
mod watch;
mod whole;
