//! Scanning, splicing, metering, framing and translating bytes.
#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "what is measured is known to be good; the macros make a public item"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use micro::{ANTHROPIC_FRAME, BASE64, OPENAI_FRAME, PROSE, UNICODE, request, session};
use wire::translate::{self, Kind, Order, Profile, Stamp, Translated};
use wire::{Dialect, Frames, Observer, Operation, Produced, input_bound_tokens, is_prompt, peek};

fn bodies(criterion: &mut Criterion) {
    for (name, text) in [("prose", PROSE), ("unicode", UNICODE), ("base64", BASE64)] {
        for size in [12_000, 60_000, 500_000] {
            let body = Bytes::from(request(size, text));
            let found = peek(&body, Operation::Messages).unwrap();
            let mut group = criterion.benchmark_group(format!("{name}-{size}"));
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function("peek", |bencher| {
                bencher.iter(|| peek(black_box(&body), Operation::Messages).unwrap());
            });
            group.bench_function("splice", |bencher| {
                bencher.iter(|| wire::splice(&body, found.model_span.clone(), "internal"));
            });
            group.finish();
        }
    }
}

fn metering(criterion: &mut Criterion) {
    let unbroken = "QmFzZTY0IHdpdGhvdXQgZW5kIGluIGEgdGV4dA".repeat(2000);
    let picture = format!(r#"{{"type":"image","source":{{"type":"base64","data":"{unbroken}"}}}}"#);
    let pictures = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#,
        [&*picture; 4].join(",")
    );
    for (name, body) in [
        ("session", session(300_000, PROSE)),
        ("unbroken-text", request(300_000, &unbroken)),
        ("pictures", pictures),
    ] {
        let body = body.as_bytes();
        let found = peek(body, Operation::Messages).unwrap();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("bound", |bencher| {
            bencher.iter(|| input_bound_tokens(black_box(body)));
        });
        group.bench_function("prompt", |bencher| {
            bencher.iter(|| is_prompt(black_box(body), &found, Dialect::Anthropic));
        });
        group.finish();
    }
}

fn frames(criterion: &mut Criterion) {
    for (dialect, frame) in [
        (Dialect::Anthropic, ANTHROPIC_FRAME),
        (Dialect::OpenAi, OPENAI_FRAME),
    ] {
        for count in [1, 3, 30] {
            let chunk = Bytes::from(frame.repeat(count));
            let name = format!("{}-frames-{count}", dialect.as_str());
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(count as u64));
            let mut frames = Frames::new();
            group.bench_function("end", |bencher| {
                bencher.iter(|| frames.push_ready(black_box(chunk.clone())).unwrap());
            });
            let mut observer = Observer::new(dialect);
            group.bench_function("look", |bencher| {
                bencher.iter(|| observer.observe(black_box(&chunk)));
            });
            let mut produced = Produced::new(dialect);
            group.bench_function("keep", |bencher| {
                bencher.iter(|| {
                    produced.observe(black_box(&chunk));
                    if produced.surplus_bytes() > 0 {
                        produced = Produced::new(dialect);
                    }
                });
            });
            group.finish();
        }
    }
}

/// What `body`, a request of `operation`, becomes for an upstream of this `kind`.
fn translated(operation: Operation, body: &[u8], kind: Kind) -> Translated {
    let order = Order {
        operation,
        body,
        profile: &Profile::preset(kind),
        wire_model: "upstream-model",
    };
    translate::request(black_box(&order)).unwrap()
}

/// The same, where it is a request that is sent.
fn sent(body: &[u8]) -> translate::Request {
    match translated(Operation::Messages, body, Kind::OpenAi) {
        Translated::Request(request) => request,
        _ => unreachable!("a session is asked of the model"),
    }
}

fn translation(criterion: &mut Criterion) {
    let messages = session(300_000, PROSE);
    let messages = messages.as_bytes();
    let completion = sent(messages).body;
    for (operation, body, kind) in [
        (Operation::Messages, messages, Kind::Vllm),
        (Operation::Messages, messages, Kind::OpenAi),
        (Operation::CountTokens, messages, Kind::Vllm),
        (Operation::ChatCompletions, &*completion, Kind::Anthropic),
    ] {
        let mut group = criterion.benchmark_group("translate");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{}-to-{kind:?}", operation.as_str()), |bencher| {
            bencher.iter(|| translated(operation, body, kind));
        });
        group.finish();
    }
    let mut group = criterion.benchmark_group("translate-stream");
    let chunk = OPENAI_FRAME.repeat(1000);
    group.throughput(Throughput::Elements(1000));
    let stamp = Stamp {
        request_id: "req_1",
        now_s: 1,
    };
    let small = session(0, PROSE);
    group.bench_function("1000", |bencher| {
        bencher.iter_batched(
            || sent(small.as_bytes()).memory.stream(stamp),
            |mut stream| {
                let mut out = Vec::new();
                stream.push(black_box(chunk.as_bytes()), &mut out);
                out
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(wire_benches, bodies, metering, frames, translation);
criterion_main!(wire_benches);
