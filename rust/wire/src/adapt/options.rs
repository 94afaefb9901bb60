//! The members beside the conversation, for a model of another class than the one that was asked
//! for, or a server that cannot write as much.

use crate::scan::{Shape, Value};
use crate::translate::{Dropped, Effort, Kind, Profile, Thinking};

use super::edits::{Edits, Item};

/// The fewest tokens that Anthropic lets a model think with.
const LEAST_BUDGET_TOKENS: u64 = 1024;

/// For a client that says that the model shall think but not how much.
const DEFAULT_EFFORT: Effort = Effort::Medium;

/// What was asked for, as far as it decides about more than itself.
pub(super) struct Options<'a> {
    /// What they have to fit; `None` where the model that was asked for serves.
    profile: Option<&'a Profile>,
    /// The limit on output tokens, and whether it had to be lowered.
    max_tokens: Option<u64>,
    lowered: bool,
    thinking: Fate,
    /// Whether the model will think.
    thinks: bool,
}

/// What becomes of `thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    Adaptive,
    Budget(u64),
}

impl<'a> Options<'a> {
    pub(super) fn read(
        edits: &Edits<'_>,
        root: &Value,
        max_tokens: Option<u64>,
        most_tokens: Option<u64>,
        profile: Option<&'a Profile>,
    ) -> Self {
        let limits = [
            profile.and_then(|profile| profile.max_output_tokens),
            most_tokens,
        ];
        let most = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
        let mut options = Self {
            profile,
            max_tokens: max_tokens.map(|asked| asked.min(most)),
            lowered: max_tokens.is_some_and(|asked| asked > most),
            thinking: Fate::Stays,
            thinks: false,
        };
        let [thinking, output_config, tool_choice] =
            edits.members(root, ["thinking", "output_config", "tool_choice"]);
        if let Some(thinking) = thinking {
            let kind = word(edits, &thinking, "type");
            let effort =
                output_config.and_then(|config| Effort::parse(&word(edits, &config, "effort")));
            let choice = tool_choice.map(|choice| word(edits, &choice, "type"));
            let forced = matches!(choice.as_deref(), Some("any" | "tool"));
            let effort = effort.unwrap_or(DEFAULT_EFFORT);
            if let Some(profile) = profile {
                options.thinking = options.fitted(profile, &kind, effort, forced);
            }
            if kind == "enabled" && options.thinking == Fate::Stays {
                options.thinking = options.affordable(edits, &thinking);
            }
            options.thinks = match options.thinking {
                Fate::Stays => matches!(&*kind, "adaptive" | "enabled"),
                Fate::Goes => false,
                Fate::Adaptive | Fate::Budget(_) => true,
            };
        }
        options
    }

    /// What becomes of `thinking` for another model.
    fn fitted(&self, profile: &Profile, kind: &str, effort: Effort, forced: bool) -> Fate {
        match (kind, profile.thinking) {
            (_, Thinking::None) => Fate::Goes,
            ("disabled", _) if !profile.thinking_off => Fate::Goes,
            // Only a model that decides for itself may be told both to think and which tool to use.
            ("adaptive", Thinking::Budget) if forced => Fate::Goes,
            ("adaptive", Thinking::Budget) => self.budget(effort.budget_tokens()),
            ("enabled", Thinking::Adaptive) if profile.kind == Kind::Anthropic => Fate::Adaptive,
            _ => Fate::Stays,
        }
    }

    /// What becomes of a budget where the limit was lowered: it has to be less.
    fn affordable(&self, edits: &Edits<'_>, thinking: &Value) -> Fate {
        let [tokens] = edits.members(thinking, ["budget_tokens"]);
        let tokens = tokens.and_then(|tokens| number(edits, &tokens));
        match (tokens, self.max_tokens.filter(|_| self.lowered)) {
            (Some(tokens), Some(max_tokens)) if tokens >= max_tokens => self.budget(tokens),
            _ => Fate::Stays,
        }
    }

    /// Half of the limit is left for the answer.
    fn budget(&self, tokens: u64) -> Fate {
        let tokens = tokens.min(
            self.max_tokens
                .map_or(u64::MAX, |max_tokens| max_tokens / 2),
        );
        if tokens < LEAST_BUDGET_TOKENS {
            return Fate::Goes;
        }
        Fate::Budget(tokens)
    }

