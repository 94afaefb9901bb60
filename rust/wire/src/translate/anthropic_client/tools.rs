//! What the model may call, and whether it has to.

use std::borrow::Cow;
use std::collections::HashSet;

use fault::Fault;
use serde_json::value::RawValue;

use super::super::Dropped;
use super::super::json::{compact, list, text};
use super::members::members;
use super::object::Object;
use super::request::Draft;
use super::strict;
use super::wrong::{At, Wrong};

/// The most of a client's word that an error repeats, in characters.
const QUOTED: usize = 64;

/// The most bytes that are looked at to find that a schema has no rule.
const NO_RULE_BYTES: usize = 64;

/// `tool_choice`
#[derive(Debug)]
pub(super) struct Choice<'a> {
    mode: Mode<'a>,
    one_at_a_time: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode<'a> {
    Auto,
    Any,
    Tool(Cow<'a, str>),
    None,
}

impl<'a> Choice<'a> {
    /// Reads `tool_choice`.
    pub(super) fn read(raw: Option<&'a RawValue>) -> Result<Option<Self>, Fault> {
        let choice = raw.map(Self::of).transpose();
        choice.map_err(|wrong| wrong.fault("tool_choice"))
    }

    fn of(raw: &'a RawValue) -> Result<Self, Wrong> {
        let (mut kind, mut name, mut one_at_a_time) = (None, None, None);
        let object = members(raw.get(), |key, value| match key {
            "type" => kind = Some(value),
            "name" => name = Some(value),
            "disable_parallel_tool_use" => one_at_a_time = Some(value),
            _ => {}
        });
        if !object {
            return Err(Wrong::new("must be an object"));
        }
        let mode = match kind.and_then(text).as_deref() {
            Some("auto") => Mode::Auto,
            Some("any") => Mode::Any,
            Some("none") => Mode::None,
            Some("tool") => {
                let name = name.and_then(text);
                Mode::Tool(name.ok_or_else(|| Wrong::new("must be a tool's name").at("name"))?)
            }
            _ => {
                let says = "must be \"auto\", \"any\", \"tool\" or \"none\"";
                return Err(Wrong::new(says).at("type"));
            }
        };
        let one_at_a_time = flag(one_at_a_time).at("disable_parallel_tool_use")?;
        Ok(Self {
            one_at_a_time: one_at_a_time && mode != Mode::None,
            mode,
        })
    }
}

/// A tool that the client runs, described by a schema.
struct Custom<'a> {
    name: Cow<'a, str>,
    description: Option<Cow<'a, str>>,
    input_schema: &'a str,
    strict: bool,
}

/// A tool that Anthropic runs or describes itself: its type tells its schema.
struct BuiltIn<'a> {
    index: usize,
    kind: Cow<'a, str>,
    name: Cow<'a, str>,
}

