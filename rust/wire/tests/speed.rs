//! How fast the hot paths are: `cargo test --release -p llm-gateway-wire --test speed -- --ignored --nocapture`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::translate::{self, Kind, Order, Profile, Translated};
use wire::{Dialect, Frames, Observer, Operation, Produced, input_bound_tokens, is_prompt, peek};

/// A first request of Claude Code in shape: long texts full of `\n` and `\"`, and tool schemas.
fn request(target_bytes: usize, text: &str) -> String {
    let mut body = String::from(
        r#"{"model":"claude-opus-5-5","max_tokens":32000,"stream":true,"system":[{"type":"text","text":""#,
    );
    let tool = |index: usize| {
        format!(
            r#"{{"name":"tool_{index}","description":"{text}","input_schema":{{"type":"object","properties":{{"path":{{"type":"string","description":"the absolute path"}},"limit":{{"type":"number"}}}},"required":["path"]}}}}"#
        )
    };
    let tools = (0..30).map(tool).collect::<Vec<_>>().join(",");
    while body.len() + tools.len() < target_bytes {
        body.push_str(text);
    }
    body.push_str(r#""}],"tools":["#);
    body.push_str(&tools);
    body.push_str(r#"],"messages":[{"role":"user","content":"hello"}]}"#);
    body
}

/// The fastest of several rounds of `work`, each of about 20 ms.
fn fastest(mut work: impl FnMut()) -> Duration {
    // Reading the clock costs as much as looking at a frame.
    const CALLS: u32 = 32;
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < Duration::from_millis(20) {
            for _ in 0..CALLS {
                work();
            }
            count += CALLS;
        }
        best = best.min(start.elapsed() / count);
    }
    best
}

fn gigabytes_per_s(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

#[test]
#[ignore = "a measurement; run it in release on a quiet machine"]
fn peek_speed() {
    let prose = r#"Use this tool when you need to read a file.\n\n- It is \"fast\" and safe.\n  - lines of fifty bytes or so, then a break, as in prompts\n"#;
    let unicode = r"Größe — “quoted” text, naïve café, with a dash – here\n日本語のテキスト\n";
    let plain = "QmFzZTY0IGltYWdlIGRhdGEgaGFzIG5vIGVzY2FwZXMgYXQgYWxsLCBvbmUgbG9uZyBydW4";
    for (name, text) in [("prose", prose), ("unicode", unicode), ("base64", plain)] {
        for size in [60_000, 500_000] {
            let body = request(size, text);
            let time = fastest(|| {
                peek(black_box(body.as_bytes()), Operation::Messages).unwrap();
            });
            let speed = gigabytes_per_s(body.len(), time);
            println!("peek {name} {size} bytes: {time:?}, {speed:.2} GB/s");
        }
    }
}

#[test]
#[ignore = "a measurement; run it in release on a quiet machine"]
fn metering_speed() {
    let prose = r#"Use this tool when you need to read a file.\n\n- It is \"fast\" and safe.\n"#;
    let unbroken = "QmFzZTY0IHdpdGhvdXQgZW5kIGluIGEgdGV4dA".repeat(2000);
    let picture = format!(r#"{{"type":"image","source":{{"type":"base64","data":"{unbroken}"}}}}"#);
    let pictures = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#,
        [&*picture; 4].join(",")
    );
    for (name, body) in [
        ("session", session(300_000, prose)),
        ("unbroken text", request(300_000, &unbroken)),
        ("pictures", pictures),
    ] {
        let body = body.as_bytes();
        let bound = fastest(|| {
            black_box(input_bound_tokens(black_box(body)));
        });
        let found = peek(body, Operation::Messages).unwrap();
        let prompt = fastest(|| {
            black_box(is_prompt(black_box(body), &found, Dialect::Anthropic));
        });
        let speed = gigabytes_per_s(body.len(), bound);
        let size = body.len();
        println!("{name} {size} bytes: bound {bound:?}, {speed:.1} GB/s; prompt {prompt:?}");
    }
}

#[test]
#[ignore = "a measurement; run it in release on a quiet machine"]
fn frame_speed() {
    let anthropic = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
        \"delta\":{\"type\":\"text_delta\",\"text\":\"some words of it\"}}\n\n";
    let openai = "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
        \"created\":1790000000,\"model\":\"qwen3-32b\",\"choices\":[{\"index\":0,\"delta\":\
        {\"content\":\"some words\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
    for (dialect, frame) in [(Dialect::Anthropic, anthropic), (Dialect::OpenAi, openai)] {
        for count in [1, 3, 30] {
            let chunk = Bytes::from(frame.repeat(count));
            let mut frames = Frames::new();
            let split = fastest(|| {
                black_box(frames.push_ready(black_box(chunk.clone())).unwrap());
            });
            let mut observer = Observer::new(dialect);
            let observe = fastest(|| {
                black_box(observer.observe(black_box(&chunk)));
            });
            let mut produced = Produced::new(dialect);
            let collect = fastest(|| {
                produced.observe(black_box(&chunk));
                if produced.surplus_bytes() > 0 {
                    produced = Produced::new(dialect);
                }
            });
            let count = u32::try_from(count).unwrap();
            let name = dialect.as_str();
            println!(
                "{name} batch of {count}: per frame {:?} to find the end, {:?} to look at it, \
                 {:?} to keep its text",
                split / count,
                observe / count,
                collect / count
            );
        }
    }
}

/// A session of Claude Code in shape: its first request, and turns in which it reads files.
fn session(target_bytes: usize, text: &str) -> String {
    let mut body = request(60_000, text);
    let end = r#"{"role":"user","content":"hello"}]}"#;
    body.truncate(body.len() - end.len());
    body.push_str(end.trim_end_matches("]}"));
    for turn in 0.. {
        if body.len() > target_bytes {
            break;
        }
        let file = text.repeat(30);
        let thinking = format!(r#"{{"type":"thinking","thinking":"{text}","signature":"gw1.x"}}"#);
        let call = format!(
            r#"{{"type":"tool_use","id":"toolu_{turn}","name":"tool_1","input":{{"path":"/{turn}"}}}}"#
        );
        let result = format!(
            r#"{{"type":"tool_result","tool_use_id":"toolu_{turn}","content":"{file}","is_error":false}}"#
        );
        for part in [
            r#",{"role":"assistant","content":["#,
            &thinking,
            ",",
            &call,
            r#"]},{"role":"user","content":["#,
            &result,
            "]}",
        ] {
            body.push_str(part);
        }
    }
    body.push_str("]}");
    body
}

/// What `body`, a request of `operation`, becomes for an upstream of this `kind`.
fn translated(operation: Operation, body: &[u8], kind: Kind) -> Option<Translated> {
    let order = Order {
        operation,
        body,
        profile: &Profile::preset(kind),
        wire_model: "upstream-model",
    };
    translate::request(black_box(&order)).ok()
}

#[test]
#[ignore = "a measurement; run it in release on a quiet machine"]
fn translation_speed() {
    let prose = r#"   120\t    if let Some(\"name\") = words {\n   121\t        a line of code\n"#;
    let messages = session(300_000, prose);
    let messages = messages.as_bytes();
    let Some(Translated::Request(turned_round)) =
        translated(Operation::Messages, messages, Kind::OpenAi)
    else {
        panic!("no request");
    };
    let completion = &*turned_round.body;
    for (operation, body, kind) in [
        (Operation::Messages, messages, Kind::Vllm),
        (Operation::Messages, messages, Kind::OpenAi),
        (Operation::CountTokens, messages, Kind::Vllm),
        (Operation::ChatCompletions, completion, Kind::Anthropic),
    ] {
        let time = fastest(|| {
            black_box(translated(operation, body, kind).unwrap());
        });
        let milliseconds = time.as_secs_f64() * 1e3;
        let (name, size) = (operation.as_str(), body.len());
        println!("translate {name} to {kind:?} {size} bytes: {milliseconds:.3} ms");
    }
}
