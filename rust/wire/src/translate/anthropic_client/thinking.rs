//! Whether the model is to think before it answers, and how much.

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::compact;
use super::super::place::{At, Raw, Wrong, object, optional_text, text};
use super::super::{Dropped, Effort, Kind, Thinking, ThinkingSwitch, WhenAbsent};
use super::members::members;
use super::request::Draft;

/// What a chat template is told, for Qwen3 and its kin.
const SWITCH: &str = "enable_thinking";

/// Budgets below these stand for a low and for a medium effort.
const MEDIUM_FROM_TOKENS: u64 = 4096;
const HIGH_FROM_TOKENS: u64 = 16384;

/// `thinking`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing that is understood was said.
    Absent,
    Off,
    On {
        budget_tokens: Option<u64>,
    },
}

impl Wish {
    /// Reads `thinking`; a word that is not known says nothing, as new releases of clients bring
    /// new ones.
    pub(super) fn read(thinking: Raw<'_>, dropped: &mut Dropped) -> Result<Self, Fault> {
        if thinking.is_none() {
            return Ok(Self::Absent);
        }
        Self::of(thinking, dropped).fault("thinking")
    }

    fn of(thinking: Raw<'_>, dropped: &mut Dropped) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        struct Given<'a> {
            #[serde(borrow, rename = "type")]
            kind: Raw<'a>,
            #[serde(borrow)]
            budget_tokens: Raw<'a>,
        }
        let given: Given<'_> = object(thinking)?;
        match &*text(given.kind).at("type")? {
            "enabled" => {
                let budget_tokens = given.budget_tokens.map(|raw| raw.get().parse());
                let whole = |_| Wrong::new("must be a whole number").at("budget_tokens");
                Ok(Self::On {
                    budget_tokens: budget_tokens.transpose().map_err(whole)?,
                })
            }
            "adaptive" => Ok(Self::On {
                budget_tokens: None,
            }),
            "disabled" | "between_tools" => Ok(Self::Off),
            _ => {
                dropped.note("thinking.type");
                Ok(Self::Absent)
            }
        }
    }
}

impl Draft<'_> {
    /// Writes what the chat template is told: of thinking, and what the client itself gave.
    pub(super) fn chat_template_kwargs(&mut self, wish: Wish, own: Raw<'_>) -> Result<(), Fault> {
        let on = match (self.profile.thinking, self.profile.thinking_switch) {
            (Thinking::None, _) | (_, ThinkingSwitch::ReasoningEffort | ThinkingSwitch::None) => {
                None
            }
            (_, ThinkingSwitch::EnableThinking) => match wish {
                Wish::On { .. } => Some(true),
                Wish::Off => Some(false),
                Wish::Absent => self.absent_is_off().then_some(false),
            },
        };
        let own = match own {
            Some(_) if self.profile.kind != Kind::Vllm => {
                self.dropped.note("chat_template_kwargs");
                Vec::new()
            }
            Some(own) => client_kwargs(own)?,
            None => Vec::new(),
        };
        let on = on.filter(|_| own.iter().all(|(name, _)| name != SWITCH));
        if on.is_some() || !own.is_empty() {
            self.body.object("chat_template_kwargs", |kwargs| {
                if let Some(on) = on {
                    kwargs.flag(SWITCH, on);
                }
                for (name, value) in own {
                    kwargs.json(&name, &*compact(value));
                }
            });
        }
        Ok(())
    }

    /// Writes `thinking_token_budget` and `reasoning_effort`.
    pub(super) fn thinking(&mut self, wish: Wish, effort: Raw<'_>) -> Result<(), Fault> {
        let effort = self.effort(effort)?;
        let switch = match self.profile.thinking {
            Thinking::None => ThinkingSwitch::None,
            _ => self.profile.thinking_switch,
        };
        if switch == ThinkingSwitch::ReasoningEffort {
            if let Some(word) = self.reasoning_effort(wish, effort) {
                self.body.text("reasoning_effort", word);
            }
            return Ok(());
        }
        match wish {
            Wish::On { .. } if switch == ThinkingSwitch::None => self.dropped.note("thinking"),
            Wish::On {
                budget_tokens: Some(budget_tokens),
            } if self.profile.thinking_budget => {
                self.body.number("thinking_token_budget", budget_tokens);
            }
            Wish::On {
                budget_tokens: Some(_),
            } => self.dropped.note("thinking.budget_tokens"),
            _ => {}
        }
        if effort.is_some() {
            self.dropped.note("output_config.effort");
        }
        Ok(())
    }

    /// The word for what was wished; `None` where the server is to do as it does by itself.
    fn reasoning_effort(&mut self, wish: Wish, effort: Option<Effort>) -> Option<&'static str> {
        if wish == Wish::Off && self.profile.effort_none {
            if effort.is_some() {
                self.dropped.note("output_config.effort");
            }
            return Some("none");
        }
        let top = self.profile.top_effort;
        if let Some(effort) = effort {
            if effort > top {
                let name = format!("output_config.effort>{}", top.as_str());
                self.dropped.note(name);
            }
            return Some(effort.min(top).as_str());
        }
        match wish {
            Wish::On { budget_tokens } => {
                budget_tokens.map(|budget_tokens| effort_of(budget_tokens).min(top).as_str())
            }
            Wish::Off => None,
            Wish::Absent => (self.profile.effort_none && self.absent_is_off()).then_some("none"),
        }
    }

    fn absent_is_off(&self) -> bool {
        self.profile.thinking_when_absent == WhenAbsent::Off
    }

    fn effort(&mut self, effort: Raw<'_>) -> Result<Option<Effort>, Fault> {
        let word = optional_text(effort).at("effort").fault("output_config")?;
        let Some(word) = word else {
            return Ok(None);
        };
        let effort = Effort::parse(&word);
        if effort.is_none() {
            self.dropped.note("output_config.effort");
        }
        Ok(effort)
    }
}

fn effort_of(budget_tokens: u64) -> Effort {
    match budget_tokens {
        0..MEDIUM_FROM_TOKENS => Effort::Low,
        MEDIUM_FROM_TOKENS..HIGH_FROM_TOKENS => Effort::Medium,
        HIGH_FROM_TOKENS.. => Effort::High,
    }
}

fn client_kwargs(raw: &RawValue) -> Result<Vec<(String, &RawValue)>, Fault> {
    let mut own = Vec::new();
    members(raw.get(), |name, value| own.push((name.to_owned(), value)))
        .fault("chat_template_kwargs")?;
    Ok(own)
}

#[cfg(test)]
mod tests;
