//! Quota around one exchange: what a request takes before the upstream is called, and what it has used when it ends.

use std::cell::LazyCell;

use fault::{Fault, Kind};
use futures_util::future::LocalBoxFuture;
use quota::{AnyStore, Denied, Lease, LeaseId, Order, Unit, Want};
use wire::translate::Profile;
use wire::{Dialect, Operation, Usage};

use crate::client::Client;
use crate::core::{Core, Served};
use crate::count::{Measure, Output};
use crate::denial;
use crate::exchange::{Asked, Exchange};
use crate::plan::Plan;
use crate::quota_headers;
use crate::tally::{Rates, Row, rounded_up};

/// What was taken for an exchange. Dropped, it stands.
pub(crate) struct Taken {
    lease: Lease<AnyStore>,
    wants: Vec<Want>,
    rates: Rates,
    /// What counts where the upstream does not; none where tokens are not counted at all.
    measure: Option<Measure>,
}

/// How an exchange stands with the quota.
#[derive(Default)]
pub(crate) enum Standing {
    /// Nothing is counted.
    #[default]
    Unmetered,
    /// It was let in.
    Taken(Taken),
    /// It was not.
    Denied(Denied),
}

impl Standing {
    /// What an answer of `status` says of the quota in its headers, at `now_s` in Unix seconds.
    pub(crate) fn headers(
        &self,
        dialect: Dialect,
        status: u16,
        now_s: i64,
    ) -> Vec<(&'static str, String)> {
        match self {
            Self::Taken(taken) => {
                let mut headers = quota_headers::allowed(dialect, taken.lease.counts(), now_s);
                if status >= 400 {
                    // Claude Code takes its own headers on an error for the reason of the error.
                    headers.retain(|(name, _)| !name.starts_with("anthropic-"));
                }
                headers
            }
            Self::Denied(Denied::Full { counts, exhausted }) => {
                quota_headers::refused(dialect, counts, *exhausted, now_s)
            }
            Self::Denied(Denied::Closed) => quota_headers::unknown(dialect),
            Self::Unmetered | Self::Denied(_) => Vec::new(),
        }
    }

    /// Whether tokens are counted, so that it matters what the model writes.
    pub(crate) fn counts_tokens(&self) -> bool {
        matches!(self, Self::Taken(taken) if taken.measure.is_some())
    }
}

impl<C: Client> Exchange<C> {
    /// Takes what a request counts as, in all of its plan's windows or in none. `window` is what the server says that its model
    /// takes, input and output together.
    ///
    /// # Errors
    /// Why the request may not go on.
    pub(crate) async fn take(
        &mut self,
        asked: &Asked,
        plan: &Plan,
        served: &Served,
        window: Option<u64>,
    ) -> Result<(), Fault> {
        // Counting tokens costs nobody anything (policy.md, "what is counted").
        if plan.windows.is_empty() || asked.operation == Operation::CountTokens {
            return Ok(());
        }
        let terms = self.core.terms;
        let reserved = Reserved {
            output_tokens: terms.reserved_output_tokens,
            context_window: served.profile.context_window.or(window),
        };
        let wants = wants(asked, plan, &served.profile, reserved);
        let order = Order {
            user: asked.user.clone(),
            lease: self.lease_id()?,
            wants: wants.clone(),
            on_failure: plan.on_failure,
        };
        // Boxed, here and in `settle`: a stream would otherwise hold room for a call to the store as long as it lasts.
        let reserving: LocalBoxFuture<'_, _> = Box::pin(self.core.ledger().reserve(order));
        match reserving.await {
            Ok(lease) => {
                let tokens = wants.iter().any(|want| want.window.unit == Unit::Tokens);
                self.standing = Standing::Taken(Taken {
                    lease,
                    wants,
                    rates: Rates {
                        tokens: plan.weights.tokens,
                        cache_read: terms.cache_read_weight,
                    },
                    measure: tokens.then(|| Measure::new(asked, served)),
                });
                Ok(())
            }
            Err(denied) => Err(self.denied(&wants, denied, &plan.tier)),
        }
    }

    /// Under the request's own id a lease leads from a log line to what was counted for it.
    fn lease_id(&self) -> Result<LeaseId, Fault> {
        let id = &self.request_id;
        let id = id.strip_prefix("req_").unwrap_or(id);
        LeaseId::new(id).ok_or_else(|| {
            let message = "the request's id cannot be the name of a lease";
            Fault::new(Kind::Internal, message)
        })
    }

    fn denied(&mut self, wants: &[Want], mut denied: Denied, tier: &str) -> Fault {
        if let Denied::Full { counts, exhausted } = &mut denied {
            *exhausted = denial::binding(wants, counts, *exhausted);
            if let Some(count) = counts.get(*exhausted) {
                self.core.metrics.quota_refusal(&count.window);
            }
        }
        let fault = denial::fault(tier, wants, &denied, self.core.ledger().now_s());
        self.standing = Standing::Denied(denied);
        fault
    }
}

impl Taken {
    /// Corrects what was taken to what counts in `row`, after an upstream that told `usage` and wrote `output`. Returns the
    /// usage that was counted if some of it had to be counted here.
    pub(crate) async fn settle(
        self,
        core: &Core,
        row: Row,
        told: Usage,
        output: Output,
    ) -> Option<Usage> {
        let usage = match self.measure {
            Some(measure) => measure.complete(core, row, told, output).await,
            None => told,
        };
        let wants = self.wants.iter();
        let used: Vec<_> = wants
            .map(|want| row.used(want, &usage, self.rates))
            .collect();
        let settling: LocalBoxFuture<'_, _> = Box::pin(self.lease.settle(&used));
        settling.await;
        (usage != told).then_some(usage)
    }
}

/// What bounds the tokens that are reserved, beside the request itself.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    /// The most that is reserved of a request's output limit.
    output_tokens: Option<u64>,
    /// Input and output together.
    context_window: Option<u64>,
}

/// What a request takes of each window of its plan.
fn wants(asked: &Asked, plan: &Plan, profile: &Profile, reserved: Reserved) -> Vec<Want> {
    // Looked at once, however many windows count it, and only if one does.
    let prompts = LazyCell::new(|| prompts(asked, plan));
    let tokens = LazyCell::new(|| {
        let tokens = bound(asked, profile, reserved);
        rounded_up(plan.weights.tokens * tokens as f64)
    });
    let windows = plan.windows.iter();
    windows
        .map(|window| Want {
            window: *window,
            amount: match window.unit {
                Unit::Requests => plan.weights.requests,
                Unit::Prompts => *prompts,
                Unit::Tokens => *tokens,
                Unit::Concurrent => 1,
            },
        })
        .collect()
}

fn prompts(asked: &Asked, plan: &Plan) -> u64 {
    let dialect = asked.operation.dialect();
    if plan.weights.prompts > 0 && wire::is_prompt(&asked.body, &asked.peek, dialect) {
        plan.weights.prompts
    } else {
        0
    }
}

/// The most tokens that a request is likely to take.
fn bound(asked: &Asked, profile: &Profile, reserved: Reserved) -> u64 {
    let most = profile.max_output_tokens.unwrap_or(u64::MAX);
    let limit = asked.peek.max_tokens.unwrap_or(profile.default_max_tokens);
    let output = limit
        .min(most)
        .min(reserved.output_tokens.unwrap_or(u64::MAX));
    let tokens = wire::input_bound_tokens(&asked.body).saturating_add(output);
    tokens.min(reserved.context_window.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
