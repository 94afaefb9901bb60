//! `llm_gateway._core`: the relay as Python sees it. The stub `_core.pyi` is the contract; this crate keeps it.

mod allocator;
mod core;
mod exchange;
mod failure;
mod future;
mod outbox;
mod plan;
mod records;
mod send;
mod shared;
mod window;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::core::Core;
    #[pymodule_export]
    use crate::exchange::{Exchange, Request};
    #[pymodule_export]
    use crate::failure::shape;
}
