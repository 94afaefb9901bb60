//! The lines of a journal's file.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::calendar::{Account, Bucket};
use crate::store::{Closing, LeaseId};
use crate::window::Window;

use super::Settlement;

/// The version of the lines that this gateway writes, and the only one that it reads.
const VERSION: u32 = 1;

/// What happened to a settlement that waits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Line {
    /// A request was let in without the store, and uses what is written here if nothing more is heard of it.
    Let(Written),
    /// A lease has ended.
    Settle(Written),
    /// A request that was let in has ended and used this.
    End { lease: String, used: Vec<u64> },
    /// The store may have been told from this time on.
    Tried { lease: String, at_ms: u64 },
    /// The store has answered.
    Done { lease: String },
}

/// A settlement as it is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Written {
    user: String,
    lease: String,
    closings: Vec<WrittenClosing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried_at_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenClosing {
    unit: String,
    period: String,
    key: String,
    starts_at_s: i64,
    resets_at_s: i64,
    taken: u64,
    used: u64,
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u32,
    #[serde(flatten)]
    line: &'a Line,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// What waits, the oldest first.
    pub(super) settlements: Vec<Settlement>,
    /// Lines that are none: torn when their writer was killed, or its disk was full.
    pub(super) torn: u64,
}

impl Line {
    /// The line, without its end.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Versioned {
            v: VERSION,
            line: self,
        })
    }
}

/// What a file of these lines says; `None` if a later gateway has written it, who must read it.
pub(super) fn read(text: &[u8]) -> Option<Read> {
    let mut read = Read::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut waiting: Vec<Option<Settlement>> = Vec::new();
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            match serde_json::from_slice::<Version>(line) {
                Ok(Version { v }) if v != VERSION => return None,
                _ => read.torn += 1,
            }
            continue;
        };
        match line {
            Line::Let(written) | Line::Settle(written) => {
                let lease = written.lease.clone();
                let Some(settlement) = written.into_settlement() else {
                    read.torn += 1;
                    continue;
                };
                let place = *places.entry(lease).or_insert(waiting.len());
                if place == waiting.len() {
                    waiting.push(None);
                }
                waiting[place] = Some(settlement);
            }
            Line::End { lease, used } => {
                if let Some(settlement) = find(&mut waiting, &places, &lease) {
                    settlement.use_only(&used);
                }
            }
            Line::Tried { lease, at_ms } => {
                if let Some(settlement) = find(&mut waiting, &places, &lease) {
                    settlement.tried_at_ms.get_or_insert(at_ms);
                }
            }
            Line::Done { lease } => {
                if let Some(place) = places.remove(&lease) {
                    waiting[place] = None;
                }
            }
        }
    }
    read.settlements = waiting.into_iter().flatten().collect();
    Some(read)
}

fn find<'a>(
    waiting: &'a mut [Option<Settlement>],
    places: &HashMap<String, usize>,
    lease: &str,
) -> Option<&'a mut Settlement> {
    waiting.get_mut(*places.get(lease)?)?.as_mut()
}

impl Written {
    /// A settlement as it is written.
    pub(super) fn from(settlement: &Settlement) -> Self {
        let closing = |closing: &Closing| WrittenClosing {
            unit: closing.bucket.window.unit.as_str().to_owned(),
            period: closing
                .bucket
                .window
                .period
                .map_or("", crate::Period::as_str)
                .to_owned(),
            key: closing.bucket.key.clone(),
            starts_at_s: closing.bucket.starts_at_s,
            resets_at_s: closing.bucket.resets_at_s,
            taken: closing.taken,
            used: closing.used,
        };
        Self {
            user: settlement.user.clone(),
            lease: settlement.lease.as_str().to_owned(),
            closings: settlement.closings.iter().map(closing).collect(),
            tried_at_ms: settlement.tried_at_ms,
        }
    }

    fn into_settlement(self) -> Option<Settlement> {
        let closing = |closing: WrittenClosing| {
            let window = Window::parse(&closing.unit, Some(&closing.period), None)?;
            Some(Closing {
                bucket: Bucket {
                    window,
                    key: closing.key,
                    starts_at_s: closing.starts_at_s,
                    resets_at_s: closing.resets_at_s,
                },
                taken: closing.taken,
                used: closing.used,
            })
        };
        let closings: Option<Vec<Closing>> = self.closings.into_iter().map(closing).collect();
        Some(Settlement {
            account: Account::of(&self.user),
            user: self.user,
            lease: LeaseId::new(self.lease)?,
            closings: closings?,
            tried_at_ms: self.tried_at_ms,
        })
    }
}
