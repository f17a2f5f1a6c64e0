//! Makes first inputs for the fuzzers, out of the files in `tests/data` and a few made here:
//! `cargo run --bin seeds -- DIRECTORY`, with a folder in it for every target.
#![allow(clippy::unwrap_used, reason = "a tool for those who run the fuzzers")]
#![allow(clippy::disallowed_methods, reason = "no file of a column is written here")]
#![allow(clippy::cast_possible_truncation, reason = "what is encoded here is small")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use coldstore::format::conf::{Backfill, BackfillTarget, Conf};
use coldstore::{Checksums, Column, ColumnSpec, Compression, FileId, Slot, Writer, WriterOptions};
use coldstore_fuzz::column::layout::Layout;
use coldstore_fuzz::diffs::{AS_IT_IS, EDITS, MADE_RIGHT, chain, encode};
use coldstore_fuzz::scratch::scratch;
use coldstore_client::slot_stream::{write_item, write_start};

struct Seeds(PathBuf);

impl Seeds {
    fn add(&self, target: &str, name: &str, bytes: &[u8]) {
        let directory = self.0.join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    }
}

fn main() {
    let seeds = Seeds(std::env::args_os().nth(1).expect("a directory to write to").into());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    confs(&seeds);
    golden(&seeds, &data.join("golden"));
    golden(&seeds, &data.join("golden/crash"));
    small_columns(&seeds);
    payloads(&seeds);
    streams(&seeds);
    eras(&seeds, &data);
    operations(&seeds);
    blocks(&seeds);
    diffs(&seeds);
}

fn confs(seeds: &Seeds) {
    for column in Column::ALL {
        let empty = Conf::empty(column.spec(), false);
        seeds.add("conf", &format!("{column}-v2-empty"), &empty.encode());
        let v3 = Conf::empty(column.spec(), true);
        seeds.add("conf", &format!("{column}-v3-empty"), &v3.encode());
        let filled = Conf { highest: Some(Slot(8192 * 3 + 5)), current_data_len: 77, ..v3 };
        seeds.add("conf", &format!("{column}-v3"), &filled.encode());
        let target = Some(BackfillTarget { file_id: FileId(1), data_len: 4711 });
        let backfill = Some(Backfill { allowed: true, target });
        let named = Conf { backfill, ..filled };
        seeds.add("conf", &format!("{column}-v3-target"), &named.encode());
        seeds.add("conf", &format!("{column}-v3-draft"), &named.encode()[..34]);
        let v2 = Conf { backfill: None, ..filled };
        seeds.add("conf", &format!("{column}-v2"), &v2.encode());
    }
}

/// The columns of an independent program, as far as they are small.
fn golden(seeds: &Seeds, golden: &Path) {
    for archive in fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()) {
        for column in Column::ALL.map(|column| archive.join(column.dir_name())) {
            if !column.is_dir() {
                continue;
            }
            let layout = Layout::of(&column);
            let name = archive.file_name().unwrap().to_str().unwrap();
            seeds.add("conf", name, &layout.conf);
            let tables = layout.files.values().filter_map(|files| files.column.table.as_ref());
            let most = tables.map(|table| table.entries.len()).max();
            if layout.files.len() <= 4 && most.unwrap_or(0) < 60 {
                seeds.add("column", name, &layout.encode());
            }
        }
    }
}

/// Columns of a few records, of every kind.
fn small_columns(seeds: &Seeds) {
    for (name, compression, backfill, checksums) in [
        ("plain-v2", Compression::None, false, Checksums::Off),
        ("plain-v3", Compression::None, true, Checksums::Off),
        ("snappy-v2", Compression::Snappy, false, Checksums::Off),
        ("snappy-v3", Compression::Snappy, true, Checksums::Off),
        ("summed-v2", Compression::None, false, Checksums::On),
        ("summed-v3", Compression::None, true, Checksums::On),
        ("summed-snappy-v3", Compression::Snappy, true, Checksums::On),
    ] {
        let spec = ColumnSpec { record_type: [4, 0], compression, max_value_bytes: 64 };
        let scratch = scratch();
        let directory = scratch.path().join("column");
        let options = WriterOptions::create(spec).allow_backfill(backfill).checksums(checksums);
        let mut writer = Writer::open(&directory, options).unwrap();
        let mut step = 0_usize;
        let mut add = |what: &str| {
            let mut layout = Layout::of(&directory);
            layout.allow_backfill = step % 2 == 0;
            layout.access = step as u8;
            layout.keeps = step as u8;
            seeds.add("column", &format!("{name}-{step}-{what}"), &layout.encode());
            step += 1;
        };
        add("empty");
        writer.put_batch(&[(Slot(0), "a"), (Slot(3), ""), (Slot(8191), "value")]).unwrap();
        add("one-file");
        writer.put_batch(&[(Slot(8192), "b"), (Slot(3 * 8192 + 7), "ccc")]).unwrap();
        add("three-files");
        if backfill {
            writer.put(Slot(3 * 8192 + 1), b"in the current file").unwrap();
            add("current");
            writer.put_batch(&[(Slot(8192 + 1), "sealed"), (Slot(8192 + 2), "two")]).unwrap();
            add("sealed");
            writer.put(Slot(2 * 8192), b"new file").unwrap();
            add("new-file");
        }
        drop(writer);
        let mut layout = Layout::of(&directory);
        for files in layout.files.values_mut() {
            if let Some(data) = &mut files.column.data {
                data.bytes.to_mut().extend(b"\x04\0\x03\0\0\0\0\0abc");
            }
            if let Some(table) = &mut files.column.table {
                Rc::make_mut(table).entries.insert(4000, 12345);
            }
        }
        layout.probes = vec![4000, 8192 + 4000];
        seeds.add("column", &format!("{name}-leftovers"), &layout.encode());
        for files in layout.files.values_mut() {
            Rc::make_mut(files.column.table.as_mut().unwrap()).byte_len = 100;
        }
        seeds.add("column", &format!("{name}-short-tables"), &layout.encode());
        if checksums == Checksums::On {
            flawed_sums(seeds, name, &directory);
        }
    }
}

