//! What a stream of chat completion chunks has to be, and what a client reads from it.

use serde_json::{Map, Value};

/// A completion as a client puts it together.
#[derive(Debug, Default, PartialEq)]
pub struct Completion {
    pub id: String,
    pub content: String,
    pub reasoning: String,
    pub refusal: String,
    pub calls: Vec<Call>,
    pub finish_reason: Option<String>,
    pub usage: Option<Value>,
    /// The error that ended the stream instead.
    pub error: Option<Value>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// The completion that `stream` holds.
///
/// Rejects what breaks the rules of [`chunks`], and arguments that are no JSON in an answer that was not cut short.
pub fn openai(stream: &[u8]) -> Result<Completion, String> {
    let completion = chunks(stream)?;
    let cut_short = matches!(completion.finish_reason.as_deref(), None | Some("length"));
    for Call { arguments, .. } in completion.calls.iter().filter(|_| !cut_short) {
        serde_json::from_str::<Value>(arguments)
            .map_err(|error| format!("arguments {arguments}: {error}"))?;
    }
    Ok(completion)
}

/// The completion that `stream` holds, whatever the model wrote into it.
pub fn chunks(stream: &[u8]) -> Result<Completion, String> {
    let stream = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
    let mut reader = Reader::default();
    let frames = stream
        .strip_suffix("\n\n")
        .ok_or("no empty line at the end")?;
    for frame in frames.split("\n\n") {
        reader
            .frame(frame)
            .map_err(|error| format!("{error}: {frame}"))?;
    }
    match (&reader.state, &reader.completion) {
        (
            State::Done,
            Completion {
                finish_reason: Some(_),
                ..
            },
        )
        | (
            State::Failed,
            Completion {
                finish_reason: None,
                ..
            },
        ) => Ok(reader.completion),
        _ => Err(format!("the end in {:?}", reader.state)),
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Before,
    Open,
    Finished,
    Counted,
    Done,
    Failed,
}

#[derive(Default)]
struct Reader {
    state: State,
    /// What all chunks have in common.
    head: Value,
    /// Whether the chunks before the last say that usage will follow.
    counts: bool,
    completion: Completion,
}

fn need(condition: bool, what: &str) -> Result<(), String> {
    condition.then_some(()).ok_or_else(|| what.to_owned())
}

fn only(object: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("a member {name}")),
        None => Ok(()),
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Result<String, String> {
    let text = object.get(name).and_then(Value::as_str);
    text.map(ToOwned::to_owned)
        .ok_or_else(|| format!("{name} is no text"))
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("no object: {value}"))
}

impl Reader {
    fn frame(&mut self, frame: &str) -> Result<(), String> {
        need(
            !matches!(self.state, State::Done | State::Failed),
            "something after the end",
        )?;
        if frame == ": ping" {
            return Ok(());
        }
        let data = frame.strip_prefix("data: ").ok_or("no data")?;
        need(!data.contains(['\n', '\r']), "data on several lines")?;
        if data == "[DONE]" {
            need(
                matches!(self.state, State::Finished | State::Counted),
                "[DONE] too early",
            )?;
            need(
                (self.state == State::Counted) == self.counts,
                "no usage, but nulls before it",
            )?;
            self.state = State::Done;
            return Ok(());
        }
        let value: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        let chunk = object(&value)?;
        if let Some(error) = chunk.get("error") {
            return self.fail(chunk, error);
        }
        need(self.state != State::Counted, "a chunk after the usage")?;
        only(
            chunk,
            &["id", "object", "created", "model", "choices", "usage"],
        )?;
        need(
            chunk.get("object") == Some(&"chat.completion.chunk".into()),
            "another object",
        )?;
        self.head(chunk)?;
        let choices = chunk
            .get("choices")
            .and_then(Value::as_array)
            .ok_or("no choices")?;
        match choices.as_slice() {
            [] => {
                need(
                    self.state == State::Finished && self.counts,
                    "usage too early or unasked",
                )?;
                let usage = chunk.get("usage").filter(|usage| usage.is_object());
                self.completion.usage = Some(usage.ok_or("no usage")?.clone());
                self.state = State::Counted;
                Ok(())
            }
            [choice] => {
                need(self.state != State::Finished, "a choice after the finish")?;
                self.choice(object(choice)?)
            }
            _ => Err("several choices".to_owned()),
        }
    }

