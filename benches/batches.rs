//! Effect of the batch size on puts, and on the first touch of the written records, still resident. The
//! page cache stores one write in large pages, which are mapped at once.
//!
//! `cargo bench --bench batches` prints a table with medians of 7 rounds, in which the sizes alternate.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use coldstore::{ColumnSpec, Compression, Slot, Writer, WriterOptions};
use support::{Random, map, open};

const BLOCK_BYTES: usize = 68 << 10;
const PAGE_BYTES: usize = 4096;

const NAMES: [&str; 4] = [
    "put, µs a block",
    "first pass, ns a page",
    "the same of a plain map, ns a page",
    "second pass, ns a page",
];

fn main() {
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let (sizes, blocks, rounds): (&[usize], usize, usize) =
        if quick { (&[1, 4], 8, 1) } else { (&[1, 4, 16, 64, 256], 2048, 7) };
    let mut random = Random::new();
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes())
        .take(blocks * BLOCK_BYTES / 8)
        .flatten()
        .collect();
    let blocks: Vec<(Slot, &[u8])> = (0..).map(Slot).zip(bytes.chunks_exact(BLOCK_BYTES)).collect();
    let mut times = vec![[const { Vec::new() }; NAMES.len()]; sizes.len()];
    for round in 0..rounds {
        for turn in 0..sizes.len() {
            let index = (round + turn) % sizes.len();
            let measured = measure(&blocks, sizes[index]);
            times[index].iter_mut().zip(measured).for_each(|(all, time)| all.push(time));
        }
    }
    print!("{:<36}", "blocks of 68 KiB in a batch");
    sizes.iter().for_each(|size| print!("{size:>10}"));
    for (row, name) in NAMES.iter().enumerate() {
        print!("\n{name:<36}");
        for times in &mut times {
            times[row].sort_by(f64::total_cmp);
            print!("{:>10.1}", times[row][rounds / 2]);
        }
    }
    println!();
}

fn measure(blocks: &[(Slot, &[u8])], size: usize) -> [f64; NAMES.len()] {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = scratch.path();
    let spec = ColumnSpec {
        record_type: [1, 0],
        compression: Compression::None,
        max_value_bytes: 1 << 20,
    };
    let mut writer = Writer::open(path, WriterOptions::create(spec)).unwrap();
    let start = Instant::now();
    for batch in blocks.chunks(size) {
        writer.put_batch(batch).unwrap();
    }
    let put = start.elapsed().as_secs_f64() * 1e6 / blocks.len() as f64;
    let view = open(path).view();
    let pass =
        || touch_all(blocks.iter().map(|(slot, _)| view.get_stored(*slot).unwrap().unwrap()));
    let (first, second) = (pass(), pass());
    [put, first, plain(path, blocks.len()), second]
}

/// Touches a byte of each page; returns nanoseconds per page.
fn touch_all<'a>(values: impl Iterator<Item = &'a [u8]>) -> f64 {
    let (mut pages, mut sum) = (0, 0_u64);
    let start = Instant::now();
    for byte in values.flat_map(|value| value.iter().step_by(PAGE_BYTES)) {
        sum = sum.wrapping_add(u64::from(*byte));
        pages += 1;
    }
    black_box(sum);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(pages)
}

/// The first pass over a plain map of the first data file.
fn plain(directory: &Path, blocks: usize) -> f64 {
    let map = map(&File::open(directory.join("data_00000")).unwrap());
    touch_all(map[8..].chunks_exact(8 + BLOCK_BYTES).take(blocks).map(|record| &record[8..]))
}