enum Tool<'a> {
    Custom(Custom<'a>),
    BuiltIn(BuiltIn<'a>),
}

impl Draft<'_> {
    /// Writes `tools` and returns whether there are any.
    pub(super) fn tools(
        &mut self,
        tools: Option<&RawValue>,
        choice: Option<&Choice<'_>>,
    ) -> Result<bool, Fault> {
        let (custom, built_in) = self.sort(tools).map_err(|wrong| wrong.fault("tools"))?;
        let wanted = match choice.map(|choice| &choice.mode) {
            Some(Mode::Tool(name)) => Some(&**name),
            _ => None,
        };
        let missed = |tool: &&BuiltIn<'_>| custom.is_empty() || wanted == Some(&*tool.name);
        if let Some(tool) = built_in.iter().find(missed) {
            return Err(not_here(tool));
        }
        for tool in built_in {
            self.dropped.note(format!("tools.{}", tool.kind));
        }
        if custom.is_empty() {
            return Ok(false);
        }
        if wanted.is_some_and(|wanted| custom.iter().all(|tool| tool.name != wanted)) {
            let wrong = Wrong::new("must be the name of one of the tools").at("name");
            return Err(wrong.fault("tool_choice"));
        }
        let names = &mut self.names;
        self.body.objects("tools", custom, |object, tool| {
            tool.write(&names.sent(&tool.name), object);
        });
        Ok(true)
    }

    /// Writes `tool_choice` and `parallel_tool_calls`; without tools both mean nothing.
    pub(super) fn tool_choice(&mut self, choice: Option<Choice<'_>>, has_tools: bool) {
        let Some(choice) = choice else { return };
        if !has_tools {
            if matches!(choice.mode, Mode::Any | Mode::Tool(_)) {
                self.dropped.note("tool_choice");
            }
            return;
        }
        match choice.mode {
            Mode::Auto => self.body.text("tool_choice", "auto"),
            Mode::Any => self.body.text("tool_choice", "required"),
            Mode::None => self.body.text("tool_choice", "none"),
            Mode::Tool(name) => {
                let name = self.names.sent(&name);
                self.body.object("tool_choice", |object| {
                    object.text("type", "function");
                    object.object("function", |function| function.text("name", &name));
                });
            }
        }
        if choice.one_at_a_time {
            self.body.flag("parallel_tool_calls", false);
        }
    }

    fn sort<'a>(
        &mut self,
        tools: Option<&'a RawValue>,
    ) -> Result<(Vec<Custom<'a>>, Vec<BuiltIn<'a>>), Wrong> {
        let (mut custom, mut built_in) = (Vec::new(), Vec::new());
        let Some(tools) = tools else {
            return Ok((custom, built_in));
        };
        let Some(tools) = list(tools) else {
            return Err(Wrong::new("must be a list"));
        };
        let mut known = HashSet::new();
        for (index, tool) in tools.into_iter().enumerate() {
            let tool = self.tool(index, tool).at(index)?;
            let (Tool::Custom(Custom { name, .. }) | Tool::BuiltIn(BuiltIn { name, .. })) = &tool;
            // The name that is sent: a client's own could be the one that another is changed to.
            if !name.is_empty() && !known.insert(self.names.sent(name).into_owned()) {
                let says = "is the name of an earlier tool, too; make names unique";
                return Err(Wrong::new(says).at("name").at(index));
            }
            match tool {
                Tool::Custom(tool) => custom.push(tool),
                Tool::BuiltIn(tool) => built_in.push(tool),
            }
        }
        Ok((custom, built_in))
    }

    fn tool<'a>(&mut self, index: usize, raw: &'a RawValue) -> Result<Tool<'a>, Wrong> {
        let (mut kind, mut name, mut description) = (None, None, None);
        let (mut input_schema, mut strict) = (None, None);
        let mut others = Dropped::default();
        let object = members(raw.get(), |key, value| match key {
            "type" => kind = Some(value),
            "name" => name = Some(value),
            "description" => description = Some(value),
            "input_schema" => input_schema = Some(value),
            "strict" => strict = Some(value),
            "cache_control" | "defer_loading" => {}
            _ => others.note(format!("tools.{key}")),
        });
        if !object {
            return Err(Wrong::new("must be an object"));
        }
        let name = string(name).at("name")?.unwrap_or_default();
        if let Some(kind) = string(kind).at("type")?
            && kind != "custom"
        {
            return Ok(Tool::BuiltIn(BuiltIn { index, kind, name }));
        }
        if name.is_empty() {
            return Err(Wrong::new("is missing; name the tool").at("name"));
        }
        for other in others.names() {
            self.dropped.note(other.to_owned());
        }
        let input_schema = schema(input_schema).at("input_schema")?;
        let mut strict = flag(strict).at("strict")?;
        // A schema is never rewritten to fit.
        if strict && !(self.profile.strict_tools && strict::fits(input_schema)) {
            self.dropped.note("tools.strict");
            strict = false;
        }
        Ok(Tool::Custom(Custom {
            name,
            description: string(description).at("description")?,
            input_schema,
            strict,
        }))
    }
}

impl Custom<'_> {
    fn write(&self, sent_name: &str, object: &mut Object) {
        object.text("type", "function");
        object.object("function", |function| {
            function.text("name", sent_name);
            if let Some(description) = &self.description {
                function.text("description", description);
            }
            function.json("parameters", self.input_schema);
            if self.strict {
                function.flag("strict", true);
            }
        });
    }
}

fn string(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, Wrong> {
    let text = raw.map(|raw| text(raw).ok_or_else(|| Wrong::new("must be a string")));
    text.transpose()
}

fn flag(raw: Option<&RawValue>) -> Result<bool, Wrong> {
    match raw.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Wrong::new("must be true or false")),
    }
}

/// The schema as it stands; without any rule it would not describe an object to `OpenAI`.
fn schema(raw: Option<&RawValue>) -> Result<&str, Wrong> {
    match raw {
        Some(raw) if !raw.get().starts_with('{') => Err(Wrong::new("must be an object")),
        Some(raw) if raw.get().len() > NO_RULE_BYTES || compact(raw) != "{}" => Ok(raw.get()),
        _ => Ok(r#"{"type":"object","properties":{}}"#),
    }
}

/// Anthropic's own words: Claude Code repeats the request without such a tool.
fn not_here(tool: &BuiltIn<'_>) -> Fault {
    let kind: String = tool.kind.chars().take(QUOTED).collect();
    let says = format!(
        "Input tag '{kind}' found using 'type' does not match any of the expected tags: 'custom'"
    );
    Wrong::new(says).at(tool.index).fault("tools")
}

#[cfg(test)]
mod tests;
