//! How the answer is to be made: its length, shape and chance, and for whom.

use std::borrow::Cow;

use fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::super::json::{compact, text};
use super::super::place::{self, At, Raw, Wrong, list, object};
use super::super::{Kind, MaxTokensField};
use super::given::{EXTENSIONS, Given};
use super::request::Draft;

/// The most stop sequences that `OpenAI` takes.
const OPENAI_STOPS: usize = 4;

impl Draft<'_> {
    /// Writes `response_format`; the schema is the client's, byte by byte.
    pub(super) fn response_format(&mut self, given: &Given<'_>) -> Result<(), Fault> {
        let (name, schema) = if let Some(format) = given.format {
            let schema = schema(format).at("format");
            ("output_config.format", schema.fault("output_config")?)
        } else if let Some(format) = given.output_format {
            ("output_format", schema(format).fault("output_format")?)
        } else {
            return Ok(());
        };
        if !self.profile.structured_output {
            self.dropped.note(name);
            return Ok(());
        }
        self.body.object("response_format", |format| {
            format.text("type", "json_schema");
            format.object("json_schema", |named| {
                named.text("name", "output");
                named.json("schema", schema);
            });
        });
        Ok(())
    }

    /// Writes the limit on output tokens and returns the client's.
    pub(super) fn max_tokens(&mut self, given: &Given<'_>) -> Result<u64, Fault> {
        let wrong = |says: &str| Wrong::new(says).fault("max_tokens");
        let Some(raw) = given.max_tokens else {
            return Err(wrong(
                "is missing; send the most tokens the answer may have",
            ));
        };
        let asked = raw.get().parse();
        let asked: u64 = asked.map_err(|_| wrong("must be a whole number"))?;
        let limit = self.profile.max_output_tokens.unwrap_or(u64::MAX);
        if asked > limit {
            self.dropped.note(format!("max_tokens>{limit}"));
        }
        let max_tokens = asked.min(limit);
        // vLLM refuses a limit that exceeds its window whatever the prompt is, and uses what is
        // left of the window where there is no limit.
        let window = self.profile.context_window;
        let vllm = self.profile.kind == Kind::Vllm;
        if vllm && window.is_some_and(|window| max_tokens >= window) {
            return Ok(asked);
        }
        let name = match self.profile.max_tokens_field {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        self.body.number(name, max_tokens);
        Ok(asked)
    }

    /// Writes `stop` and returns what was asked for.
    pub(super) fn stop(&mut self, given: &Given<'_>) -> Result<Vec<String>, Fault> {
        let stop = texts(given.stop_sequences).fault("stop_sequences")?;
        if self.profile.kind == Kind::OpenAi && stop.len() > OPENAI_STOPS {
            let says = "may be 4 at most for this model; send fewer";
            return Err(Wrong::new(says).fault("stop_sequences"));
        }
        if !stop.is_empty() {
            self.body.texts("stop", &stop);
        }
        Ok(stop)
    }

    /// Writes `temperature`, `top_p` and `top_k` as they were given.
    pub(super) fn sampling(&mut self, given: &Given<'_>) -> Result<(), Fault> {
        let vllm = self.profile.kind == Kind::Vllm;
        for (name, raw, known) in [
            ("temperature", given.temperature, true),
            ("top_p", given.top_p, true),
            ("top_k", given.top_k, vllm),
        ] {
            match raw {
                None => {}
                Some(raw) if !is_number(raw) => {
                    return Err(Wrong::new("must be a number").fault(name));
                }
                Some(raw) if known && self.profile.sampling => self.body.json(name, raw.get()),
                Some(_) => self.dropped.note(name),
            }
        }
        Ok(())
    }

    /// Writes who asks, hashed: which conversation, for the upstream's cache, and on request which
    /// user, for its abuse reports. At vLLM the gateway itself uses the conversation, to choose a
    /// replica.
    pub(super) fn caller(&mut self, given: &Given<'_>) {
        if self.profile.kind == Kind::Vllm {
            return;
        }
        let Some(caller) = given.metadata.and_then(Caller::read) else {
            return;
        };
        if let Some(session) = caller.session {
            let key = hashed(&session);
            self.body.text("prompt_cache_key", &key);
        }
        if let Some(user) = caller.user.filter(|_| self.profile.send_user) {
            let user = hashed(&user);
            self.body.text("user", &user);
            self.body.text("safety_identifier", &user);
        }
    }

    /// Writes `service_tier`.
    pub(super) fn service_tier(&mut self, given: &Given<'_>) {
        let Some(tier) = given.service_tier else {
            return;
        };
        let tier = text(tier);
        match tier.as_deref() {
            _ if self.profile.kind == Kind::Vllm => self.dropped.note("service_tier"),
            Some("auto") => {}
            Some("standard_only") => self.body.text("service_tier", "default"),
            _ => self.dropped.note("service_tier"),
        }
    }

    /// Writes `stream`, and that usage is wanted: without it there would be none at all.
    pub(super) fn stream(&mut self, given: &Given<'_>) {
        if !given.stream {
            return;
        }
        let vllm = self.profile.kind == Kind::Vllm;
        self.body.flag("stream", true);
        self.body.object("stream_options", |options| {
            options.flag("include_usage", true);
            if vllm {
                // With it the first event can tell the input tokens.
                options.flag("continuous_usage_stats", true);
            }
        });
    }

    /// Writes vLLM's own members as they were given.
    pub(super) fn extensions(&mut self, given: &Given<'_>) {
        for (name, raw) in EXTENSIONS.into_iter().zip(given.extensions) {
            match raw {
                None => {}
                Some(raw) if self.profile.kind == Kind::Vllm => {
                    self.body.json(name, &*compact(raw));
                }
                Some(_) => self.dropped.note(name),
            }
        }
    }
}

