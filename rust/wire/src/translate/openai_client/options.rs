//! What a request says besides its messages, tools and thinking.

use std::borrow::Cow;

use fault::Fault;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, flag, list, object, optional_text, text};
use super::super::{Dropped, json};
use super::parts::Context;

/// Refuses what the answer would have to show and cannot: members, and what they say when they ask
/// for nothing.
///
/// # Errors
///
/// `InvalidRequest` with the member.
pub(super) fn refuse_unserved<'a>(mut take: impl FnMut(&str) -> Raw<'a>) -> Result<(), Fault> {
    const UNSERVED: [(&str, &[&str]); 6] = [
        ("n", &["1"]),
        ("logprobs", &["false"]),
        ("top_logprobs", &["0"]),
        ("logit_bias", &["{}"]),
        ("modalities", &[r#"["text"]"#, "[]"]),
        ("audio", &[]),
    ];
    for (name, neutral) in UNSERVED {
        if let Some(raw) = take(name)
            && !neutral.contains(&&*json::compact(raw))
        {
            let says = match name {
                "n" => "must be 1: this model gives one answer to a request",
                _ => "cannot be had from this model; leave it out",
            };
            return Err(Wrong::new(says).fault(name));
        }
    }
    Ok(())
}

/// Whether a member that is left out would have changed nothing.
pub(super) fn is_neutral(name: &str, raw: &RawValue) -> bool {
    match name {
        "frequency_penalty" | "presence_penalty" => raw.get().parse() == Ok(0.0),
        "store" => raw.get() == "false",
        "verbosity" => raw.get() == r#""medium""#,
        _ => false,
    }
}

/// The limit on output tokens: the newer member, the older, what the model has by default.
pub(super) fn max_tokens(
    newer: Raw<'_>,
    older: Raw<'_>,
    context: &mut Context<'_>,
) -> Result<u64, Fault> {
    let given = newer
        .map(|raw| ("max_completion_tokens", raw))
        .or(older.map(|raw| ("max_tokens", raw)));
    let wanted = match given {
        Some((name, raw)) => {
            let number = raw.get().parse::<u64>();
            number.map_err(|_| Wrong::new("must be a whole number").fault(name))?
        }
        None => context.profile.default_max_tokens,
    };
    let most = context.profile.max_output_tokens.unwrap_or(u64::MAX);
    if let Some((name, _)) = given
        && wanted > most
    {
        context.dropped.note(format!("{name}>{most}"));
    }
    Ok(wanted.min(most).max(1))
}

/// The sequences to stop at; Anthropic takes none that is blank.
pub(super) fn stop<'a>(raw: Raw<'a>, dropped: &mut Dropped) -> Result<Vec<Cow<'a, str>>, Fault> {
    let mut sequences = texts(raw).fault("stop")?;
    sequences.retain(|sequence| {
        let blank = sequence.trim().is_empty();
        if blank && !sequence.is_empty() {
            dropped.note("stop");
        }
        !blank
    });
    Ok(sequences)
}

/// A list of strings, or the only one.
fn texts(raw: Raw<'_>) -> Result<Vec<Cow<'_, str>>, Wrong> {
    if let Some(only) = raw.and_then(json::text) {
        return Ok(vec![only]);
    }
    let list = list(raw)?.into_iter().enumerate();
    list.map(|(index, raw)| text(Some(raw)).at(index)).collect()
}

/// How the next token is picked.
#[derive(Debug, Default)]
pub(super) struct Sampling<'a> {
    pub(super) temperature: Option<Cow<'a, RawValue>>,
    pub(super) top_p: Raw<'a>,
}

impl<'a> Sampling<'a> {
    /// One of the two at most, and none where the model `thinks`: Anthropic refuses more.
    pub(super) fn read(
        temperature: Raw<'a>,
        top_p: Raw<'a>,
        thinks: bool,
        context: &mut Context<'_>,
    ) -> Result<Self, Fault> {
        let heat = number("temperature", temperature, 2.0)?;
        let share = number("top_p", top_p, 1.0)?;
        let mut drop = |name: &'static str, value: Option<f64>| {
            // 1 is how a model samples by itself.
            if !matches!(value, None | Some(1.0)) {
                context.dropped.note(name);
            }
        };
        if thinks || !context.profile.sampling {
            drop("temperature", heat);
            drop("top_p", share);
            return Ok(Self::default());
        }
        let Some(raw) = temperature else {
            return Ok(Self {
                temperature: None,
                top_p,
            });
        };
        drop("top_p", share);
        let temperature = if heat > Some(1.0) {
            context.dropped.note("temperature>1");
            RawValue::from_string("1".to_owned()).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(raw))
        };
        Ok(Self {
            temperature,
            top_p: None,
        })
    }
}

