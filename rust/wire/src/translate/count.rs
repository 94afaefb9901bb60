//! Counting a prompt's tokens: what there is to count, and how the count is asked for and told.
//!
//! Source: vLLM 0.32, `POST /tokenize`; Anthropic, `POST /v1/messages/count_tokens`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{compact, list, text};
use crate::usage::read;
use crate::{Dialect, Operation};

/// A message's block, a result in it, a document in that: deeper no text is looked for.
const DEPTH: usize = 3;

/// What of a request makes its prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// The contents of the messages, the names and arguments of tool calls, and each tool's JSON.
    pub texts: Vec<Cow<'a, str>>,
    /// How many messages there are; the result of a tool is one.
    pub messages: u64,
    /// How many tools may be called.
    pub tools: u64,
    /// How many calls of tools there are in the messages.
    pub tool_calls: u64,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

/// The members of a message, a block, a part or a call that hold text.
#[derive(Deserialize, Default)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    custom: Option<&'a RawValue>,
}

/// The texts of `body`, which is one of [`super::Translated::Count`]; `None` for what is no request.
#[must_use]
pub fn prompt_texts(body: &[u8]) -> Option<Prompt<'_>> {
    prompt_of(Operation::ChatCompletions, body)
}

/// The texts of a request in the client's own API; `None` for what is no request. What is odd in it
/// is left out: whether it is served is for the upstream to say.
#[must_use]
pub fn prompt_of(operation: Operation, body: &[u8]) -> Option<Prompt<'_>> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let mut prompt = Prompt::default();
    for message in body.messages {
        let message: Piece<'_> = read(Some(message)).unwrap_or_default();
        match operation.dialect() {
            Dialect::Anthropic => prompt.turn(message.content),
            Dialect::OpenAi => prompt.message(&message),
        }
    }
    if operation.dialect() == Dialect::Anthropic && body.system.is_some() {
        prompt.turn(body.system);
    }
    for tool in body.tools.and_then(list).unwrap_or_default() {
        prompt.tools += 1;
        prompt.texts.push(compact(tool));
    }
    Some(prompt)
}

impl<'a> Prompt<'a> {
    /// A message of a chat completion.
    fn message(&mut self, message: &Piece<'a>) {
        self.messages += 1;
        self.content(message.content, DEPTH);
        let calls = message.tool_calls.and_then(list).unwrap_or_default();
        for call in calls {
            let call: Piece<'_> = read(Some(call)).unwrap_or_default();
            self.call(call.function.or(call.custom));
        }
        if message.function_call.is_some() {
            self.call(message.function_call);
        }
    }

    fn call(&mut self, call: Option<&'a RawValue>) {
        let call: Piece<'_> = read(call).unwrap_or_default();
        self.tool_calls += 1;
        self.string(call.name);
        self.string(call.arguments.or(call.input));
    }

    /// A turn of a conversation with a Messages model: one message, and one for each result in it.
    fn turn(&mut self, content: Option<&'a RawValue>) {
        let blocks = content.and_then(list).unwrap_or_default();
        let results = self.content(content, DEPTH);
        let alone = results > 0 && results == blocks.len() as u64;
        self.messages += results + u64::from(!alone);
    }

    /// A text, or a list of blocks or parts; how many of those are results of tools.
    fn content(&mut self, content: Option<&'a RawValue>, depth: usize) -> u64 {
        let Some(content) = content.filter(|_| depth > 0) else {
            return 0;
        };
        let Some(blocks) = list(content) else {
            self.string(Some(content));
            return 0;
        };
        let results = blocks.into_iter().map(|block| {
            let block: Piece<'_> = read(Some(block)).unwrap_or_default();
            self.block(&block, depth)
        });
        results.sum()
    }