    fn fail(&mut self, chunk: &Map<String, Value>, error: &Value) -> Result<(), String> {
        need(
            self.completion.finish_reason.is_none(),
            "an error after the finish",
        )?;
        only(chunk, &["error"])?;
        let error_object = object(error)?;
        only(error_object, &["message", "type", "param", "code"])?;
        need(error_object.len() == 4, "half an error")?;
        text(error_object, "message")?;
        text(error_object, "type")?;
        self.completion.error = Some(error.clone());
        self.state = State::Failed;
        Ok(())
    }

    fn head(&mut self, chunk: &Map<String, Value>) -> Result<(), String> {
        let id = text(chunk, "id")?;
        need(id.starts_with("chatcmpl-") && id.len() > 9, "a foreign id")?;
        let head = Value::from_iter(
            ["id", "created", "model"].map(|name| (name, chunk.get(name).cloned())),
        );
        let choices = chunk.get("choices").and_then(Value::as_array);
        let usage = chunk.get("usage");
        if self.state == State::Before {
            need(chunk.get("created").is_some_and(Value::is_u64), "no time")?;
            text(chunk, "model")?;
            self.head = head;
            self.counts = usage.is_some();
            self.completion.id = id;
        } else {
            need(self.head == head, "another id, time or model")?;
        }
        let last = choices.is_some_and(Vec::is_empty);
        let expected = (self.counts && !last).then_some(&Value::Null);
        need(
            last || usage == expected,
            "usage on a chunk with choices, or not on all",
        )
    }

    fn choice(&mut self, choice: &Map<String, Value>) -> Result<(), String> {
        only(choice, &["index", "delta", "finish_reason"])?;
        need(choice.get("index") == Some(&0.into()), "another choice")?;
        let delta = object(choice.get("delta").ok_or("no delta")?)?;
        let first = self.state == State::Before;
        need(
            first == delta.contains_key("role"),
            "the role is not in the first delta only",
        )?;
        self.state = State::Open;
        match choice.get("finish_reason") {
            Some(Value::Null) => self.delta(delta),
            Some(Value::String(reason)) => {
                let known = ["stop", "length", "tool_calls", "content_filter"];
                need(known.contains(&reason.as_str()), "an unknown finish reason")?;
                need(delta.is_empty(), "a delta in the finish")?;
                self.completion.finish_reason = Some(reason.clone());
                self.state = State::Finished;
                Ok(())
            }
            _ => Err("no finish reason".to_owned()),
        }
    }

    fn delta(&mut self, delta: &Map<String, Value>) -> Result<(), String> {
        only(
            delta,
            &[
                "role",
                "content",
                "reasoning_content",
                "refusal",
                "tool_calls",
            ],
        )?;
        if let Some(role) = delta.get("role") {
            need(
                role == "assistant" && delta.get("content") == Some(&"".into()),
                "odd start",
            )?;
            return need(delta.len() == 2, "a start with more");
        }
        need(delta.len() == 1, "a delta of none or several members")?;
        if let Some(calls) = delta.get("tool_calls") {
            let calls = calls.as_array().map(Vec::as_slice);
            let Some([call]) = calls else {
                return Err("not one call".to_owned());
            };
            return self.call(object(call)?);
        }
        for (name, whole) in [
            ("content", &mut self.completion.content),
            ("reasoning_content", &mut self.completion.reasoning),
            ("refusal", &mut self.completion.refusal),
        ] {
            if delta.contains_key(name) {
                let piece = text(delta, name)?;
                need(!piece.is_empty(), "an empty piece")?;
                whole.push_str(&piece);
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Map<String, Value>) -> Result<(), String> {
        only(call, &["index", "id", "type", "function"])?;
        let index = call
            .get("index")
            .and_then(Value::as_u64)
            .ok_or("no index")?;
        let index = usize::try_from(index).map_err(|error| error.to_string())?;
        let function = object(call.get("function").ok_or("no function")?)?;
        only(function, &["name", "arguments"])?;
        let piece = text(function, "arguments")?;
        let calls = &mut self.completion.calls;
        if call.contains_key("id") {
            need(index == calls.len(), "a gap, or a call that begins again")?;
            need(call.get("type") == Some(&"function".into()), "no type")?;
            need(piece.is_empty(), "arguments at the start")?;
            let (id, name) = (text(call, "id")?, text(function, "name")?);
            need(!id.is_empty(), "an empty id")?;
            calls.push(Call {
                id,
                name,
                arguments: piece,
            });
            return Ok(());
        }
        need(
            call.len() == 2 && function.len() == 1,
            "more than arguments",
        )?;
        need(!piece.is_empty(), "an empty piece")?;
        let call = calls.get_mut(index).ok_or("a call that has not begun")?;
        call.arguments.push_str(&piece);
        Ok(())
    }
}
