//! What an upstream understands, and what its model can do: the table that every choice of the
//! translation is made by.
//!
//! "`OpenAI` compatible" is not one thing. A preset says how a kind of server usually is; the
//! configuration says where one differs (`config/profiles.py` sends only what does).

use serde::Deserialize;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// vLLM: Chat Completions with its extensions.
    Vllm,
    /// `OpenAI` itself, and servers as strict as it.
    OpenAi,
    /// Anthropic itself.
    Anthropic,
}

/// Where a system message in the middle of a conversation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InlineSystem {
    /// Into the next or previous turn, as many chat templates want one system message and in front.
    Fold,
    /// It keeps its role and place.
    Preserve,
}

/// How thinking is turned on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingSwitch {
    /// `chat_template_kwargs.enable_thinking`
    EnableThinking,
    /// `reasoning_effort`
    ReasoningEffort,
    /// There is none.
    None,
}

/// What a request without `thinking` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAbsent {
    /// No thinking, as at Anthropic.
    Off,
    /// Whatever the server does by itself.
    Leave,
}

/// The name of the limit on output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// The old name, which vLLM and most servers know.
    MaxTokens,
    /// The new name, which `OpenAI`'s reasoning models insist on.
    MaxCompletionTokens,
}

/// How much thinking, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    Xhigh,
    /// `max`
    Max,
}

impl Effort {
    /// Every effort, in ascending order.
    pub const ALL: [Self; 6] = [
        Self::Minimal,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Xhigh,
        Self::Max,
    ];

    /// The word on the wire of both APIs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The tokens that a model with a fixed budget gets for it.
    #[must_use]
    pub const fn budget_tokens(self) -> u64 {
        match self {
            Self::Minimal => 1024,
            Self::Low => 4096,
            Self::Medium => 8192,
            Self::High => 16384,
            Self::Xhigh => 24576,
            Self::Max => 32768,
        }
    }

    /// The effort that a word stands for, if it is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }
}

/// Which kind of thinking a model behind the Anthropic API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// `{type: adaptive}`; the model decides how much.
    Adaptive,
    /// `{type: enabled, budget_tokens}` only.
    Budget,
    /// None at all; behind the `OpenAI` API nothing about it is sent.
    None,
}

macro_rules! profile {
    ($($(#[$documentation:meta])* $field:ident: $type:ty = $vllm:expr, $openai:expr, $anthropic:expr;)*) => {
        /// An upstream's manners and its model's capabilities.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(from = "Given")]
        pub struct Profile {
            /// Whose server it is.
            pub kind: Kind,
            $($(#[$documentation])* pub $field: $type,)*
        }

        /// As the configuration gives it: a preset, and what differs.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            kind: Kind,
            $($field: Option<$type>,)*
        }

        impl Profile {
            /// How a server of this kind usually is.
            #[must_use]
            pub fn preset(kind: Kind) -> Self {
                match kind {
                    Kind::Vllm => Self { kind, $($field: $vllm,)* },
                    Kind::OpenAi => Self { kind, $($field: $openai,)* },
                    Kind::Anthropic => Self { kind, $($field: $anthropic,)* },
                }
            }
        }

        impl From<Given> for Profile {
            fn from(given: Given) -> Self {
                let mut profile = Self::preset(given.kind);
                $(if let Some(value) = given.$field {
                    profile.$field = value;
                })*
                profile
            }
        }
    };
}

// Columns: vLLM, OpenAI, Anthropic.
profile! {
    /// Where a system message in the middle of a conversation goes.
    inline_system: InlineSystem = InlineSystem::Fold, InlineSystem::Fold, InlineSystem::Preserve;
    /// How thinking is turned on and off behind the `OpenAI` API.
    thinking_switch: ThinkingSwitch =
        ThinkingSwitch::EnableThinking, ThinkingSwitch::ReasoningEffort, ThinkingSwitch::None;
    /// What a request without `thinking` means.
    thinking_when_absent: WhenAbsent = WhenAbsent::Off, WhenAbsent::Off, WhenAbsent::Leave;
    /// The name of the limit on output tokens behind the `OpenAI` API.
    max_tokens_field: MaxTokensField =
        MaxTokensField::MaxTokens, MaxTokensField::MaxCompletionTokens, MaxTokensField::MaxTokens;
    /// Whether `function.strict` is understood.
    strict_tools: bool = false, true, true;
    /// Whether a stream may end without a finish reason.
    lenient_end: bool = false, false, false;
    /// Whether vLLM was set up for `thinking_token_budget`.
    thinking_budget: bool = false, false, false;
    /// Whether `reasoning_effort: none` is understood.
    effort_none: bool = false, false, false;
    /// The highest `reasoning_effort` that is understood.
    top_effort: Effort = Effort::High, Effort::High, Effort::Max;
    /// Whether a hash of the user is sent as `user` and `safety_identifier`.
    send_user: bool = false, false, false;
    /// Whether images can be read.
    vision: bool = false, true, true;
    /// Whether PDF documents can be read.
    documents: bool = false, true, true;
    /// Tokens of input and output together.
    context_window: Option<u64> = None, None, None;
    /// The most output tokens; a higher limit is lowered.
    max_output_tokens: Option<u64> = None, None, None;
    /// The limit on output tokens for a client that gave none, where one is required.
    default_max_tokens: u64 = 8192, 8192, 8192;
    /// Which kind of thinking the model has.
    thinking: Thinking = Thinking::Adaptive, Thinking::Adaptive, Thinking::Adaptive;
    /// Whether `thinking: {type: disabled}` is accepted.
    thinking_off: bool = true, true, true;
    /// Whether `output_config.effort` is accepted.
    effort: bool = true, true, true;
    /// Whether `output_config.format` is accepted.
    structured_output: bool = true, true, true;
    /// Whether `temperature` and `top_p` are accepted.
    sampling: bool = true, true, true;
    /// Whether a system message in the middle of a conversation is accepted.
    mid_system: bool = true, true, true;
    /// Names in `anthropic-beta` (a `*` may end one) that are taken out of a request meant for
    /// another class of model.
    refused_betas: Vec<String> = Vec::new(), Vec::new(), Vec::new();
}

#[cfg(test)]
mod tests {
    use super::{Effort, Kind, Profile, Thinking};

    #[test]
    fn what_is_given_wins_over_the_preset_and_the_rest_stays() {
        let json = r#"{"kind":"vllm","vision":true,"context_window":8192,"top_effort":"xhigh"}"#;
        let profile: Profile = serde_json::from_str(json).unwrap();
        let mut expected = Profile::preset(Kind::Vllm);
        expected.vision = true;
        expected.context_window = Some(8192);
        expected.top_effort = Effort::Xhigh;
        assert_eq!(profile, expected);
    }

    #[test]
    fn an_unknown_field_or_word_is_a_mistake() {
        for json in [
            r#"{"kind":"vllm","visions":true}"#,
            r#"{"kind":"sglang"}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Profile>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn every_effort_is_read_back_and_they_ascend() {
        assert!(Effort::ALL.is_sorted());
        for effort in Effort::ALL {
            assert_eq!(Effort::parse(effort.as_str()), Some(effort));
        }
        assert_eq!(Effort::parse("none"), None);
    }

    #[test]
    fn a_models_thinking_can_be_taken_away() {
        let json = r#"{"kind":"openai","thinking":"none"}"#;
        let profile: Profile = serde_json::from_str(json).unwrap();
        assert_eq!(profile.thinking, Thinking::None);
    }
}
