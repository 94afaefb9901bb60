//! Quota around one exchange: taken before the upstream is called, and given back where policy says so.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use quota::{Bucket, Count, Decision, Lease, Store, Window};
use tokio::task::JoinHandle;

use crate::core::{Core, store_down};

/// What was taken for an exchange. Dropped, it stands.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nothing is counted for this operation.
    Nothing,
    /// Reserved before the request.
    Lease(Lease),
    /// A tier without limits: noted while the upstream works, nobody waits for it. Tells whether it was.
    Noted(JoinHandle<bool>, Vec<Bucket>),
}

/// Takes one of each window, or refuses.
///
/// # Errors
/// `quota_exceeded` with the seconds to the reset, `overloaded` if the store does not answer.
pub(crate) async fn take(
    core: &Rc<Core>,
    user: &str,
    tier: &str,
    windows: &[Window],
) -> Result<Taken, Fault> {
    if windows.is_empty() {
        return Ok(Taken::Nothing);
    }
    let buckets = core.buckets(user, windows);
    if windows.iter().all(|window| window.limit.is_none()) {
        return Ok(note(core, user, buckets));
    }
    match core.call(core.store().reserve(&buckets)).await {
        Ok(Decision::Granted(counts)) => {
            core.show(user, &counts);
            Ok(Taken::Lease(Lease::granted(buckets)))
        }
        Ok(Decision::Refused { counts, exhausted }) => {
            core.show(user, &counts);
            Err(refusal(core, tier, counts.get(exhausted)))
        }
        Err(_) => Err(store_down()),
    }
}

impl Taken {
    /// Gives back what was taken; says so if that failed.
    pub(crate) async fn give_back(self, core: &Core) -> Result<(), &'static str> {
        let given = match self {
            Self::Nothing => return Ok(()),
            Self::Lease(lease) => core.call(lease.refund(core.store())).await,
            Self::Noted(noting, buckets) => {
                // Before the note has landed there is nothing to give back, and never if it has not.
                if !noting.await.unwrap_or(false) {
                    return Ok(());
                }
                core.call(core.store().refund(&buckets)).await
            }
        };
        given.map_err(|_| "the quota of a failed request could not be given back")
    }
}

fn note(core: &Rc<Core>, user: &str, buckets: Vec<Bucket>) -> Taken {
    let noting = tokio::task::spawn_local({
        let (core, user, buckets) = (Rc::clone(core), user.to_owned(), buckets.clone());
        async move {
            let noted = core.call(core.store().record(&buckets)).await;
            if let Ok(counts) = &noted {
                core.show(&user, counts);
            }
            noted.is_ok()
        }
    });
    Taken::Noted(noting, buckets)
}

fn refusal(core: &Core, tier: &str, count: Option<&Count>) -> Fault {
    let Some(count) = count else {
        return Fault::new(Kind::QuotaExceeded, "the quota is used up").do_not_retry();
    };
    let (unit, period) = (count.window.unit.as_str(), count.window.period.as_str());
    core.metrics.quota_refusal(unit, period);
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| i64::try_from(passed.as_secs()).unwrap_or(0));
    let wait_s = u64::try_from(count.resets_at_s - now_s).unwrap_or(0).max(1);
    let reset = jiff::Timestamp::from_second(count.resets_at_s)
        .map_or_else(|_| "the end of the period".to_owned(), |at| at.to_string());
    let limit = count.limit.unwrap_or(count.used);
    let message = format!(
        "the {tier} tier's quota of {limit} {unit} per {period} is used up; it resets at {reset}, in {}; \
         wait until then or ask for a higher tier",
        in_words(wait_s)
    );
    Fault::new(Kind::QuotaExceeded, message)
        .retry_after(wait_s)
        .do_not_retry()
}

fn in_words(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn says_a_wait_in_the_largest_units_that_matter() {
        assert_eq!(in_words(59), "59 s");
        assert_eq!(in_words(125), "2 min");
        assert_eq!(in_words(7 * 3600 + 54 * 60 + 3), "7 h 54 min");
    }
}
