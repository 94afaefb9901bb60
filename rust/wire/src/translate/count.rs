//! Counting a prompt's tokens: what there is to count, and how the count is asked for and told.
//!
//! Source: vLLM 0.32, `POST /tokenize`; Anthropic, `POST /v1/messages/count_tokens`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{list, text};

/// What of a translated request makes its prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// The contents of the messages, the names and arguments of tool calls, and each tool's JSON.
    pub texts: Vec<Cow<'a, str>>,
    /// How many messages there are.
    pub messages: u64,
    /// How many tools may be called.
    pub tools: u64,
    /// How many calls of tools there are in the messages.
    pub tool_calls: u64,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// The texts of `body`, which is one of [`super::Translated::Count`]; `None` for any other.
#[must_use]
pub fn prompt_texts(body: &[u8]) -> Option<Prompt<'_>> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let mut prompt = Prompt {
        texts: Vec::new(),
        messages: body.messages.len() as u64,
        tools: body.tools.len() as u64,
        tool_calls: 0,
    };
    for message in body.messages {
        prompt.content(message.content);
        prompt.tool_calls += message.tool_calls.len() as u64;
        for Call { function } in message.tool_calls {
            prompt.texts.extend([function.name, function.arguments]);
        }
    }
    let tools = body.tools.into_iter();
    prompt.texts.extend(tools.map(|tool| tool.get().into()));
    Some(prompt)
}

impl<'a> Prompt<'a> {
    fn content(&mut self, content: Option<&'a RawValue>) {
        let Some(content) = content else { return };
        if let Some(text) = text(content) {
            self.texts.push(text);
            return;
        }
        for part in list(content).unwrap_or_default() {
            let part: Result<Part<'_>, _> = serde_json::from_str(part.get());
            self.texts
                .extend(part.ok().and_then(|part| text(part.text?)));
        }
    }
}

/// The count in vLLM's answer to `/tokenize`, without building the list of tokens beside it.
#[must_use]
pub fn token_count(answer: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Answer {
        count: u64,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    Some(answer.count)
}

/// A count as Anthropic's API tells it.
#[must_use]
pub fn counted(tokens: u64) -> Vec<u8> {
    format!("{{\"input_tokens\":{tokens}}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{counted, prompt_texts, token_count};

    #[test]
    fn every_text_of_a_prompt_is_found_in_order() {
        let body = br#"{"model":"upstream-model","messages":[
            {"role":"system","content":"be brief"},
            {"role":"user","content":[{"type":"text","text":"what is\n"},
                {"type":"image_url","image_url":{"url":"https://host/cat.png"}},
                {"type":"text","text":"this?"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"toolu_1","type":"function",
                "function":{"name":"look","arguments":"{\"at\":\"cat\"}"}}]},
            {"role":"tool","tool_call_id":"toolu_1","content":""}],
            "tools":[{"type":"function","function":{"name":"look"}}],
            "chat_template_kwargs":{"enable_thinking":false}}"#;
        let prompt = prompt_texts(body).unwrap();
        let parts = (prompt.messages, prompt.tools, prompt.tool_calls);
        assert_eq!(parts, (4, 1, 1));
        let expected = [
            "be brief",
            "what is\n",
            "this?",
            "look",
            "{\"at\":\"cat\"}",
            "",
            "{\"type\":\"function\",\"function\":{\"name\":\"look\"}}",
        ];
        assert_eq!(prompt.texts, expected);
    }

    #[test]
    fn what_is_no_translated_request_has_no_prompt() {
        for body in ["", "[]", "{}", r#"{"messages":[1]}"#] {
            assert_eq!(prompt_texts(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn reads_the_count_and_nothing_else() {
        let answer =
            br#"{"count":21,"max_model_len":40960,"tokens":[151644,872],"token_strs":null}"#;
        assert_eq!(token_count(answer), Some(21));
        for answer in ["", "[]", "{}", r#"{"count":-1}"#, r#"{"count":"21"}"#] {
            assert_eq!(token_count(answer.as_bytes()), None, "{answer}");
        }
    }

    #[test]
    fn tells_a_count_in_anthropics_words() {
        assert_eq!(counted(2095), br#"{"input_tokens":2095}"#);
    }
}
