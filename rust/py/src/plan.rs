//! Plans, as policy makes them: read once each, since the same question gives the same object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use relay::plan::Plan;

use crate::window::{self, PlannedWeights, PlannedWindow};

/// More plans than this are not remembered: policy remembers as many.
const PLANS: usize = 4096;

/// `policy.plan.Plan`, as far as the relay needs it.
#[derive(FromPyObject)]
struct Planned {
    tier: String,
    from_label: String,
    to_label: String,
    model: String,
    wire_model: String,
    upstream: String,
    profile: String,
    adapt: bool,
    windows: Vec<PlannedWindow>,
    weights: PlannedWeights,
    on_store_failure: String,
}

impl TryFrom<Planned> for Plan {
    type Error = PyErr;

    fn try_from(plan: Planned) -> PyResult<Self> {
        Ok(Self {
            tier: plan.tier,
            asked: plan.from_label,
            model: plan.model,
            served: plan.to_label,
            wire_model: plan.wire_model,
            upstream: plan.upstream,
            profile: plan.profile,
            adapt: plan.adapt,
            windows: window::windows(plan.windows)?,
            weights: plan.weights.into(),
            on_failure: window::on_failure(&plan.on_store_failure)?,
        })
    }
}

/// The plans that were read, by the address of their object, which is kept so that no other gets it.
#[derive(Default)]
pub(crate) struct Plans(Mutex<HashMap<usize, Known>>);

type Known = (Py<PyAny>, Arc<Plan>);

impl Plans {
    /// What a frozen `policy.plan.Plan` says.
    pub(crate) fn read(&self, planned: &Bound<'_, PyAny>) -> PyResult<Arc<Plan>> {
        let address = planned.as_ptr() as usize;
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.get(&address) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::try_from(planned.extract::<Planned>()?)?);
        if plans.len() >= PLANS {
            plans.clear();
        }
        plans.insert(address, (planned.clone().unbind(), Arc::clone(&plan)));
        Ok(plan)
    }
}
