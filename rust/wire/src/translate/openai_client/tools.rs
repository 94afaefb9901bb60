//! Tools, which of them the model has to call, and the forced tool that stands in for structured output.

use std::borrow::Cow;
use std::collections::HashSet;

use fault::Fault;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::parts::Context;
use super::place::Place;
use super::reply::RESPOND_TOOL;

/// What a request says of tools.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    pub(super) tools: Option<&'a RawValue>,
    pub(super) tool_choice: Option<&'a RawValue>,
    pub(super) parallel_tool_calls: Option<&'a RawValue>,
    /// The name of `tools` before there were other tools than functions.
    pub(super) functions: Option<&'a RawValue>,
    /// The name of `tool_choice` then.
    pub(super) function_call: Option<&'a RawValue>,
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
struct GivenTool<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GivenChoice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    allowed_tools: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Allowed<'a> {
    #[serde(borrow)]
    mode: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

impl<'a> Tools<'a> {
    /// Reads what `given` says.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, with the place, for tools that are no functions and for a choice that is none.
    pub(super) fn read(given: &Given<'a>, context: &mut Context<'_>) -> Result<Self, Fault> {
        let mut tools = Self::default();
        let at = Place::Top("tools");
        for (index, raw) in at.list(given.tools)?.into_iter().enumerate() {
            let at = at.item(index);
            let tool: GivenTool<'_> = at.object(Some(raw))?;
            let kind = at.member("type").text(tool.kind)?;
            if kind.is_some_and(|kind| kind != "function") {
                return Err(at.member("type").refuse("must be function"));
            }
            let tool = Tool::read(tool.function, &at.member("function"), context)?;
            tools.list.push(tool);
        }
        let at = Place::Top("functions");
        for (index, raw) in at.list(given.functions)?.into_iter().enumerate() {
            let tool = Tool::read(Some(raw), &at.item(index), context)?;
            tools.list.push(tool);
        }
        let choice = given
            .tool_choice
            .map(|raw| (Place::Top("tool_choice"), raw))
            .or(given
                .function_call
                .map(|raw| (Place::Top("function_call"), raw)));
        if tools.list.is_empty() {
            if let Some((Place::Top(name), raw)) = choice
                && !matches!(raw.get(), r#""auto""# | r#""none""#)
            {
                context.dropped.note(name);
            }
            return Ok(tools);
        }
        if let Some((at, raw)) = choice {
            tools.choose(raw, &at)?;
        }
        let parallel = Place::Top("parallel_tool_calls").flag(given.parallel_tool_calls)?;
        if parallel == Some(false) {
            let choice = tools.choice.get_or_insert_with(|| Choice::of("auto"));
            choice.disable_parallel_tool_use = choice.r#type != "none";
        }
        Ok(tools)
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
    /// `InvalidRequest` if there are tools that the model might call instead: it could not any more.
    pub(super) fn respond(
        &mut self,
        schema: &'a RawValue,
        description: Option<Cow<'a, str>>,
    ) -> Result<(), Fault> {
        let choice = self.choice.as_ref();
        let unused = choice.is_some_and(|choice| choice.r#type == "none");
        if !self.list.is_empty() && !unused {
            let problem = "cannot be combined with tools on this model; leave one of them out";
            return Err(Place::Top("response_format").refuse(problem));
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

    fn choose(&mut self, raw: &'a RawValue, at: &Place<'_>) -> Result<(), Fault> {
        self.choice = Some(match raw.get() {
            r#""auto""# => Choice::of("auto"),
            r#""none""# => Choice::of("none"),
            r#""required""# => Choice::of("any"),
            json if json.starts_with('{') => {
                let choice: GivenChoice<'_> = at.object(Some(raw))?;
                let kind = at.member("type").text(choice.kind)?;
                match kind.as_deref() {
                    Some("function") => self.named(choice.function, &at.member("function"))?,
                    // The choice before tools: `{"name": …}`.
                    None if choice.function.is_none() => self.named(Some(raw), at)?,
                    Some("allowed_tools") => {
                        self.allow(choice.allowed_tools, &at.member("allowed_tools"))?
                    }
                    _ => {
                        let problem = "must be function or allowed_tools";
                        return Err(at.member("type").refuse(problem));
                    }
                }
            }
            _ => return Err(at.refuse("must be auto, none, required or an object")),
        });
        Ok(())
    }

    fn named(&self, raw: Option<&'a RawValue>, at: &Place<'_>) -> Result<Choice<'a>, Fault> {
        let function: Function<'_> = at.object(raw)?;
        let at = at.member("name");
        let name = at.some_text(function.name)?;
        if !self.list.iter().any(|tool| tool.name == name) {
            return Err(at.refuse("must be the name of one of the tools"));
        }
        Ok(Choice::named(name))
    }

    /// Leaves only the tools that are allowed.
    fn allow(&mut self, raw: Option<&'a RawValue>, at: &Place<'_>) -> Result<Choice<'a>, Fault> {
        let allowed: Allowed<'_> = at.object(raw)?;
        let mode = at.member("mode");
        let kind = match &*mode.some_text(allowed.mode)? {
            "auto" => "auto",
            "required" => "any",
            _ => return Err(mode.refuse("must be auto or required")),
        };
        let at = at.member("tools");
        let known: HashSet<_> = self.list.iter().map(|tool| &*tool.name).collect();
        let mut names = HashSet::new();
        for (index, raw) in at.list(allowed.tools)?.into_iter().enumerate() {
            let at = at.item(index);
            let tool: GivenTool<'_> = at.object(Some(raw))?;
            let at = at.member("function");
            let function: Function<'_> = at.object(tool.function)?;
            let at = at.member("name");
            let name = at.some_text(function.name)?;
            if !known.contains(&*name) {
                return Err(at.refuse("must be the name of one of the tools"));
            }
            names.insert(name);
        }
        if names.is_empty() {
            return Err(at.refuse("must name a tool"));
        }
        self.list.retain(|tool| names.contains(&tool.name));
        Ok(Choice::of(kind))
    }
}

impl<'a> Tool<'a> {
    fn read(
        raw: Option<&'a RawValue>,
        at: &Place<'_>,
        context: &mut Context<'_>,
    ) -> Result<Self, Fault> {
        let function: Function<'_> = at.object(raw)?;
        let mut strict = at.member("strict").flag(function.strict)? == Some(true);
        if strict && !context.profile.strict_tools {
            context.dropped.note("strict");
            strict = false;
        }
        Ok(Self {
            name: at.member("name").some_text(function.name)?,
            description: at.member("description").text(function.description)?,
            input_schema: Schema::read(function.parameters, &at.member("parameters"))?,
            strict,
        })
    }
}

impl<'a> Schema<'a> {
    fn read(raw: Option<&'a RawValue>, at: &Place<'_>) -> Result<Self, Fault> {
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
            None => Err(at.refuse("must be an object")),
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
