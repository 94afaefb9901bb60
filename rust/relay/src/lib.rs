//! One exchange from end to end: quota, upstream, stream, record.
//!
//! Read [`exchange`] first; everything else is a part of it.

mod answer;
mod call;
pub mod client;
mod connect;
pub mod core;
mod count;
pub mod exchange;
pub mod headers;
mod ledger;
pub mod log;
pub mod metrics;
mod probe;
mod pump;
pub mod record;
pub mod runtime;
pub mod settings;
mod stream;
mod tls;
mod upstream;
mod voice;
mod watch;
mod whole;
