//! Scanning, splicing, framing and translating bytes.
#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "what is measured is known to be good; the macros make a public item"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use micro::{anthropic_stream, conversation, openai_stream};
use wire::translate::{self, Kind, Order, Profile, Stamp, Translated};
use wire::{Dialect, Frames, Observer, Operation};

const EVENTS: usize = 1000;

fn requests(criterion: &mut Criterion) {
    for kilobytes in [1, 60, 300] {
        let body = conversation(kilobytes * 1000);
        let peek = wire::peek(&body, Operation::Messages).unwrap();
        let mut group = criterion.benchmark_group(format!("request-{kilobytes}kB"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("peek", |bencher| {
            bencher.iter(|| wire::peek(black_box(&body), Operation::Messages).unwrap());
        });
        group.bench_function("splice", |bencher| {
            bencher.iter(|| wire::splice(black_box(&body), peek.model_span.clone(), "internal"));
        });
        group.bench_function("translate", |bencher| {
            let profile = Profile::preset(Kind::OpenAi);
            let order = Order {
                operation: Operation::Messages,
                body: &body,
                profile: &profile,
                wire_model: "internal",
            };
            bencher.iter(|| translate::request(black_box(&order)).unwrap());
        });
        group.finish();
    }
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("stream-{EVENTS}"));
    group.throughput(Throughput::Elements(EVENTS as u64));
    let piece = anthropic_stream(EVENTS);
    group.bench_function("frames", |bencher| {
        bencher.iter(|| {
            let mut frames = Frames::new();
            // As the kernel gives them: never along the frames.
            for start in (0..piece.len()).step_by(1460) {
                let end = piece.len().min(start + 1460);
                black_box(frames.push_ready(piece.slice(start..end)).unwrap());
            }
        });
    });
    group.bench_function("observe", |bencher| {
        bencher.iter(|| black_box(Observer::new(Dialect::Anthropic).observe(black_box(&piece))));
    });
    let chunks = openai_stream(EVENTS);
    group.bench_function("translate", |bencher| {
        bencher.iter_batched(
            translation,
            |mut stream| {
                let mut out = Vec::new();
                stream.push(black_box(&chunks), &mut out);
                out
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A stream of the other API on its way to an Anthropic client.
fn translation() -> translate::Stream {
    let body = conversation(1000);
    let profile = Profile::preset(Kind::OpenAi);
    let order = Order {
        operation: Operation::Messages,
        body: &body,
        profile: &profile,
        wire_model: "internal",
    };
    let Translated::Request(request) = translate::request(&order).unwrap() else {
        unreachable!("a conversation is asked of the model");
    };
    let stamp = Stamp {
        request_id: "req_1",
        now_s: 1,
    };
    request.memory.stream(stamp)
}

criterion_group!(wire_benches, requests, streams);
criterion_main!(wire_benches);