    /// Notes what has to change.
    pub(super) fn fit(&self, edits: &mut Edits<'_>, root: &Value, dropped: &mut Dropped) {
        edits.retain(root, |edits, item| {
            item.value.shape == Shape::Null || self.member(edits, item, dropped)
        });
    }

    /// Whether a member stays, if not as it is.
    fn member(&self, edits: &mut Edits<'_>, item: &Item<'_>, dropped: &mut Dropped) -> bool {
        let place = item.value.span.clone();
        match (&*item.name, self.thinking, self.profile) {
            ("thinking", Fate::Goes, _) => {
                dropped.note("thinking");
                return false;
            }
            ("thinking", Fate::Adaptive, _) => {
                dropped.note("thinking.budget_tokens");
                edits.replace(place, &br#"{"type":"adaptive"}"#[..]);
            }
            ("thinking", Fate::Budget(tokens), _) => {
                let enabled = format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#);
                edits.replace(place, enabled.into_bytes());
            }
            ("max_tokens", ..) => {
                if let Some(most) = self.max_tokens.filter(|_| self.lowered) {
                    dropped.note(format!("max_tokens>{most}"));
                    edits.replace(place, most.to_string().into_bytes());
                }
            }
            (_, _, Some(profile)) => return self.stays(profile, edits, item, dropped),
            _ => {}
        }
        true
    }

    /// Whether another model takes a member.
    fn stays(
        &self,
        profile: &Profile,
        edits: &mut Edits<'_>,
        item: &Item<'_>,
        dropped: &mut Dropped,
    ) -> bool {
        let stays = match &*item.name {
            // Anthropic takes none of them beside thinking.
            "temperature" | "top_p" | "top_k" => {
                profile.sampling && !(self.thinks && profile.kind == Kind::Anthropic)
            }
            "output_format" => profile.structured_output,
            // Faster answers are sold for the largest models only.
            "speed" => false,
            "output_config" => {
                return edits.retain(&item.value, |edits, part| {
                    stays_in_output_config(profile, edits, part, dropped)
                });
            }
            "context_management" => {
                return self.thinks || without_clearing(edits, &item.value, dropped);
            }
            _ => true,
        };
        if !stays {
            dropped.note(item.name.clone().into_owned());
        }
        stays
    }
}

fn stays_in_output_config(
    profile: &Profile,
    edits: &mut Edits<'_>,
    part: &Item<'_>,
    dropped: &mut Dropped,
) -> bool {
    let (stays, name) = match &*part.name {
        "effort" => (profile.effort, "output_config.effort"),
        "format" => (profile.structured_output, "output_config.format"),
        _ => return true,
    };
    let top = profile.top_effort;
    let word = edits.text(&part.value);
    if !stays {
        dropped.note(name);
    } else if word
        .and_then(|word| Effort::parse(&word))
        .is_some_and(|effort| effort > top)
    {
        dropped.note(format!("{name}>{}", top.as_str()));
        edits.replace(
            part.value.span.clone(),
            format!("\"{}\"", top.as_str()).into_bytes(),
        );
    }
    stays
}

/// Takes out the edits that clear thinking: Anthropic refuses them in a request without.
fn without_clearing(edits: &mut Edits<'_>, management: &Value, dropped: &mut Dropped) -> bool {
    edits.retain(management, |edits, part| {
        part.name != "edits"
            || edits.retain(&part.value, |edits, edit| {
                let stays = !word(edits, &edit.value, "type").starts_with("clear_thinking_");
                if !stays {
                    dropped.note("context_management.edits");
                }
                stays
            })
    })
}

/// The text of the member `name` of `object`; empty if there is none.
fn word(edits: &Edits<'_>, object: &Value, name: &str) -> String {
    let [value] = edits.members(object, [name]);
    let text = value.and_then(|value| edits.text(&value));
    text.unwrap_or_default().into_owned()
}

fn number(edits: &Edits<'_>, value: &Value) -> Option<u64> {
    std::str::from_utf8(edits.raw(&value.span))
        .ok()?
        .parse()
        .ok()
}