    /// One block or part; 1 if it is a tool's result.
    fn block(&mut self, block: &Piece<'a>, depth: usize) -> u64 {
        match &*block.kind.and_then(text).unwrap_or_default() {
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                self.tool_calls += 1;
                self.string(block.name);
                self.texts.extend(block.input.map(compact));
            }
            "document" | "search_result" => {
                self.string(block.title);
                let source: Piece<'_> = read(block.source).unwrap_or_default();
                if source.kind.and_then(text).as_deref() == Some("text") {
                    self.string(source.data);
                }
                self.content(block.content.or(source.content), depth - 1);
            }
            kind => {
                self.string(block.text);
                self.string(block.thinking);
                self.content(block.content, depth - 1);
                return u64::from(kind == "tool_result");
            }
        }
        0
    }

    fn string(&mut self, raw: Option<&'a RawValue>) {
        self.texts.extend(raw.and_then(text));
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
    use std::borrow::Cow;

    use super::{Prompt, counted, prompt_of, prompt_texts, token_count};
    use crate::Operation;
    use crate::translate::{Kind, Order, Profile, Translated, request};

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
    fn what_is_no_request_has_no_prompt() {
        for body in ["", "[]", "{}", r#"{"messages":1}"#] {
            for operation in Operation::ALL {
                assert_eq!(prompt_of(operation, body.as_bytes()), None, "{body}");
            }
        }
        let odd = br#"{"messages":[1,null,{"content":7},{"role":[],"content":"x"}],"tools":"y"}"#;
        for operation in Operation::ALL {
            assert_eq!(prompt_of(operation, odd).unwrap().texts, ["x"]);
        }
    }

    const MESSAGES: &str = r#"{"model":"m","max_tokens":1,
        "system":[{"type":"text","text":"be brief"}],
        "messages":[
            {"role":"user","content":"what is this?"},
            {"role":"assistant","content":[{"type":"text","text":"I look"},
                {"type":"tool_use","id":"toolu_1","name":"Read","input":{"path": "/a"}},
                {"type":"tool_use","id":"toolu_2","name":"Read","input":{}}]},
            {"role":"user","content":[
                {"type":"tool_result","tool_use_id":"toolu_1","content":"one"},
                {"type":"tool_result","tool_use_id":"toolu_2","content":[{"type":"text","text":"two"}]}]},
            {"role":"user","content":[{"type":"text","text":"and \u00e9?"}]}],
        "tools":[{"name":"Read","description":"reads","input_schema":{"type":"object"}}]}"#;

    /// All but the tool's JSON, whose members have other names.
    fn sorted(prompt: Prompt<'_>) -> Vec<String> {
        let texts = prompt.texts.into_iter().map(Cow::into_owned);
        let mut texts: Vec<_> = texts.filter(|text| !text.starts_with("{\"name")).collect();
        texts.retain(|text| !text.starts_with("{\"type"));
        texts.sort();
        texts
    }

    #[test]
    fn a_prompt_is_the_same_in_either_api() {
        let own = prompt_of(Operation::Messages, MESSAGES.as_bytes()).unwrap();
        let order = Order {
            operation: Operation::CountTokens,
            body: MESSAGES.as_bytes(),
            profile: &Profile::preset(Kind::Vllm),
            wire_model: "m",
        };
        let Ok(Translated::Count(translated)) = request(&order) else {
            panic!("no count");
        };
        let translated = prompt_of(Operation::ChatCompletions, &translated).unwrap();
        let parts = |prompt: &Prompt<'_>| (prompt.messages, prompt.tools, prompt.tool_calls);
        assert_eq!(parts(&own), (6, 1, 2));
        assert_eq!(parts(&own), parts(&translated));
        assert_eq!(sorted(own), sorted(translated));
    }

    #[test]
    fn every_kind_of_block_is_read() {
        let body = br#"{"messages":[{"role":"user","content":[
            {"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"d"}},
            {"type":"document","source":{"type":"content","content":[{"type":"text","text":"c"}]}},
            {"type":"document","source":{"type":"base64","data":"JVBERi0"}},
            {"type":"search_result","source":"https://host","title":"s","content":[{"type":"text","text":"r"}]},
            {"type":"tool_result","content":[{"type":"document","source":{"type":"text","data":"in"}}]}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},
            {"type":"server_tool_use","name":"web_search","input":{"q":1}}]}]}"#;
        let prompt = prompt_of(Operation::Messages, body).unwrap();
        let expected = [
            "t",
            "d",
            "c",
            "s",
            "r",
            "in",
            "hm",
            "web_search",
            "{\"q\":1}",
        ];
        assert_eq!(prompt.texts, expected);
        assert_eq!((prompt.messages, prompt.tool_calls), (3, 1));
        let body = br#"{"messages":[{"role":"assistant","content":null,
            "function_call":{"name":"f","arguments":"{}"},
            "tool_calls":[{"type":"custom","custom":{"name":"g","input":"words"}}]}]}"#;
        let prompt = prompt_of(Operation::ChatCompletions, body).unwrap();
        assert_eq!(prompt.texts, ["g", "words", "f", "{}"]);
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
