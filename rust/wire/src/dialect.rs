//! The wire formats, and the operations that exist in them.

use serde::Deserialize;

/// A wire format: whose API a client or an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// `OpenAI` Chat Completions.
    OpenAi,
}

impl Dialect {
    /// Every dialect, for tables and tests.
    pub const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    /// The stable word for configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// The dialect a stable word stands for, if it is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == word)
    }
}

/// What a request asks for: one endpoint of one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/chat/completions`
    ChatCompletions,
}

impl Operation {
    /// Every operation, for tables and tests.
    pub const ALL: [Self; 3] = [Self::Messages, Self::CountTokens, Self::ChatCompletions];

    /// The dialect this operation belongs to.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::ChatCompletions => Dialect::OpenAi,
        }
    }

    /// The stable word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::ChatCompletions => "chat_completions",
        }
    }

    /// The operation a stable word stands for, if it is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == word)
    }

    /// The operation by which a message is asked for in `dialect`.
    #[must_use]
    pub const fn generate(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Anthropic => Self::Messages,
            Dialect::OpenAi => Self::ChatCompletions,
        }
    }

    /// The path of this operation at an upstream, without a query.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::ChatCompletions => "/v1/chat/completions",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Operation};

    #[test]
    fn every_word_is_read_back() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        for operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.as_str()), Some(operation));
        }
        assert_eq!(Dialect::parse("Anthropic"), None);
        assert_eq!(Operation::parse(""), None);
    }
}
