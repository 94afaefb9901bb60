//! What the model may call, and whether it has to.

use std::borrow::Cow;
use std::collections::HashSet;

use fault::{Fault, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Dropped;
use super::super::json::compact;
use super::super::place::{At, Raw, Wrong, flag, list, object, optional_text, text};
use super::members::members;
use super::object::Object;
use super::request::Draft;
use super::strict;

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
    pub(super) fn read(raw: Raw<'a>) -> Result<Option<Self>, Fault> {
        raw.map(Self::of).transpose().fault("tool_choice")
    }

    fn of(raw: &'a RawValue) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        struct Given<'a> {
            #[serde(borrow, rename = "type")]
            kind: Raw<'a>,
            #[serde(borrow)]
            name: Raw<'a>,
            #[serde(borrow)]
            disable_parallel_tool_use: Raw<'a>,
        }
        let given: Given<'_> = object(Some(raw))?;
        let mode = match &*text(given.kind).at("type")? {
            "auto" => Mode::Auto,
            "any" => Mode::Any,
            "none" => Mode::None,
            "tool" => Mode::Tool(text(given.name).at("name")?),
            _ => return Err(Wrong::new("must be auto, any, tool or none").at("type")),
        };
        let one_at_a_time =
            flag(given.disable_parallel_tool_use).at("disable_parallel_tool_use")? == Some(true);
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
        tools: Raw<'_>,
        choice: Option<&Choice<'_>>,
    ) -> Result<bool, Fault> {
        let (custom, built_in) = self.sort(tools).fault("tools")?;
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

    fn sort<'a>(&mut self, tools: Raw<'a>) -> Result<(Vec<Custom<'a>>, Vec<BuiltIn<'a>>), Wrong> {
        let (mut custom, mut built_in) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for (index, tool) in list(tools)?.into_iter().enumerate() {
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
        members(raw.get(), |key, value| match key {
            "type" => kind = Some(value),
            "name" => name = Some(value),
            "description" => description = Some(value),
            "input_schema" => input_schema = Some(value),
            "strict" => strict = Some(value),
            "cache_control" | "defer_loading" => {}
            _ => others.note(format!("tools.{key}")),
        })?;
        let name = optional_text(name).at("name")?.unwrap_or_default();
        if let Some(kind) = optional_text(kind).at("type")?
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
        let mut strict = flag(strict).at("strict")? == Some(true);
        // A schema is never rewritten to fit.
        if strict && !(self.profile.strict_tools && strict::fits(input_schema)) {
            self.dropped.note("tools.strict");
            strict = false;
        }
        Ok(Tool::Custom(Custom {
            name,
            description: optional_text(description).at("description")?,
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

/// The schema as it stands; without any rule it would not describe an object to `OpenAI`.
fn schema(raw: Raw<'_>) -> Result<&str, Wrong> {
    match raw {
        Some(raw) if !raw.get().starts_with('{') => Err(Wrong::new("must be an object")),
        Some(raw) if raw.get().len() > NO_RULE_BYTES || compact(raw) != "{}" => Ok(raw.get()),
        _ => Ok(r#"{"type":"object","properties":{}}"#),
    }
}

/// Anthropic's own words: Claude Code repeats the request without such a tool.
fn not_here(tool: &BuiltIn<'_>) -> Fault {
    let kind: String = tool.kind.chars().take(QUOTED).collect();
    let message = format!(
        "tools.{}: Input tag '{kind}' found using 'type' does not \
         match any of the expected tags: 'custom'",
        tool.index
    );
    Fault::new(Kind::InvalidRequest, message).with_param("tools")
}

#[cfg(test)]
mod tests;
