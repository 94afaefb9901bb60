//! The ledger over a store that fails in every way there is, in time that stands still.

#![cfg(test)]

mod journals;
mod leases;
mod model_store;
mod outages;
mod property;
mod world;