/// Every kind of flaw that `sums.rs` makes, in every file, at every other record.
fn flawed_sums(seeds: &Seeds, name: &str, directory: &Path) {
    for flaw in 0..16 {
        for (kind, at, by) in [(1, 0, 0), (2, flaw * 2, 1), (3, 0, 127), (3, flaw, 129)] {
            if kind > 1 && flaw > 3 {
                continue;
            }
            let mut layout = Layout::of(directory);
            layout.keeps = flaw;
            for files in layout.files.values_mut() {
                files.recipe = [kind, 0xFF, 0b0101_0101, flaw, 1, flaw, at, by];
            }
            layout.probes = vec![1, 8192 + 1, u64::from(flaw) * 256 + 1];
            seeds.add("column", &format!("{name}-flaw-{flaw}-{kind}-{by}"), &layout.encode());
        }
    }
}

fn frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

fn payloads(seeds: &Seeds) {
    let text = b"a value that repeats, a value that repeats, a value that repeats".repeat(3);
    let noise: Vec<u8> =
        (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let two_chunks = [frames(&text), frames(&noise)].concat();
    let mut padded = frames(&text);
    padded.extend(b"\xfe\x04\0\0pads");
    for (name, payload) in [
        ("empty", Vec::new()),
        ("identifier", b"\xff\x06\0\0sNaPpY".to_vec()),
        ("text", frames(&text)),
        ("noise", frames(&noise)),
        ("two-streams", two_chunks),
        ("padded", padded),
        ("zeros", frames(&[0; 5000])),
    ] {
        for (exponents, kind) in [([20, 20], "large"), ([8, 20], "bound"), ([20, 8], "ceiling")] {
            seeds.add("snappy", &format!("{name}-{kind}"), &[&exponents[..], &payload].concat());
        }
    }
}

fn streams(seeds: &Seeds) {
    let mut stream = Vec::new();
    write_start(&mut stream).unwrap();
    seeds.add("slots", "empty", &stream);
    for (slot, value) in [(0, &b""[..]), (7, b"seven"), (1 << 40, b"far away!")] {
        write_item(&mut stream, [4, 0], Slot(slot), value).unwrap();
    }
    seeds.add("slots", "three", &stream);
    seeds.add("slots", "cut", &stream[..stream.len() - 3]);
    // One byte more than the target's readers take.
    let mut long = stream.clone();
    write_item(&mut long, [4, 0], Slot((1 << 40) + 2), &[7; 501]).unwrap();
    seeds.add("slots", "long", &long);
    let again = stream.clone();
    write_item(&mut stream, [4, 0], Slot((1 << 40) + 1), &[9; 40]).unwrap();
    let twice = [&stream[..8], &stream, &again].concat();
    seeds.add("slots", "twice", &twice);
}

/// Real files, and eras of four slots, put together by the target.
fn eras(seeds: &Seeds, data: &Path) {
    for entry in fs::read_dir(data.join("chain-minimal/era")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains("-00000-") || name.contains("-00001-") {
            let bytes = fs::read(&path).unwrap();
            seeds.add("era", name, &[&[0][..], &bytes].concat());
        }
    }
    let group = |era: u64, encoding: u8| {
        let slots = 4;
        let mut out = Vec::new();
        let mut push = |kind: u8, payload: &[u8]| {
            out.push(kind);
            out.extend((payload.len() as u16).to_le_bytes());
            out.extend(payload);
        };
        let root = |slot: u64| {
            // Slot 2 of every era is skipped.
            let of_block = if slot % slots == 2 { slot - 1 } else { slot };
            let mut root = [0xB0; 32];
            root[..8].copy_from_slice(&of_block.to_le_bytes());
            root
        };
        let state_root = |slot: u64| [0x50 + slot as u8; 32];
        push(0, &[]);
        let first = era.saturating_sub(1) * slots;
        for slot in (first..era * slots).filter(|slot| slot % slots != 2) {
            let mut block = vec![0; 184];
            block[0] = 100;
            block[100..108].copy_from_slice(&slot.to_le_bytes());
            block[116..148].copy_from_slice(&if slot == 0 { [0; 32] } else { root(slot - 1) });
            block[148..180].copy_from_slice(&state_root(slot));
            block[180] = 84;
            block.extend(b"body");
            push(1, &block);
        }
        let mut state = vec![0; 176];
        state[8..40].fill(0x77);
        state[40..48].copy_from_slice(&(era * slots).to_le_bytes());
        (first..first + slots).for_each(|slot| state.extend(root(slot)));
        (first..first + slots).for_each(|slot| state.extend(state_root(slot)));
        let fixed = state.len() as u32 + 4;
        state.extend(fixed.to_le_bytes());
        state.extend(b"and the rest of the state");
        push(2, &state);
        if era > 0 {
            push(4, &[&first.to_le_bytes()[..], &[slots as u8, encoding]].concat());
        }
        push(5, &(era * slots).to_le_bytes());
        out
    };
    for encoding in 0..3 {
        for era in 0..4 {
            let name = format!("four-slots-era-{era}-encoding-{encoding}");
            seeds.add("era", &name, &[&[1][..], &group(era, encoding)].concat());
        }
        let several =
            [vec![1], group(0, encoding), group(1, encoding), group(2, encoding)].concat();
        seeds.add("era", &format!("four-slots-eras-0-to-2-encoding-{encoding}"), &several);
    }
}

/// Noise: the operations have no format of their own, the fuzzer finds them by coverage.
fn operations(seeds: &Seeds) {
    for seed in 0..32_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let bytes: Vec<u8> = (0..400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        seeds.add("operations", &format!("noise-{seed}"), &bytes);
    }
}

/// The longest blocks of every era of the small chain, each on the state before it, and one on a later one.
fn blocks(seeds: &Seeds) {
    const OF_AN_ERA: usize = 3;
    let mut by_era: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    for (slot, block) in test_support::chain_content::blocks(test_support::MINIMAL).split_off(&1) {
        by_era.entry(slot / 64).or_default().push((slot, block));
    }
    for mut blocks in by_era.into_values() {
        blocks.sort_by_key(|(_, block)| std::cmp::Reverse(block.len()));
        for (index, (slot, block)) in blocks.into_iter().take(OF_AN_ERA).enumerate() {
            let before = (slot - 1) as u16;
            let later = u8::from(index == OF_AN_ERA - 1);
            let input = [&before.to_le_bytes()[..], &[later], &block].concat();
            seeds.add("blocks", &format!("slot-{slot:03}"), &input);
        }
    }
}

/// Diffs of every fork, on the slot, the epoch and the era before, and those of another program: as they are,
/// and to be made right.
fn diffs(seeds: &Seeds) {
    let chain = chain();
    let add = |name: &str, base_slot: u64, value: &[u8]| {
        for (mode, of) in [(AS_IT_IS, "as-it-is"), (MADE_RIGHT, "made-right")] {
            let input = [&[mode][..], &(base_slot as u16).to_le_bytes(), value].concat();
            seeds.add("diffs", &format!("{name}-{of}"), &input);
        }
    };
    for slot in (64..577).step_by(41) {
        for distance in [1, 8, 64] {
            let base_slot = slot - distance;
            let value = encode(chain, &chain.states[&base_slot], &chain.states[&slot]).unwrap();
            add(&format!("slot-{slot}-on-{base_slot}"), base_slot, &value);
        }
        let edits: Vec<u8> = (0..110_u16).map(|byte| (u64::from(byte) * 37 + slot) as u8).collect();
        let input = [&[EDITS][..], &(slot as u16 - 8).to_le_bytes(), &[7], &edits].concat();
        seeds.add("diffs", &format!("edits-{slot}"), &input);
    }
    for (file, value) in test_support::chain_content::packed("diffs.tar.zst") {
        let Some((name, states)) = file.split_once('.') else { continue };
        // Those on a state that no chain has are tried on the chain's state of its slot.
        let base_slot = states.split('.').next().and_then(|slot| slot.parse().ok());
        add(name, base_slot.unwrap_or(512), &value);
    }
}
