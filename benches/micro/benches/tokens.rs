//! Counting tokens where the upstream does not.
#![expect(missing_docs, reason = "the macros make a public item")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use micro::{PROSE, request};
use tokens::{Counter, Encoding};

fn counting(criterion: &mut Criterion) {
    let counter = Counter::built_in(Encoding::O200k);
    let mut group = criterion.benchmark_group("tokens");
    for kilobytes in [12, 60] {
        let text = request(kilobytes * 1000, PROSE);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("count-{kilobytes}kB"), |bencher| {
            bencher.iter(|| counter.count(black_box(&text)));
        });
    }
    group.finish();
}

criterion_group!(token_benches, counting);
criterion_main!(token_benches);
