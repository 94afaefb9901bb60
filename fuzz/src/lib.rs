//! What the fuzz targets have in common: how an input is read, and what has to hold whatever it
//! says.

#[path = "../../rust/wire/tests/grammar/mod.rs"]
mod grammar;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::translate::{
    self, Effort, InlineSystem, Kind, MaxTokensField, Memory, Order, Profile, Progress, Stamp,
    Thinking, ThinkingSwitch, Translated, WhenAbsent,
};
use wire::{Dialect, Frames, Operation, Refusal};

const WIRE_MODEL: &str = "upstream-model";
const WIRE_MODEL_JSON: &str = r#""upstream-model""#;

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_fuzz",
    now_s: 1_790_000_000,
};

/// Choices that an input makes before its text; zero is how a server usually is.
#[derive(Debug, Clone, Copy)]
pub struct Choices(u16);

impl Choices {
    fn of(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// The preset of a kind, with some of it turned round.
    fn profile(self, kind: Kind) -> Profile {
        let mut profile = Profile::preset(kind);
        profile.vision ^= self.of(0);
        profile.documents ^= self.of(1);
        profile.mid_system ^= self.of(2);
        profile.sampling ^= self.of(3);
        profile.structured_output ^= self.of(4);
        profile.effort ^= self.of(5);
        profile.thinking_off ^= self.of(6);
        profile.strict_tools ^= self.of(7);
        if self.of(8) {
            profile.thinking = Thinking::Budget;
            profile.thinking_switch = ThinkingSwitch::ReasoningEffort;
            profile.effort_none = true;
        }
        if self.of(9) {
            profile.thinking = Thinking::None;
            profile.thinking_switch = ThinkingSwitch::None;
        }
        if self.of(10) {
            profile.max_output_tokens = Some(4096);
            profile.context_window = Some(8192);
            profile.top_effort = Effort::Low;
        }
        if self.of(11) {
            profile.inline_system = InlineSystem::Preserve;
            profile.thinking_when_absent = WhenAbsent::Leave;
        }
        if self.of(12) {
            profile.thinking_budget = true;
            profile.send_user = true;
            profile.max_tokens_field = MaxTokensField::MaxCompletionTokens;
        }
        profile.lenient_end ^= self.of(13);
        profile
    }
}

/// The choices at the front of an input, and its text.
fn split(input: &[u8]) -> Option<(Choices, &[u8])> {
    let (choices, text) = input.split_first_chunk()?;
    Some((Choices(u16::from_le_bytes(*choices)), text))
}

/// A request of an Anthropic client for an upstream that speaks the other dialect.
pub fn anthropic_request(input: &[u8]) {
    let Some((choices, body)) = split(input) else {
        return;
    };
    let kind = if choices.of(15) {
        Kind::OpenAi
    } else {
        Kind::Vllm
    };
    let operation = if choices.of(14) {
        Operation::CountTokens
    } else {
        Operation::Messages
    };
    request(operation, &choices.profile(kind), body);
}

/// A request of an `OpenAI` client for an upstream that speaks the other dialect.
pub fn openai_request(input: &[u8]) {
    let Some((choices, body)) = split(input) else {
        return;
    };
    request(
        Operation::ChatCompletions,
        &choices.profile(Kind::Anthropic),
        body,
    );
}

fn request(operation: Operation, profile: &Profile, body: &[u8]) {
    if wire::peek(body, operation).is_err() {
        return;
    }
    let order = Order {
        operation,
        body,
        profile,
        wire_model: WIRE_MODEL,
    };
    let one = translate::request(&order);
    let other = translate::request(&order);
    assert_eq!(alike(&one), alike(&other), "the same request, another time");
    match one {
        Ok(Translated::Request(request)) => {
            assert_eq!(members(&request.body)["model"].get(), WIRE_MODEL_JSON);
            let header = request.dropped.header().unwrap_or_default();
            assert!(
                header.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{header}"
            );
        }
        Ok(Translated::Count(body)) => {
            assert_eq!(members(&body)["model"].get(), WIRE_MODEL_JSON);
            assert!(
                translate::prompt_texts(&body).is_some(),
                "a count of nothing"
            );
        }
        Ok(Translated::Answer(known)) if known.stream => told(operation.dialect(), &known.body),
        Ok(Translated::Answer(known)) => whole(operation.dialect(), &known.body),
        Err(fault) => {
            assert_eq!(fault.kind, fault::Kind::InvalidRequest, "{fault:?}");
            refused(&Refusal::of(&fault, operation.dialect(), STAMP.request_id));
        }
    }
}

/// What of a translated request can be compared.
fn alike(translated: &Result<Translated, fault::Fault>) -> (&[u8], String) {
    match translated {
        Ok(Translated::Request(request)) => (&request.body, format!("{:?}", request.dropped)),
        Ok(Translated::Count(body)) => (body, String::new()),
        Ok(Translated::Answer(known)) => (&known.body, known.stream.to_string()),
        Err(fault) => (&[], fault.to_string()),
    }
}

/// What an upstream answers to an Anthropic client: as a stream, as a whole and as a refusal.
pub fn anthropic_answer(input: &[u8]) {
    answer(input, Dialect::Anthropic, |choices| {
        let body = json!({
            "model": "client-model",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": "hello"}],
            "tools": [{"name": "a.name.that.is.not.plain", "input_schema": {}}],
            "stop_sequences": ["END"],
            "stream": true,
        });
        let kind = if choices.of(15) {
            Kind::OpenAi
        } else {
            Kind::Vllm
        };
        remember(Operation::Messages, &body, &choices.profile(kind))
    });
}

/// What an upstream answers to an `OpenAI` client: as a stream, as a whole and as a refusal.
pub fn openai_answer(input: &[u8]) {
    answer(input, Dialect::OpenAi, |choices| {
        let call = json!({"id": "functions.f:0", "type": "function", "function": {"name": "f"}});
        let schema = json!({"name": "s", "schema": {"type": "object"}});
        let format = json!({"type": "json_schema", "json_schema": schema});
        let body = json!({
            "model": "client-model",
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "functions.f:0", "content": "done"},
            ],
            "response_format": if choices.of(15) { format } else { json!({"type": "text"}) },
            "stream": true,
            "stream_options": {"include_usage": choices.of(14)},
        });
        remember(
            Operation::ChatCompletions,
            &body,
            &choices.profile(Kind::Anthropic),
        )
    });
}

