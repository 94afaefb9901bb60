//! What policy decided for a request: who serves it, and what it counts as.

use quota::{OnFailure, Window};

/// What policy decided.
#[derive(Debug)]
pub struct Plan {
    /// Their tier.
    pub tier: String,
    /// The bounded label of the model asked for.
    pub asked: String,
    /// The model that serves, as the client is told.
    pub model: String,
    /// Its bounded label.
    pub served: String,
    /// Its name at the upstream.
    pub wire_model: String,
    /// The upstream.
    pub upstream: String,
    /// What the model understands there, by its key in the settings.
    pub profile: String,
    /// Whether the request was meant for another class of model, and has to be fitted to this one.
    pub adapt: bool,
    /// What is counted.
    pub windows: Vec<Window>,
    /// What a request counts as.
    pub weights: Weights,
    /// What holds while the quota store cannot be asked.
    pub on_failure: OnFailure,
}

/// What a request of a model counts as.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// In windows of requests.
    pub requests: u64,
    /// In windows of prompts, if a person typed it.
    pub prompts: u64,
    /// Each token in windows of tokens; not below zero.
    pub tokens: f64,
}
