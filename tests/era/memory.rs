//! Importing large states takes no memory in proportion to them.
//!
//! `cargo test --test era memory:: -- --ignored --nocapture` prints the figures.

#![allow(clippy::disallowed_methods, reason = "the tests make files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::archive::*;
use coldstore::era::ImportProgress;
use coldstore::{Column, Slot, StatesPolicy};

const LIMIT_KIB: u64 = 64 << 10;
/// Names the file for the process that imports it.
const FILE: &str = "COLDSTORE_ERA_MEMORY_FILE";
/// How many bytes the state in it has.
const STATE_BYTES: &str = "COLDSTORE_ERA_MEMORY_STATE";
/// Where the archives go that are too large for a directory in memory.
const DISK: &str = env!("CARGO_TARGET_TMPDIR");

const SLOTS: u64 = 8192;
/// A quarter of the slots have blocks of some 100 KiB; one has the largest block there can be.
const BLOCK_EVERY: u64 = 4;
const BLOCK_BYTES: usize = 100 << 10;
const LARGEST_BLOCK: u64 = 4000;
const LARGEST_BLOCK_BYTES: usize = 10 << 20;

/// Half of it compresses, half does not.
struct Filler(u64);

impl Filler {
    fn piece(&mut self) -> [u8; 4096] {
        let mut piece = [0; 4096];
        for word in piece[..2048].chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
        piece
    }

    fn fill(&mut self, value: &mut Vec<u8>, byte_len: usize) {
        while value.len() < byte_len {
            let piece = self.piece();
            let missing = (byte_len - value.len()).min(piece.len());
            value.extend(&piece[..missing]);
        }
    }
}

fn has_block(slot: u64) -> bool {
    slot.is_multiple_of(BLOCK_EVERY)
}

fn root(slot: u64, kind: u8) -> [u8; 32] {
    let mut root = [kind; 32];
    root[..8].copy_from_slice(&slot.to_le_bytes());
    root
}

fn block_root(slot: u64) -> [u8; 32] {
    root(slot - slot % BLOCK_EVERY, 0xb1)
}

fn block(slot: u64, filler: &mut Filler) -> Vec<u8> {
    let mut value = 100_u32.to_le_bytes().to_vec();
    value.resize(100, 7);
    value.extend(slot.to_le_bytes());
    value.extend([0; 8]);
    value.extend(if slot == 0 { [0; 32] } else { block_root(slot - 1) });
    value.extend(root(slot, 0x57));
    value.extend(84_u32.to_le_bytes());
    let byte_len = if slot == LARGEST_BLOCK { LARGEST_BLOCK_BYTES } else { BLOCK_BYTES };
    filler.fill(&mut value, byte_len);
    value
}

/// Writes era 1 of a chain whose state has `byte_len` bytes.
fn write_era(path: &Path, byte_len: u64) {
    let mut filler = Filler(0x9e37_79b9_7f4a_7c15);
    let mut file = io::BufWriter::new(File::create(path).unwrap());
    let mut at = 8_i64;
    file.write_all(&Record::header(VERSION_RECORD, 0)).unwrap();
    let mut targets = Vec::new();
    for slot in 0..SLOTS {
        targets.push(has_block(slot).then_some(at));
        if has_block(slot) {
            let payload = frames(&block(slot, &mut filler));
            at += 8 + i64::try_from(payload.len()).unwrap();
            let mut record = Vec::new();
            Record { kind: BLOCK, payload }.append_to(&mut record);
            file.write_all(&record).unwrap();
        }
    }
    let state_at = at;
    at += write_state(&mut file, byte_len, &mut filler);
    let mut tail = Vec::new();
    let entries: Vec<i64> = targets.iter().map(|target| target.map_or(0, |to| to - at)).collect();
    index(0, &entries).append_to(&mut tail);
    let states_at = at + i64::try_from(tail.len()).unwrap();
    index(SLOTS, &[state_at - states_at]).append_to(&mut tail);
    file.write_all(&tail).unwrap();
    file.flush().unwrap();
}

