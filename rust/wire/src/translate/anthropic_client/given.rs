//! The request's own members, as they stand in the body.

use fault::{Fault, Kind};
use serde_json::value::RawValue;

use super::super::Dropped;
use super::super::json::compact;
use super::members::members;
use super::wrong::Wrong;

/// vLLM's own members that a client of either API may use.
pub(super) const EXTENSIONS: [&str; 4] = ["min_p", "repetition_penalty", "cache_salt", "priority"];

/// Members that change nothing in what is answered; Claude Code sends some with every request.
const SILENT: [&str; 6] = [
    "context_management",
    "diagnostics",
    "inference_geo",
    "speed",
    "user_profile_id",
    "cache_control",
];

/// What was given; a member that is `null` was not.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    pub(super) model: Option<&'a RawValue>,
    pub(super) messages: Option<&'a RawValue>,
    pub(super) system: Option<&'a RawValue>,
    pub(super) tools: Option<&'a RawValue>,
    pub(super) tool_choice: Option<&'a RawValue>,
    pub(super) max_tokens: Option<&'a RawValue>,
    pub(super) stop_sequences: Option<&'a RawValue>,
    pub(super) stream: bool,
    pub(super) temperature: Option<&'a RawValue>,
    pub(super) top_p: Option<&'a RawValue>,
    pub(super) top_k: Option<&'a RawValue>,
    pub(super) thinking: Option<&'a RawValue>,
    /// `output_config.effort`
    pub(super) effort: Option<&'a RawValue>,
    /// `output_config.format`
    pub(super) format: Option<&'a RawValue>,
    /// The older name of the same.
    pub(super) output_format: Option<&'a RawValue>,
    pub(super) metadata: Option<&'a RawValue>,
    pub(super) service_tier: Option<&'a RawValue>,
    pub(super) chat_template_kwargs: Option<&'a RawValue>,
    /// In the order of [`EXTENSIONS`].
    pub(super) extensions: [Option<&'a RawValue>; EXTENSIONS.len()],
}

impl<'a> Given<'a> {
    /// Reads the top level of `body` once, and notes what has no counterpart.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for what only Anthropic's own servers could do.
    pub(super) fn read(body: &'a str, dropped: &mut Dropped) -> Result<Self, Fault> {
        let mut given = Self::default();
        let (mut output_config, mut mcp_servers, mut container) = (None, None, None);
        let object = members(body, |name, value| match name {
            "model" => given.model = Some(value),
            "messages" => given.messages = Some(value),
            "system" => given.system = Some(value),
            "tools" => given.tools = Some(value),
            "tool_choice" => given.tool_choice = Some(value),
            "max_tokens" => given.max_tokens = Some(value),
            "stop_sequences" => given.stop_sequences = Some(value),
            "stream" => given.stream = value.get() == "true",
            "temperature" => given.temperature = Some(value),
            "top_p" => given.top_p = Some(value),
            "top_k" => given.top_k = Some(value),
            "thinking" => given.thinking = Some(value),
            "output_config" => output_config = Some(value),
            "output_format" => given.output_format = Some(value),
            "metadata" => given.metadata = Some(value),
            "service_tier" => given.service_tier = Some(value),
            "mcp_servers" => mcp_servers = Some(value),
            "container" => container = Some(value),
            "chat_template_kwargs" => given.chat_template_kwargs = Some(value),
            _ if SILENT.contains(&name) => {}
            _ => match given.extension(name) {
                Some(slot) => *slot = Some(value),
                None => dropped.note(name.to_owned()),
            },
        });
        if !object {
            return Err(Fault::new(
                Kind::InvalidRequest,
                "the body must be a JSON object",
            ));
        }
        if mcp_servers.is_some_and(|servers| compact(servers) != "[]") {
            let says = "cannot be reached by this model; leave it out and let the client call them";
            return Err(Wrong::new(says).fault("mcp_servers"));
        }
        if container.is_some() {
            return Err(Wrong::new("is nothing this model has; leave it out").fault("container"));
        }
        given.read_output_config(output_config, dropped)?;
        Ok(given)
    }

    fn extension(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        let at = EXTENSIONS.iter().position(|known| *known == name)?;
        self.extensions.get_mut(at)
    }

    fn read_output_config(
        &mut self,
        output_config: Option<&'a RawValue>,
        dropped: &mut Dropped,
    ) -> Result<(), Fault> {
        let Some(output_config) = output_config else {
            return Ok(());
        };
        let object = members(output_config.get(), |name, value| match name {
            "effort" => self.effort = Some(value),
            "format" => self.format = Some(value),
            _ => dropped.note(format!("output_config.{name}")),
        });
        if object {
            return Ok(());
        }
        Err(Wrong::new("must be an object").fault("output_config"))
    }
}
