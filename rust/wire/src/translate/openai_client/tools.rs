//! Tools, which of them the model has to call, and the forced tool that stands in for structured
//! output.

use std::borrow::Cow;
use std::collections::HashSet;

use fault::Fault;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::place::{At, Raw, Wrong, flag, list, object, optional_text, text};
use super::function::{Function, Wrapped};
use super::parts::Context;
use super::reply::RESPOND_TOOL;

/// What a request says of tools.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    pub(super) tools: Raw<'a>,
    pub(super) tool_choice: Raw<'a>,
    pub(super) parallel_tool_calls: Raw<'a>,
    /// The name of `tools` before there were other tools than functions.
    pub(super) functions: Raw<'a>,
    /// The name of `tool_choice` then.
    pub(super) function_call: Raw<'a>,
}

/// The tools and the choice among them, as they are written.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<Tool<'a>>,
    pub(super) choice: Option<Choice<'a>>,
    /// Whether the answer is the input of the forced tool.
    pub(super) responds: bool,
}

/// One tool.
#[derive(Debug, Serialize)]
pub(super) struct Tool<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

/// What a tool takes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a RawValue),
    /// An object without a word on its members.
    Any {
        r#type: &'static str,
        properties: Properties,
    },
}

#[derive(Debug, Serialize)]
struct Properties {}

/// Which tools the model may or must call.
#[derive(Debug, Serialize)]
pub(super) struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

#[derive(Deserialize)]
struct GivenChoice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    function: Raw<'a>,
    #[serde(borrow)]
    allowed_tools: Raw<'a>,
}

#[derive(Deserialize)]
struct Allowed<'a> {
    #[serde(borrow)]
    mode: Raw<'a>,
    #[serde(borrow)]
    tools: Raw<'a>,
}

