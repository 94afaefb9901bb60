//! One exchange from end to end: quota, upstream, stream, record.
//!
//! Read [`exchange`] first; everything else is a part of it.

mod answer;
pub mod client;
mod connect;
pub mod core;
pub mod exchange;
pub mod headers;
mod ledger;
pub mod log;
pub mod metrics;
mod pump;
pub mod record;
pub mod runtime;
pub mod settings;
mod tls;
mod upstream;
mod watch;
mod whole;
