//! The request's own members, as they stand in the body.

use fault::{Fault, Kind};

use super::super::Dropped;
use super::super::json::compact;
use super::super::place::{At, Raw, Wrong};
use super::members::members;

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
    pub(super) model: Raw<'a>,
    pub(super) messages: Raw<'a>,
    pub(super) system: Raw<'a>,
    pub(super) tools: Raw<'a>,
    pub(super) tool_choice: Raw<'a>,
    pub(super) max_tokens: Raw<'a>,
    pub(super) stop_sequences: Raw<'a>,
    pub(super) stream: bool,
    pub(super) temperature: Raw<'a>,
    pub(super) top_p: Raw<'a>,
    pub(super) top_k: Raw<'a>,
    pub(super) thinking: Raw<'a>,
    /// `output_config.effort`
    pub(super) effort: Raw<'a>,
    /// `output_config.format`
    pub(super) format: Raw<'a>,
    /// The older name of the same.
    pub(super) output_format: Raw<'a>,
    pub(super) metadata: Raw<'a>,
    pub(super) service_tier: Raw<'a>,
    pub(super) chat_template_kwargs: Raw<'a>,
    /// In the order of [`EXTENSIONS`].
    pub(super) extensions: [Raw<'a>; EXTENSIONS.len()],
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
        members(body, |name, value| match name {
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
        })
        .map_err(|_| Fault::new(Kind::InvalidRequest, "the body must be a JSON object"))?;
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

    fn extension(&mut self, name: &str) -> Option<&mut Raw<'a>> {
        let at = EXTENSIONS.iter().position(|known| *known == name)?;
        self.extensions.get_mut(at)
    }

    fn read_output_config(
        &mut self,
        output_config: Raw<'a>,
        dropped: &mut Dropped,
    ) -> Result<(), Fault> {
        let Some(output_config) = output_config else {
            return Ok(());
        };
        members(output_config.get(), |name, value| match name {
            "effort" => self.effort = Some(value),
            "format" => self.format = Some(value),
            _ => dropped.note(format!("output_config.{name}")),
        })
        .fault("output_config")
    }
}