impl<'a> Tools<'a> {
    /// Reads what `given` says.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, with the place, for tools that are no functions and for a choice that is
    /// none.
    pub(super) fn read(given: &Given<'a>, context: &mut Context<'_>) -> Result<Self, Fault> {
        let mut tools = Self::default();
        tools
            .add(given.tools, |raw| {
                let tool = Wrapped::read(raw)?;
                Tool::read(tool.function, context).at("function")
            })
            .fault("tools")?;
        tools
            .add(given.functions, |raw| Tool::read(Some(raw), context))
            .fault("functions")?;
        let choice = given.tool_choice.map(|raw| ("tool_choice", raw));
        let choice = choice.or(given.function_call.map(|raw| ("function_call", raw)));
        if tools.list.is_empty() {
            if let Some((name, raw)) = choice
                && !matches!(raw.get(), r#""auto""# | r#""none""#)
            {
                context.dropped.note(name);
            }
            return Ok(tools);
        }
        if let Some((name, raw)) = choice {
            tools.choice = Some(tools.choose(raw).fault(name)?);
        }
        let parallel = flag(given.parallel_tool_calls).fault("parallel_tool_calls")?;
        if parallel == Some(false) {
            let choice = tools.choice.get_or_insert_with(|| Choice::of("auto"));
            choice.disable_parallel_tool_use = choice.r#type != "none";
        }
        Ok(tools)
    }

    fn add(
        &mut self,
        raw: Raw<'a>,
        mut read: impl FnMut(&'a RawValue) -> Result<Tool<'a>, Wrong>,
    ) -> Result<(), Wrong> {
        for (index, raw) in list(raw)?.into_iter().enumerate() {
            self.list.push(read(raw).at(index)?);
        }
        Ok(())
    }

    /// Whether the model cannot answer without a call.
    pub(super) fn forced(&self) -> bool {
        let choice = self.choice.as_ref();
        choice.is_some_and(|choice| matches!(choice.r#type, "any" | "tool"))
    }

    /// Makes the model answer with the input of one tool, of which `schema` is the schema.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` if there are tools that the model might call instead: it could not any
    /// more.
    pub(super) fn respond(
        &mut self,
        schema: &'a RawValue,
        description: Option<Cow<'a, str>>,
    ) -> Result<(), Fault> {
        let choice = self.choice.as_ref();
        let unused = choice.is_some_and(|choice| choice.r#type == "none");
        if !self.list.is_empty() && !unused {
            let says = "cannot be combined with tools on this model; leave one of them out";
            return Err(Wrong::new(says).fault("response_format"));
        }
        // What the history calls stays.
        self.list.retain(|tool| tool.name != RESPOND_TOOL);
        self.list.push(Tool {
            name: Cow::Borrowed(RESPOND_TOOL),
            description: description.or(Some(Cow::Borrowed("Gives the answer."))),
            input_schema: Schema::Given(schema),
            strict: false,
        });
        self.choice = Some(Choice {
            disable_parallel_tool_use: true,
            ..Choice::named(Cow::Borrowed(RESPOND_TOOL))
        });
        self.responds = true;
        Ok(())
    }

    fn choose(&mut self, raw: &'a RawValue) -> Result<Choice<'a>, Wrong> {
        match raw.get() {
            r#""auto""# => return Ok(Choice::of("auto")),
            r#""none""# => return Ok(Choice::of("none")),
            r#""required""# => return Ok(Choice::of("any")),
            json if json.starts_with('{') => {}
            _ => return Err(Wrong::new("must be auto, none, required or an object")),
        }
        let choice: GivenChoice<'_> = object(Some(raw))?;
        match optional_text(choice.kind).at("type")?.as_deref() {
            Some("function") => self.named(choice.function).at("function"),
            // The choice before tools: `{"name": …}`.
            None if choice.function.is_none() => self.named(Some(raw)),
            Some("allowed_tools") => self.allow(choice.allowed_tools).at("allowed_tools"),
            _ => Err(Wrong::new("must be function or allowed_tools").at("type")),
        }
    }

    fn named(&self, raw: Raw<'a>) -> Result<Choice<'a>, Wrong> {
        let function: Function<'_> = object(raw)?;
        let name = text(function.name).at("name")?;
        if !self.list.iter().any(|tool| tool.name == name) {
            return Err(unknown());
        }
        Ok(Choice::named(name))
    }

    /// Leaves only the tools that are allowed.
    fn allow(&mut self, raw: Raw<'a>) -> Result<Choice<'a>, Wrong> {
        let allowed: Allowed<'_> = object(raw)?;
        let kind = match &*text(allowed.mode).at("mode")? {
            "auto" => "auto",
            "required" => "any",
            _ => return Err(Wrong::new("must be auto or required").at("mode")),
        };
        let known: HashSet<_> = self.list.iter().map(|tool| &*tool.name).collect();
        let mut names = HashSet::new();
        for (index, raw) in list(allowed.tools).at("tools")?.into_iter().enumerate() {
            let name = allowed_name(raw, &known).at(index).at("tools")?;
            names.insert(name);
        }
        if names.is_empty() {
            return Err(Wrong::new("must name a tool").at("tools"));
        }
        self.list.retain(|tool| names.contains(&tool.name));
        Ok(Choice::of(kind))
    }
}

fn allowed_name<'a>(raw: &'a RawValue, known: &HashSet<&str>) -> Result<Cow<'a, str>, Wrong> {
    let tool = Wrapped::read(raw)?;
    let function: Function<'_> = object(tool.function).at("function")?;
    let name = text(function.name).at("name").at("function")?;
    if !known.contains(&*name) {
        return Err(unknown().at("function"));
    }
    Ok(name)
}

/// The refusal of a choice that is none of the tools.
fn unknown() -> Wrong {
    Wrong::new("must be the name of one of the tools").at("name")
}

impl<'a> Tool<'a> {
    fn read(raw: Raw<'a>, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let function: Function<'_> = object(raw)?;
        let mut strict = flag(function.strict).at("strict")? == Some(true);
        if strict && !context.profile.strict_tools {
            context.dropped.note("strict");
            strict = false;
        }
        Ok(Self {
            name: text(function.name).at("name")?,
            description: optional_text(function.description).at("description")?,
            input_schema: Schema::read(function.parameters).at("parameters")?,
            strict,
        })
    }
}

impl<'a> Schema<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        const ANY: Schema<'_> = Schema::Any {
            r#type: "object",
            properties: Properties {},
        };
        let Some(raw) = raw else {
            return Ok(ANY);
        };
        let members = raw.get().strip_prefix('{');
        match members.and_then(|members| members.strip_suffix('}')) {
            Some(members) if members.trim().is_empty() => Ok(ANY),
            Some(_) => Ok(Self::Given(raw)),
            None => Err(Wrong::new("must be an object")),
        }
    }
}

impl<'a> Choice<'a> {
    const fn of(kind: &'static str) -> Self {
        Self {
            r#type: kind,
            name: None,
            disable_parallel_tool_use: false,
        }
    }

    fn named(name: Cow<'a, str>) -> Self {
        Self {
            name: Some(name),
            ..Self::of("tool")
        }
    }
}