/// Writes the state's record and returns how long it is.
fn write_state(file: &mut io::BufWriter<File>, byte_len: u64, filler: &mut Filler) -> i64 {
    let start = file.stream_position().unwrap();
    file.write_all(&Record::header(STATE, 0)).unwrap();
    let mut head = vec![0; 176];
    head[8..40].copy_from_slice(&[0x6d; 32]);
    head[40..48].copy_from_slice(&SLOTS.to_le_bytes());
    head.extend((0..SLOTS).flat_map(block_root));
    head.extend((0..SLOTS).flat_map(|slot| root(slot, 0x57)));
    head.extend(2_736_653_u32.to_le_bytes());
    let mut encoder = snap::write::FrameEncoder::new(&mut *file);
    encoder.write_all(&head).unwrap();
    let mut left = usize::try_from(byte_len).unwrap() - head.len();
    while left > 0 {
        let piece = filler.piece();
        let part = left.min(piece.len());
        encoder.write_all(&piece[..part]).unwrap();
        left -= part;
    }
    encoder.into_inner().map_err(|_| "the encoder did not finish").unwrap();
    let end = file.stream_position().unwrap();
    let payload_len = usize::try_from(end - start - 8).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    file.write_all(&Record::header(STATE, payload_len)).unwrap();
    file.seek(SeekFrom::Start(end)).unwrap();
    i64::try_from(end - start).unwrap()
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "makes files of several hundred megabytes"]
fn an_era_with_a_state_of_300_mb_is_imported_in_64_mb_of_memory() {
    for byte_len in [100_000_000_u64, 300_000_000] {
        let directory = tempfile::tempdir_in(DISK).unwrap();
        let file = directory.path().join("large.era");
        write_era(&file, byte_len);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::the_process_that_imports", "--ignored", "--nocapture"])
            .env(FILE, &file)
            .env(STATE_BYTES, byte_len.to_string())
            .status()
            .unwrap();
        assert!(status.success(), "a state of {byte_len} bytes");
    }
}

/// What the test above starts for each of its files; by itself it does nothing.
#[test]
#[ignore = "a part of another test"]
fn the_process_that_imports() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let byte_len: u64 = std::env::var(STATE_BYTES).unwrap().parse().unwrap();
    let archive = Archive { root: tempfile::tempdir_in(DISK).unwrap() };
    let mut ticks = 0_u64;
    let mut count = |_: &ImportProgress<'_>| {
        ticks += 1;
        ControlFlow::Continue(())
    };
    let before = peak_kib();
    let start = Instant::now();
    let report = archive.import_with(&[&file], StatesPolicy::All, &mut count).unwrap();
    let (seconds, peak) = (start.elapsed().as_secs_f64(), peak_kib());
    let file_len = fs::metadata(&file).unwrap().len();
    println!(
        "state {} MB, file {} MB: {seconds:.1} s, peak {} MiB (before the import {} MiB), {ticks} ticks",
        byte_len / 1_000_000,
        file_len / 1_000_000,
        peak >> 10,
        before >> 10,
    );
    let start = Instant::now();
    archive.import_with(&[&file], StatesPolicy::All, &mut go_on).unwrap();
    println!(
        "again, all there: {:.3} s, peak {} MiB",
        start.elapsed().as_secs_f64(),
        peak_kib() >> 10
    );
    assert!(peak_kib() <= LIMIT_KIB, "{} KiB", peak_kib());
    assert_eq!(report.blocks, SLOTS / BLOCK_EVERY);
    // Looked at only now: a reader maps the files, and mapped pages count as memory.
    let stored =
        archive.view(Column::StateSnapshots).get_stored(Slot(SLOTS)).unwrap().unwrap().len();
    assert_eq!(stored as u64, byte_len);
}