/// Who asks, as `metadata.user_id` tells it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Caller {
    session: Option<String>,
    user: Option<String>,
}

impl Caller {
    /// Source: Claude Code 2.1.330 sends JSON with `device_id`, `account_uuid` and `session_id`,
    /// older releases `user_…_account_…_session_…`; others what they like.
    fn read(metadata: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            user_id: Raw<'a>,
        }
        #[derive(Deserialize)]
        struct UserId<'a> {
            #[serde(borrow)]
            session_id: Raw<'a>,
            #[serde(borrow)]
            account_uuid: Raw<'a>,
            #[serde(borrow)]
            device_id: Raw<'a>,
        }
        let metadata: Metadata<'_> = object(Some(metadata)).ok()?;
        let user_id = filled(metadata.user_id)?;
        if let Ok(parts) = object::<UserId<'_>>(serde_json::from_str(&user_id).ok()) {
            return Some(Self {
                session: filled(parts.session_id),
                user: filled(parts.account_uuid).or(filled(parts.device_id)),
            });
        }
        let (user, session) = match user_id.split_once("_session_") {
            Some((user, session)) => (user, Some(session.to_owned())),
            None => (&*user_id, None),
        };
        let user = Some(user.to_owned());
        Some(Self { session, user })
    }
}

/// A text with something in it.
fn filled(raw: Raw<'_>) -> Option<String> {
    let text = raw.and_then(text).filter(|text| !text.is_empty());
    text.map(Cow::into_owned)
}

/// The schema of an output format.
fn schema(format: &RawValue) -> Result<&str, Wrong> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Raw<'a>,
        #[serde(borrow)]
        schema: Raw<'a>,
    }
    let format: Format<'_> = object(Some(format))?;
    if format.kind.and_then(text).as_deref() != Some("json_schema") {
        return Err(Wrong::new("must be json_schema").at("type"));
    }
    let schema = format.schema.map(RawValue::get);
    let schema = schema.filter(|schema| schema.starts_with('{'));
    schema.ok_or_else(|| Wrong::new("must be an object").at("schema"))
}

fn texts(raw: Raw<'_>) -> Result<Vec<String>, Wrong> {
    let list = list(raw)?.into_iter().enumerate();
    let texts = list.map(|(index, raw)| place::text(Some(raw)).at(index).map(Cow::into_owned));
    texts.collect()
}

/// 64 hex digits, the most that `OpenAI` takes.
fn hashed(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

fn is_number(raw: &RawValue) -> bool {
    raw.get()
        .starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests;