fn remember(operation: Operation, body: &Value, profile: &Profile) -> Memory {
    let body = body.to_string();
    let order = Order {
        operation,
        body: body.as_bytes(),
        profile,
        wire_model: WIRE_MODEL,
    };
    match translate::request(&order) {
        Ok(Translated::Request(request)) => request.memory,
        other => panic!("{other:?}"),
    }
}

fn answer(input: &[u8], client: Dialect, memory: impl Fn(Choices) -> Memory) {
    let Some((choices, rest)) = split(input) else {
        return;
    };
    let Some((&count, rest)) = rest.split_first() else {
        return;
    };
    let Some((cuts, upstream)) = rest.split_at_checked(usize::from(count) * 2) else {
        return;
    };
    let cuts = cuts
        .as_chunks()
        .0
        .iter()
        .map(|cut| usize::from(u16::from_le_bytes(*cut)));
    let mut cuts: Vec<_> = cuts.map(|cut| cut.min(upstream.len())).collect();
    cuts.sort_unstable();

    let at_once = streamed(memory(choices), upstream, &[], false);
    let in_pieces = streamed(memory(choices), upstream, &cuts, false);
    assert_eq!(at_once, in_pieces, "cut differently, other bytes");
    let pinged = streamed(memory(choices), upstream, &cuts, true);
    for outcome in [at_once, pinged] {
        match outcome {
            Ok(stream) => told(client, &stream),
            Err(refusal) => refused(&refusal),
        }
    }
    match memory(choices).answer(upstream, STAMP) {
        Ok(answer) => whole(client, &answer.body),
        Err(refusal) => refused(&refusal),
    }
    let statuses = [400, 401, 404, 413, 418, 422, 429, 500, 503, 529];
    let status = statuses[usize::from(choices.0) % statuses.len()];
    refused(&translate::refusal(client, status, upstream));
}

