//! What the load generator and the scripted upstream share: how an answer is asked for, how an event
//! says when it was sent, and the little of HTTP/1.1 that both ends of a benchmark need.

pub mod message;
pub mod script;
pub mod stamp;
