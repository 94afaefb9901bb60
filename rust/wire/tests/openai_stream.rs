//! A streamed message as chunks: whatever comes in, what goes out is a completion or ends with an error.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing test panics, also in what its tests share"
)]

mod events;
mod grammar;

use bytes::Bytes;
use events::legal::{frame, message};
use events::odd::harm;
use grammar::openai::{Call, Completion, chunks, openai};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use wire::Frames;
use wire::Operation;
use wire::translate::{self, Kind, Memory, Order, Profile, Progress, Stamp, Translated};

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_test",
    now_s: 7,
};

fn memory(include_usage: bool) -> Memory {
    let body = json!({
        "model": "client-model",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": true,
        "stream_options": {"include_usage": include_usage},
    })
    .to_string();
    let order = Order {
        operation: Operation::ChatCompletions,
        body: body.as_bytes(),
        profile: &Profile::preset(Kind::Anthropic),
        wire_model: "upstream-model",
    };
    match translate::request(&order).unwrap() {
        Translated::Request(request) => request.memory,
        other => panic!("{other:?}"),
    }
}

/// What a client gets of `upstream`, which is read in pieces that end at `cuts`.
fn streamed(include_usage: bool, upstream: &[u8], cuts: &[Index]) -> Vec<u8> {
    let mut cuts: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(upstream.len() + 1))
        .collect();
    cuts.push(upstream.len());
    cuts.sort_unstable();
    let mut stream = memory(include_usage).stream(STAMP);
    let mut frames = Frames::new();
    let mut out = Vec::new();
    let mut start = 0;
    for end in cuts {
        let piece = Bytes::copy_from_slice(&upstream[start..end]);
        start = end;
        if let Some(ready) = frames.push_ready(piece).unwrap() {
            stream.push(&ready, &mut out);
        }
    }
    stream.close(&frames.finish().unwrap_or_default(), &mut out);
    match stream.progress() {
        Progress::Complete => {}
        Progress::Broken(refusal) => out.extend(refusal.event(STAMP.request_id)),
        unfinished => panic!("a closed stream is {unfinished:?}"),
    }
    let length = out.len();
    stream.push(upstream, &mut out);
    stream.close(upstream, &mut out);
    stream.ping(&mut out);
    assert_eq!(out.len(), length, "something after the end");
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_legal_stream_arrives_whole_and_in_order(
        message in message(),
        include_usage: bool,
        crlf: bool,
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut upstream = message.sse();
        if crlf {
            upstream = upstream.replace('\n', "\r\n");
        }
        let got = streamed(include_usage, upstream.as_bytes(), &cuts);
        let completion = openai(&got).map_err(TestCaseError::fail)?;
        prop_assert_eq!(completion, message.expected(include_usage));
        prop_assert_eq!(&got, &streamed(include_usage, upstream.as_bytes(), &[]));
    }

    #[test]
    fn a_whole_answer_says_the_same(message in message()) {
        let body = message.whole().to_string();
        let answer = memory(true).answer(body.as_bytes(), STAMP).unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let (choice, expected) = (&answer["choices"][0], message.expected(true));
        let said = &choice["message"];
        let calls = said["tool_calls"].as_array().cloned().unwrap_or_default();
        let calls = calls.iter().map(|call| Call {
            id: call["id"].as_str().unwrap().to_owned(),
            name: call["function"]["name"].as_str().unwrap().to_owned(),
            arguments: call["function"]["arguments"].as_str().unwrap().to_owned(),
        });
        let got = Completion {
            id: answer["id"].as_str().unwrap().to_owned(),
            content: said["content"].as_str().unwrap_or("").to_owned(),
            reasoning: said["reasoning"].as_str().unwrap_or("").to_owned(),
            calls: calls.collect(),
            finish_reason: choice["finish_reason"].as_str().map(ToOwned::to_owned),
            usage: Some(answer["usage"].clone()),
            ..Completion::default()
        };
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn an_odd_or_hostile_stream_gives_a_completion_or_an_error(
        message in message(),
        harms in vec(harm(), 1..8),
        include_usage: bool,
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut events = message.events();
        for harm in &harms {
            harm.apply(&mut events);
        }
        let upstream: String = events.iter().map(frame).collect();
        let got = streamed(include_usage, upstream.as_bytes(), &cuts);
        chunks(&got).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&got, &streamed(include_usage, upstream.as_bytes(), &[]));
    }

    #[test]
    fn a_stream_that_breaks_off_never_looks_whole(message in message(), end: Index) {
        let mut events = message.events();
        events.truncate(end.index(events.len()));
        let stopped = events.iter().any(|event| event["type"] == "message_delta");
        let upstream: String = events.iter().map(frame).collect();
        let completion = openai(&streamed(false, upstream.as_bytes(), &[])).map_err(TestCaseError::fail)?;
        prop_assert_eq!(completion.error.is_none(), stopped);
    }

    #[test]
    fn random_bytes_give_a_completion_or_an_error(
        message in message(),
        noise in vec(any::<u8>(), 1..60),
        at: Index,
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut upstream = message.sse().into_bytes();
        let at = at.index(upstream.len() + 1);
        upstream.splice(at..at, noise.iter().copied());
        chunks(&streamed(true, &upstream, &cuts)).map_err(TestCaseError::fail)?;
        let completion = chunks(&streamed(true, &noise, &cuts)).map_err(TestCaseError::fail)?;
        prop_assert!(completion.error.is_some());
    }
}