fn number(name: &'static str, raw: Raw<'_>, most: f64) -> Result<Option<f64>, Fault> {
    let read = |raw: &RawValue| {
        let number = raw.get().parse().ok();
        number
            .filter(|number| (0.0..=most).contains(number))
            .ok_or_else(|| Wrong::new(format!("must be a number from 0 to {most}")).fault(name))
    };
    raw.map(read).transpose()
}

/// Who asks.
#[derive(Debug, Serialize)]
pub(super) struct Metadata<'a> {
    user_id: Cow<'a, str>,
}

impl<'a> Metadata<'a> {
    /// The first name that is not empty.
    pub(super) fn read(user: Raw<'a>, safety_identifier: Raw<'a>) -> Result<Option<Self>, Fault> {
        let user = optional_text(user).fault("user")?;
        let safety_identifier = optional_text(safety_identifier).fault("safety_identifier")?;
        let mut names = [user, safety_identifier].into_iter().flatten();
        let user_id = names.find(|name| !name.is_empty());
        Ok(user_id.map(|user_id| Self { user_id }))
    }
}

/// The tier that stands for that of the client's API.
pub(super) fn service_tier(raw: Raw<'_>, dropped: &mut Dropped) -> Option<&'static str> {
    match raw?.get() {
        r#""auto""# => Some("auto"),
        r#""default""# => Some("standard_only"),
        _ => {
            dropped.note("service_tier");
            None
        }
    }
}

/// Whether a stream is to end with a chunk that holds the usage.
pub(super) fn include_usage(raw: Raw<'_>) -> Result<bool, Fault> {
    #[derive(Deserialize)]
    struct StreamOptions<'a> {
        #[serde(borrow)]
        include_usage: Raw<'a>,
    }
    if raw.is_none() {
        return Ok(false);
    }
    let options = object(raw)
        .and_then(|options: StreamOptions<'_>| flag(options.include_usage).at("include_usage"));
    Ok(options.fault("stream_options")? == Some(true))
}

/// What the answer has to look like.
#[derive(Debug)]
pub(super) enum Format<'a> {
    /// Anything.
    Text,
    /// Some object.
    Object,
    /// What a schema says.
    Schema {
        schema: &'a RawValue,
        description: Option<Cow<'a, str>>,
    },
}

impl<'a> Format<'a> {
    pub(super) fn read(raw: Raw<'a>) -> Result<Self, Fault> {
        let format = raw.map(|raw| Self::of(raw).fault("response_format"));
        format.unwrap_or(Ok(Self::Text))
    }

    fn of(raw: &'a RawValue) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        struct ResponseFormat<'a> {
            #[serde(borrow, rename = "type")]
            kind: Raw<'a>,
            #[serde(borrow)]
            json_schema: Raw<'a>,
        }
        let format: ResponseFormat<'_> = object(Some(raw))?;
        match &*text(format.kind).at("type")? {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::Object),
            "json_schema" => Self::schema(format.json_schema).at("json_schema"),
            _ => Err(Wrong::new("must be text, json_object or json_schema").at("type")),
        }
    }

    fn schema(raw: Raw<'a>) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        struct JsonSchema<'a> {
            #[serde(borrow)]
            description: Raw<'a>,
            #[serde(borrow)]
            schema: Raw<'a>,
        }
        let named: JsonSchema<'_> = object(raw)?;
        let schema = named.schema.filter(|schema| schema.get().starts_with('{'));
        Ok(Self::Schema {
            schema: schema.ok_or_else(|| Wrong::new("must be an object").at("schema"))?,
            description: optional_text(named.description).at("description")?,
        })
    }
}
