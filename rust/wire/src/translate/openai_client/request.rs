//! The request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fault::{Fault, Kind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::place::{At, Raw, flag, text};
use super::super::{self as translate, Dropped, Effort, Order, Translated};
use super::Memory;
use super::blocks::{Block, Turn};
use super::conversation::Finished;
use super::messages::messages;
use super::options::{
    Format, Metadata, Sampling, include_usage, is_neutral, max_tokens, refuse_unserved,
    service_tier, stop,
};
use super::parts::Context;
use super::thinking::{Budget, Thinking, thinking};
use super::tools::{Choice, Given, Tool, Tools};

/// What asks for an object where no schema says which.
const JSON_OBJECT: &str = "Answer with one JSON object and nothing else.";

/// A Messages request, in the order it is written.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

/// The members of the request that were not taken yet.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Fault> {
        // What is no object was refused before.
        let message = "the body must be an object whose members have names without lone surrogates";
        let refuse = |_| Fault::new(Kind::InvalidRequest, message);
        serde_json::from_slice(body).map(Self).map_err(refuse)
    }

    /// The value of a member; `null` is none.
    fn take(&mut self, name: &str) -> Raw<'a> {
        self.0.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Notes what nobody took.
    fn drop(self, dropped: &mut Dropped) {
        for (name, raw) in self.0 {
            if raw.get() != "null" && !is_neutral(&name, raw) {
                dropped.note(name);
            }
        }
    }
}

/// What the parts of a request that depend on each other became.
struct Draft<'a> {
    conversation: Finished<'a>,
    tools: Tools<'a>,
    format: Option<OutputFormat<'a>>,
}

/// Translates a chat completion's request into one for Messages.
pub(in crate::translate) fn request(order: &Order<'_>) -> Result<Translated, Fault> {
    let mut members = Members::read(order.body)?;
    let mut dropped = Dropped::default();
    let mut context = Context {
        profile: order.profile,
        dropped: &mut dropped,
    };
    refuse_unserved(|name| members.take(name))?;
    let mut draft = draft(&mut members, &mut context)?;
    let model = text(members.take("model")).fault("model")?;
    let memory = Memory {
        model: model.into_owned(),
        ids: std::mem::take(&mut draft.conversation.ids),
        include_usage: include_usage(members.take("stream_options"))?,
        respond_tool: draft.tools.responds,
    };
    let body = body(order.wire_model, draft, &mut members, &mut context)?;
    let mut json = Vec::with_capacity(order.body.len() + 256);
    serde_json::to_writer(&mut json, &body)
        .map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
    members.drop(&mut dropped);
    Ok(Translated::Request(translate::Request {
        body: json,
        dropped,
        memory: translate::Memory::OpenAiClient(memory),
    }))
}

fn draft<'a>(members: &mut Members<'a>, context: &mut Context<'_>) -> Result<Draft<'a>, Fault> {
    let mut conversation = messages(members.take("messages"), context)?;
    let given = Given {
        tools: members.take("tools"),
        tool_choice: members.take("tool_choice"),
        parallel_tool_calls: members.take("parallel_tool_calls"),
        functions: members.take("functions"),
        function_call: members.take("function_call"),
    };
    let mut tools = Tools::read(&given, context)?;
    let mut format = None;
    match Format::read(members.take("response_format"))? {
        Format::Text => {}
        Format::Object => conversation.system.push(Block::text(JSON_OBJECT)),
        Format::Schema { schema, .. } if context.profile.structured_output => {
            let r#type = "json_schema";
            format = Some(OutputFormat { r#type, schema });
        }
        Format::Schema {
            schema,
            description,
        } => tools.respond(schema, description)?,
    }
    Ok(Draft {
        conversation,
        tools,
        format,
    })
}

fn body<'a>(
    wire_model: &'a str,
    draft: Draft<'a>,
    members: &mut Members<'a>,
    context: &mut Context<'_>,
) -> Result<Body<'a>, Fault> {
    let Draft {
        conversation,
        tools,
        format,
    } = draft;
    let max_tokens = max_tokens(
        members.take("max_completion_tokens"),
        members.take("max_tokens"),
        context,
    )?;
    let budget = Budget {
        max_tokens,
        possible: !tools.forced() && !conversation.lacks_thinking(),
    };
    let (thinking, effort) = thinking(members.take("reasoning_effort"), budget, context)?;
    let thinks = thinking.as_ref().is_some_and(Thinking::is_on);
    let (temperature, top_p) = (members.take("temperature"), members.take("top_p"));
    let sampling = Sampling::read(temperature, top_p, thinks, context)?;
    let output_config = (effort.is_some() || format.is_some()).then_some(OutputConfig {
        effort: effort.map(Effort::as_str),
        format,
    });
    Ok(Body {
        model: wire_model,
        system: conversation.system,
        messages: conversation.turns,
        tools: tools.list,
        tool_choice: tools.choice,
        thinking,
        output_config,
        max_tokens,
        stop_sequences: stop(members.take("stop"), context.dropped)?,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        metadata: Metadata::read(members.take("user"), members.take("safety_identifier"))?,
        service_tier: service_tier(members.take("service_tier"), context.dropped),
        stream: flag(members.take("stream")).fault("stream")? == Some(true),
    })
}

#[cfg(test)]
mod tests;