#[test]
fn the_validator_rejects_what_a_client_would_stumble_over() {
    let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":["#;
    let chunk = |delta: &str, finish: &str| {
        format!("{head}{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
    };
    let role = chunk(r#"{"role":"assistant","content":""}"#, "null");
    let hi = chunk(r#"{"content":"hi"}"#, "null");
    let start = |index: u32| {
        chunk(
            &format!(
                r#"{{"tool_calls":[{{"index":{index},"id":"c","type":"function","function":{{"name":"n","arguments":""}}}}]}}"#
            ),
            "null",
        )
    };
    let piece = |text: &str| {
        chunk(
            &format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#),
            "null",
        )
    };
    let (stop, length) = (chunk("{}", "\"stop\""), chunk("{}", "\"length\""));
    let usage = format!("{head}],\"usage\":{{}}}}\n\n");
    let null = |chunk: &str| chunk.replace("]}\n\n", "],\"usage\":null}\n\n");
    let done = "data: [DONE]\n\n";
    let error =
        "data: {\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":null}}\n\n";
    for whole in [
        format!("{role}{hi}: ping\n\n{stop}{done}"),
        format!("{role}{}{}{stop}{done}", start(0), piece("{}")),
        format!("{role}{}{}{length}{done}", start(0), piece("{")),
        format!("{}{}{usage}{done}", null(&role), null(&stop)),
        format!("{role}{hi}{error}"),
        error.to_owned(),
    ] {
        openai(whole.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{whole}"));
    }
    for broken in [
        String::new(),
        role.clone(),
        format!("{role}{hi}{stop}"),
        format!("{role}{hi}{done}"),
        format!("{hi}{stop}{done}"),
        format!("{role}{role}{stop}{done}"),
        format!("{role}{stop}{stop}{done}"),
        format!("{role}{stop}{hi}{done}"),
        format!("{role}{stop}{done}{hi}"),
        format!("{role}{stop}{error}"),
        format!("{role}{error}{done}"),
        format!("{role}{error}: ping\n\n"),
        format!("{role}{}{stop}{done}", hi.replace("\"m\"", "\"other\"")),
        format!(
            "{role}{}{stop}{done}",
            hi.replace("chatcmpl-1", "chatcmpl-2")
        ),
        format!("{role}{}{stop}{done}", hi.replace(":7", ":8")),
        format!("{role}{}{stop}{done}", hi.replace("\"hi\"", "\"\\ud83d\"")),
        format!("{role}{}{stop}{done}", piece("{}")),
        format!("{role}{}{stop}{done}", start(1)),
        format!("{role}{}{}{stop}{done}", start(0), start(0)),
        format!("{role}{}{}{stop}{done}", start(0), piece("{")),
        format!("{role}{}{stop}{done}", start(0)),
        format!("{role}{stop}{usage}{done}"),
        format!("{}{stop}{done}", null(&role)),
        format!("{}{}{done}", null(&role), null(&stop)),
        format!("{}{usage}{}{done}", null(&role), null(&stop)),
    ] {
        assert!(openai(broken.as_bytes()).is_err(), "{broken}");
    }
}