/// What a client gets of a stream that is read in pieces; an error if not a byte of it was sent.
fn streamed(
    memory: Memory,
    upstream: &[u8],
    cuts: &[usize],
    pings: bool,
) -> Result<Vec<u8>, Box<Refusal>> {
    let mut stream = memory.stream(STAMP);
    let mut frames = Frames::new();
    let mut out = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&upstream.len()]) {
        let piece = Bytes::copy_from_slice(&upstream[start..end]);
        start = end;
        if let Some(ready) = frames.push_ready(piece).expect("shorter than the limit") {
            stream.push(&ready, &mut out);
        }
        if pings {
            stream.ping(&mut out);
        }
    }
    stream.close(&frames.finish().unwrap_or_default(), &mut out);
    match stream.progress() {
        Progress::Complete => Ok(out),
        Progress::Broken(refusal) if out.is_empty() => Err(Box::new(refusal)),
        Progress::Broken(refusal) => {
            out.extend(refusal.event(STAMP.request_id));
            Ok(out)
        }
        unfinished => panic!("a closed stream is {unfinished:?}"),
    }
}

/// A stream that a client has got to its end.
fn told(client: Dialect, stream: &[u8]) {
    let problem = match client {
        Dialect::Anthropic => grammar::anthropic::anthropic(stream).err(),
        Dialect::OpenAi => grammar::openai::chunks(stream).err(),
    };
    if let Some(problem) = problem {
        panic!("{problem}\n{}", String::from_utf8_lossy(stream));
    }
}

/// A whole answer that a client has got.
fn whole(client: Dialect, body: &[u8]) {
    let answer = members(body);
    match client {
        Dialect::Anthropic => {
            assert_eq!(answer["type"].get(), r#""message""#);
            assert!(answer["content"].get().starts_with('['));
            assert!(answer["stop_reason"].get().starts_with('"'));
        }
        Dialect::OpenAi => {
            assert_eq!(answer["object"].get(), r#""chat.completion""#);
            let choices = answer["choices"].get();
            let choice = choices
                .strip_prefix('[')
                .and_then(|choices| choices.strip_suffix(']'));
            let choice = members(choice.expect("one choice").as_bytes());
            assert!(choice["finish_reason"].get().starts_with('"'));
        }
    }
}

fn refused(refusal: &Refusal) {
    let answer = refusal.answer(STAMP.request_id);
    assert!((400..600).contains(&answer.status), "{refusal:?}");
    let error = members(members(&answer.body)["error"].get().as_bytes())["message"];
    assert!(error.get().len() > 2, "no message: {refusal:?}");
}

/// A request of an Anthropic client for a model of another class behind its own dialect.
pub fn adapt(input: &[u8]) {
    let Some((choices, body)) = split(input) else {
        return;
    };
    let Ok(peek) = wire::peek(body, Operation::Messages) else {
        return;
    };
    let kind = if choices.of(15) {
        Kind::Vllm
    } else {
        Kind::Anthropic
    };
    let profile = choices.profile(kind);
    let downgraded = !choices.of(14);
    let most_tokens = choices.of(13).then_some(5000);
    let fit = |body: &Bytes, peek| {
        let adapted = wire::adapt(body, peek, WIRE_MODEL, &profile, downgraded, most_tokens);
        (Bytes::from(adapted.pieces.concat()), adapted.dropped)
    };
    let body = Bytes::copy_from_slice(body);
    let (fitted, dropped) = fit(&body, &peek);
    let again = wire::peek(&fitted, Operation::Messages).unwrap_or_else(|fault| {
        panic!("{fault}\n{}", String::from_utf8_lossy(&fitted));
    });
    assert_eq!(again.model, WIRE_MODEL);
    assert_eq!(
        fit(&fitted, &again),
        (fitted.clone(), Default::default()),
        "once is enough"
    );
    if !downgraded && dropped.header().is_none() {
        let spliced = wire::splice(&body, peek.model_span.clone(), WIRE_MODEL).concat();
        assert_eq!(fitted, spliced);
    }
}

/// The members of what has to be a JSON object. What is in them may be nested deeper, or hold
/// larger numbers, than can be built.
fn members(json: &[u8]) -> BTreeMap<String, &RawValue> {
    serde_json::from_slice(json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)))
}
