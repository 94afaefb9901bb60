//! What a request says besides its messages, tools and thinking.

use std::borrow::Cow;

use fault::Fault;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{Dropped, json};
use super::parts::Context;
use super::place::Place;

/// Refuses what the answer would have to show and cannot: members, and what they say when they ask for nothing.
///
/// # Errors
///
/// `InvalidRequest` with the member.
pub(super) fn refuse_unserved<'a>(
    mut take: impl FnMut(&str) -> Option<&'a RawValue>,
) -> Result<(), Fault> {
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
            let problem = match name {
                "n" => "must be 1: this model gives one answer to a request",
                _ => "cannot be had from this model; leave it out",
            };
            return Err(Place::Top(name).refuse(problem));
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
    newer: Option<&RawValue>,
    older: Option<&RawValue>,
    context: &mut Context<'_>,
) -> Result<u64, Fault> {
    let given = newer
        .map(|raw| ("max_completion_tokens", raw))
        .or(older.map(|raw| ("max_tokens", raw)));
    let wanted = match given {
        Some((name, raw)) => {
            let number = raw.get().parse::<u64>();
            let refuse = |_| Place::Top(name).refuse("must be a whole number from 0");
            number.map_err(refuse)?
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
pub(super) fn stop<'a>(
    raw: Option<&'a RawValue>,
    dropped: &mut Dropped,
) -> Result<Vec<Cow<'a, str>>, Fault> {
    let at = Place::Top("stop");
    let mut sequences = if raw.is_some_and(|raw| raw.get().starts_with('"')) {
        vec![at.some_text(raw)?]
    } else {
        let list = at.list(raw)?.into_iter().enumerate();
        list.map(|(index, raw)| at.item(index).some_text(Some(raw)))
            .collect::<Result<_, _>>()?
    };
    sequences.retain(|sequence| {
        let blank = sequence.trim().is_empty();
        if blank && !sequence.is_empty() {
            dropped.note("stop");
        }
        !blank
    });
    Ok(sequences)
}

/// How the next token is picked.
#[derive(Debug, Default)]
pub(super) struct Sampling<'a> {
    pub(super) temperature: Option<Cow<'a, RawValue>>,
    pub(super) top_p: Option<&'a RawValue>,
}

impl<'a> Sampling<'a> {
    /// One of the two at most, and none where the model `thinks`: Anthropic refuses more.
    pub(super) fn read(
        temperature: Option<&'a RawValue>,
        top_p: Option<&'a RawValue>,
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

fn number(name: &'static str, raw: Option<&RawValue>, most: f64) -> Result<Option<f64>, Fault> {
    let read = |raw: &RawValue| {
        let number = raw.get().parse().ok();
        number
            .filter(|number| (0.0..=most).contains(number))
            .ok_or_else(|| {
                Place::Top(name).refuse(format_args!("must be a number from 0 to {most}"))
            })
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
    pub(super) fn read(
        user: Option<&'a RawValue>,
        safety_identifier: Option<&'a RawValue>,
    ) -> Result<Option<Self>, Fault> {
        let user = Place::Top("user").text(user)?;
        let safety_identifier = Place::Top("safety_identifier").text(safety_identifier)?;
        let mut names = [user, safety_identifier].into_iter().flatten();
        let user_id = names.find(|name| !name.is_empty());
        Ok(user_id.map(|user_id| Self { user_id }))
    }
}

/// The tier that stands for that of the client's API.
pub(super) fn service_tier(raw: Option<&RawValue>, dropped: &mut Dropped) -> Option<&'static str> {
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
pub(super) fn include_usage(raw: Option<&RawValue>) -> Result<bool, Fault> {
    #[derive(Deserialize)]
    struct StreamOptions<'a> {
        #[serde(borrow)]
        include_usage: Option<&'a RawValue>,
    }
    let at = Place::Top("stream_options");
    if raw.is_none() {
        return Ok(false);
    }
    let options: StreamOptions<'_> = at.object(raw)?;
    let flag = at.member("include_usage").flag(options.include_usage)?;
    Ok(flag == Some(true))
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
    pub(super) fn read(raw: Option<&'a RawValue>) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct ResponseFormat<'a> {
            #[serde(borrow, rename = "type")]
            kind: Option<&'a RawValue>,
            #[serde(borrow)]
            json_schema: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct JsonSchema<'a> {
            #[serde(borrow)]
            description: Option<&'a RawValue>,
            #[serde(borrow)]
            schema: Option<&'a RawValue>,
        }
        let at = Place::Top("response_format");
        if raw.is_none() {
            return Ok(Self::Text);
        }
        let format: ResponseFormat<'_> = at.object(raw)?;
        match &*at.member("type").some_text(format.kind)? {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::Object),
            "json_schema" => {
                let at = at.member("json_schema");
                let named: JsonSchema<'_> = at.object(format.json_schema)?;
                let schema = named.schema.filter(|schema| schema.get().starts_with('{'));
                let refuse = || at.member("schema").refuse("must be an object");
                Ok(Self::Schema {
                    schema: schema.ok_or_else(refuse)?,
                    description: at.member("description").text(named.description)?,
                })
            }
            _ => Err(at
                .member("type")
                .refuse("must be text, json_object or json_schema")),
        }
    }
}
