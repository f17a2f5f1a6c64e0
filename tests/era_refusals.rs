//! What an import refuses. Whatever is wrong with a file, the error names it and the place, and
//! nothing of the file is committed.

#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod era_common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use coldstore::era::{EraFile, ImportError, ImportOptions, Plan, import};
use coldstore::{Column, ColumnSpec, StatesPolicy, Writer, WriterOptions};
use era_common::*;
use tempfile::TempDir;

/// An archive of the minimal chain, and a place for files that it must not take.
struct Wall {
    archive: Archive,
    before: BTreeMap<PathBuf, Vec<u8>>,
    files: TempDir,
}

impl Wall {
    /// Holds the eras in front of this one.
    fn before(era: usize) -> Self {
        Self::holding(0..=era - 1)
    }

    fn holding(eras: RangeInclusive<usize>) -> Self {
        let archive = Archive::of(&era_files(MINIMAL)[eras]);
        let before = archive.files();
        Self { archive, before, files: scratch() }
    }

    /// The error for a file with these bytes, which names the file and has all of `parts`.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], parts: &[&str]) -> ImportError {
        let path = write(&self.files, "suspect.era", bytes);
        let failure = self.archive.import(&[path]).expect_err("the file is refused");
        let text = failure.to_string();
        for part in ["suspect.era"].iter().chain(parts) {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        assert!(self.archive.files() == self.before, "something was committed");
        failure.error
    }
}

fn parts(era: usize) -> Parts {
    Parts::read(&era_files(MINIMAL)[era])
}

fn original(era: usize) -> Vec<u8> {
    fs::read(&era_files(MINIMAL)[era]).unwrap()
}

fn rebuilt(era: usize, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = parts(era);
    change(&mut parts);
    parts.build(Encoding::Rule)
}

/// The era's file with the bytes at a place replaced.
fn patched(era: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut whole = original(era);
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    whole
}

fn at(offset: usize) -> String {
    format!("at offset {offset}:")
}

/// Where in the file of an era its block index and its state index start.
fn indices(era: usize) -> (usize, usize) {
    let offsets = offsets(&original(era));
    (offsets[offsets.len() - 2], offsets[offsets.len() - 1])
}

/// Where in the file of an era the record of a block starts.
fn block_at(era: usize, slot: u64) -> usize {
    offsets(&original(era))[1 + parts(era).block(slot).unwrap()]
}

// Era 3 of the minimal chain: slots 128 to 191, of which 128, 140, 161 and 191 are skipped.
const ERA: usize = 3;

// --------------------------------------------------------------------------------------- index

#[test]
fn a_wrong_entry_of_the_block_index_is_refused_with_its_slot() {
    let wall = Wall::before(ERA);
    let (index, _) = indices(ERA);
    for (slot, entry) in [
        (150, 0_i64),
        (150, -1),
        (150, i64::MIN),
        (150, i64::MAX),
        (161, -8),
        (191, 1),
        (128, i64::MIN),
    ] {
        let entry_at = index + 16 + 8 * (slot - 128);
        let bytes = patched(ERA, entry_at, &entry.to_le_bytes());
        wall.refuses(&bytes, &["block index", &format!("slot {slot}:"), &at(entry_at)]);
    }
}

#[test]
fn a_block_index_of_mixed_encodings_is_refused_with_the_first_slot_that_does_not_fit() {
    let wall = Wall::before(ERA);
    let (index, _) = indices(ERA);
    let nimbus_empty = (-i64::try_from(index).unwrap()).to_le_bytes();
    // The first skipped slot says the rule, the second one Nimbus.
    let bytes = patched(ERA, index + 16 + 8 * 12, &nimbus_empty);
    wall.refuses(&bytes, &["slot 140: no block, encoding rule", "which leads to 0"]);
    // One block leads to its payload, in an index that otherwise follows the rule.
    let entry_at = index + 16 + 8 * 20;
    let entry = u64_at(&original(ERA), entry_at).cast_signed() + 8;
    wall.refuses(&patched(ERA, entry_at, &entry.to_le_bytes()), &["slot 148: the block at"]);
}

#[test]
fn a_block_index_with_a_wrong_count_or_start_is_refused() {
    let wall = Wall::before(ERA);
    let (index, states) = indices(ERA);
    for count in [0, 1, 63, 65, 32, 65_537, 1 << 61, u64::MAX] {
        let bytes = patched(ERA, states - 8, &u64::to_le_bytes(count));
        wall.refuses(&bytes, &["block index"]);
    }
    for start in [0, 64, 127, 129, 192, u64::MAX] {
        let bytes = patched(ERA, index + 8, &u64::to_le_bytes(start));
        wall.refuses(&bytes, &["block index", &at(index)]);
    }
}

#[test]
fn a_wrong_state_index_is_refused() {
    let wall = Wall::before(ERA);
    let (_, states) = indices(ERA);
    for slot in [0, 1, 128, 191, 193, 256, u64::MAX] {
        wall.refuses(&patched(ERA, states + 8, &u64::to_le_bytes(slot)), &["at offset"]);
    }
    for entry in [0, 1, -1, i64::MIN, i64::MAX, -i64::try_from(states).unwrap()] {
        wall.refuses(&patched(ERA, states + 16, &i64::to_le_bytes(entry)), &["at offset"]);
    }
    for count in [0, 2, 65_537, u64::MAX] {
        wall.refuses(&patched(ERA, states + 24, &u64::to_le_bytes(count)), &["state index"]);
    }
    // Eight bytes too far, as the blocks of one exporter are: its states are not.
    let entry = u64_at(&original(ERA), states + 16).cast_signed() + 8;
    wall.refuses(&patched(ERA, states + 16, &entry.to_le_bytes()), &["state"]);
}

#[test]
fn an_index_whose_record_is_not_one_is_refused() {
    let wall = Wall::before(ERA);
    let (index, states) = indices(ERA);
    for at in [index, states] {
        for byte in 0..8 {
            let value = original(ERA)[at + byte] ^ 1;
            wall.refuses(&patched(ERA, at + byte, &[value]), &["offset"]);
        }
    }
}

// -------------------------------------------------------------------------------------- records

#[test]
fn a_damaged_record_header_is_refused_with_its_offset() {
    let wall = Wall::before(ERA);
    for slot in [129, 150, 190] {
        let block = block_at(ERA, slot);
        for reserved in [6, 7] {
            let bytes = patched(ERA, block + reserved, &[1]);
            wall.refuses(&bytes, &["reserved bytes", &at(block)]);
        }
        for length in [0, 1, 9, 100, 1 << 24, u32::MAX] {
            let bytes = patched(ERA, block + 2, &u32::to_le_bytes(length));
            wall.refuses(&bytes, &["offset"]);
        }
        // A record of an unknown type is skipped, and then its block is missing.
        wall.refuses(&patched(ERA, block, &[0x81]), &[&format!("slot {slot}: ")]);
    }
    for byte in [0, 1, 2, 7] {
        wall.refuses(&patched(ERA, byte, &[9]), &["record", &at(0)]);
    }
}

#[test]
fn a_flipped_byte_in_a_block_is_refused_with_offset_and_slot() {
    let wall = Wall::before(ERA);
    for slot in [129, 150, 190] {
        let block = block_at(ERA, slot);
        for byte in [8, 14, 18, 22, 40, 200] {
            let value = original(ERA)[block + byte] ^ 0x20;
            let bytes = patched(ERA, block + byte, &[value]);
            // The slot of the first block is needed before the index is read.
            let place = if slot == 129 { "first block".to_owned() } else { format!("slot {slot}") };
            wall.refuses(&bytes, &["block record", &at(block), &place]);
        }
    }
}

#[test]
fn a_flipped_byte_in_the_state_is_refused_with_offset_and_slot() {
    let wall = Wall::before(ERA);
    let state = offsets(&original(ERA))[1 + parts(ERA).state()];
    for byte in [8, 14, 18, 22, 300, 5000, 13_000] {
        let value = original(ERA)[state + byte] ^ 0x20;
        let bytes = patched(ERA, state + byte, &[value]);
        wall.refuses(&bytes, &["state record", &at(state), "slot 192"]);
    }
}

#[test]
fn nothing_may_follow_the_indices_but_another_group() {
    let wall = Wall::before(ERA);
    let (index, states) = indices(ERA);
    let whole = original(ERA);
    let unknown = [0x99, 0, 0, 0, 0, 0, 0, 0];
    for tail in [&unknown[..], &[0], &[0; 8], &[0; 64], &whole[..8], &whole[index..]] {
        wall.refuses(&[&whole, tail].concat(), &["offset"]);
    }
    // Between the two indices.
    wall.refuses(&[&whole[..states], &unknown, &whole[states..]].concat(), &["offset"]);
    // The same group twice.
    wall.refuses(&[&whole[..], &whole].concat(), &["offset"]);
    // A version record or an index among the blocks.
    for record in [&whole[..8], &whole[states..]] {
        let block = block_at(ERA, 150);
        wall.refuses(&[&whole[..block], record, &whole[block..]].concat(), &[&at(block)]);
    }
}

#[test]
fn the_state_is_there_once_and_behind_the_blocks() {
    let wall = Wall::before(ERA);
    let first = |parts: &mut Parts| {
        let state = parts.state();
        let state = parts.records.remove(state);
        parts.records.insert(0, state);
    };
    wall.refuses(&rebuilt(ERA, first), &["after the state of slot 192"]);
    let middle = |parts: &mut Parts| {
        let state = parts.state();
        let state = parts.records.remove(state);
        parts.records.insert(30, state);
    };
    wall.refuses(&rebuilt(ERA, middle), &["after the state of slot 192"]);
    let twice = |parts: &mut Parts| {
        let state = parts.records[parts.state()].clone();
        parts.records.push(state);
    };
    wall.refuses(&rebuilt(ERA, twice), &["state"]);
    let none = |parts: &mut Parts| {
        let state = parts.state();
        parts.records.remove(state);
    };
    wall.refuses(&rebuilt(ERA, none), &["state"]);
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let whole = original(1);
    let wall = Wall::before(1);
    let records = offsets(&whole);
    let (index, states) = indices(1);
    let mut lengths: Vec<usize> = (0..200).chain(whole.len() - 100..whole.len()).collect();
    lengths.extend((0..whole.len()).step_by(997));
    lengths.extend(records.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1, at + 8]));
    lengths.extend([index - 1, index, index + 1, states - 1, states, states + 1]);
    for len in lengths.into_iter().filter(|len| *len < whole.len()) {
        wall.refuses(&whole[..len], &[]);
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let wall = Wall::before(1);
    let other_index = index(64, &[0; 64]);
    let mut alone = Vec::new();
    other_index.append_to(&mut alone);
    for bytes in [
        &b""[..],
        b"#!/bin/sh\necho no era here, not even close\n",
        &[0; 100],
        &[0xff; 100],
        &alone,
    ] {
        wall.refuses(bytes, &[]);
    }
}

// --------------------------------------------------------------------------------------- blocks

#[test]
fn blocks_out_of_order_twice_or_of_another_era_are_refused_with_their_slot() {
    let wall = Wall::before(ERA);
    let swapped = rebuilt(ERA, |parts| parts.records.swap(20, 21));
    wall.refuses(&swapped, &["block record", "in ascending order", "found slot 150"]);
    let twice = rebuilt(ERA, |parts| {
        let block = parts.records[20].clone();
        parts.records.insert(20, block);
    });
    wall.refuses(&twice, &["block record", "found slot 150"]);
    let later = rebuilt(ERA, |parts| {
        let state = parts.state();
        let block = self::parts(4).records[0].clone();
        parts.records.insert(state, block);
    });
    wall.refuses(&later, &["block record", "to 191", "found slot 192"]);
    let last = self::parts(2).block(127).map(|block| self::parts(2).records[block].clone());
    let earlier = rebuilt(ERA, |parts| parts.records.insert(1, last.unwrap()));
    wall.refuses(&earlier, &["block record", "a slot from 130", "found slot 127"]);
    let genesis = rebuilt(0, |parts| {
        parts.records.insert(0, self::parts(1).records[0].clone());
    });
    Wall::holding(0..=0).refuses(&genesis, &["record"]);
}

#[test]
fn a_missing_block_is_refused_with_its_slot() {
    let wall = Wall::before(ERA);
    for slot in [130, 150, 190] {
        let bytes = rebuilt(ERA, |parts| {
            let block = parts.block(slot).unwrap();
            parts.records.remove(block);
        });
        wall.refuses(&bytes, &["state record", &format!("slot {slot}: without a block")]);
    }
}

#[test]
fn a_wrong_parent_root_is_refused_with_record_and_slot() {
    let wall = Wall::before(ERA);
    for slot in [130, 141, 190] {
        let bytes = rebuilt(ERA, |parts| {
            let block = parts.block(slot).unwrap();
            parts.change(block, |value| value[116] ^= 1);
        });
        let place = at(block_at(ERA, slot));
        // Compressed anew, the block may be longer or shorter, but its own start stays.
        wall.refuses(&bytes, &[&place, &format!("slot {slot}: the parent root 0x")]);
    }
    let bytes = rebuilt(1, |parts| parts.change(0, |value| value[116] ^= 1));
    Wall::before(1).refuses(&bytes, &["slot 0: the parent root 0x0000"]);
}

#[test]
fn a_wrong_state_root_is_refused_with_record_and_slot() {
    let wall = Wall::before(ERA);
    for slot in [129, 150, 190] {
        let bytes = rebuilt(ERA, |parts| {
            let block = parts.block(slot).unwrap();
            parts.change(block, |value| value[179] ^= 0x80);
        });
        let place = at(block_at(ERA, slot));
        wall.refuses(&bytes, &[&place, &format!("slot {slot}: the state root")]);
    }
}

#[test]
fn a_block_that_is_no_signed_block_is_refused_with_its_slot() {
    let wall = Wall::before(ERA);
    // Without its slot a block is not in the index that is made for it here: then only its
    // neighbour can tell which one it was.
    let (by_neighbour, by_index) = ("a block after slot 149", "slot 150 by the index");
    for (len, place) in [
        (0, by_neighbour),
        (1, by_neighbour),
        (107, by_neighbour),
        (108, by_index),
        (183, by_index),
    ] {
        let bytes = rebuilt(ERA, |parts| {
            let block = parts.block(150).unwrap();
            parts.change(block, |value| value.truncate(len));
        });
        wall.refuses(&bytes, &["block record", place, &format!("found {len} bytes")]);
    }
    for offset in [0, 180] {
        let bytes = rebuilt(ERA, |parts| {
            let block = parts.block(150).unwrap();
            parts.change(block, |value| value[offset] ^= 1);
        });
        wall.refuses(&bytes, &["block record", "slot 150", "offsets"]);
    }
}

#[test]
fn a_block_that_decodes_to_more_than_the_column_takes_is_refused_at_the_bound() {
    let wall = Wall::before(ERA);
    let bomb = rebuilt(ERA, |parts| {
        let block = parts.block(150).unwrap();
        parts.change(block, |value| value.resize((10 << 20) + 1, 0));
    });
    assert!(bomb.len() < 1 << 20);
    wall.refuses(&bomb, &["block record", "slot 150", "more than 10485760 bytes"]);
}

#[test]
fn a_block_record_longer_than_any_block_is_refused_without_reading_it() {
    let wall = Wall::before(ERA);
    // Padding chunks are valid frames of nothing.
    let bytes = rebuilt(ERA, |parts| {
        let block = parts.block(150).unwrap();
        let padding = [&[0xfe, 0x00, 0x00, 0x01][..], &[0; 0x1_0000]].concat();
        for _ in 0..200 {
            parts.records[block].payload.extend(&padding);
        }
    });
    wall.refuses(&bytes, &["block record", "a record of at most"]);
}

// --------------------------------------------------------------------------------------- states

#[test]
fn roots_that_contradict_the_blocks_are_refused_with_their_slot() {
    let wall = Wall::before(ERA);
    let root_at = |slot: usize| 176 + 32 * (slot - 128);
    let change = |slot: usize, from: usize| {
        rebuilt(ERA, |parts| {
            let state = parts.state();
            parts.change(state, |value| {
                value.copy_within(root_at(from)..root_at(from) + 32, root_at(slot));
            });
        })
    };
    wall.refuses(&change(150, 149), &["state record", "slot 150: a new block root"]);
    wall.refuses(&change(150, 151), &["block record", "slot 151: the parent root"]);
    wall.refuses(&change(140, 130), &["state record", "slot 140: without a block"]);
    wall.refuses(&change(191, 130), &["state record", "slot 191: without a block"]);
}

#[test]
fn a_state_of_another_slot_is_refused() {
    let wall = Wall::before(ERA);
    for slot in [0, 128, 191, 193, 256, u64::MAX] {
        let bytes = rebuilt(ERA, |parts| {
            let state = parts.state();
            parts.change(state, |value| value[40..48].copy_from_slice(&slot.to_le_bytes()));
        });
        wall.refuses(&bytes, &["state record", "slot 192", &format!("found slot {slot}")]);
    }
}

#[test]
fn a_state_that_is_short_or_of_another_preset_is_refused() {
    let wall = Wall::before(ERA);
    for len in [0, 47, 175, 2223, 4272, 4275] {
        let bytes = rebuilt(ERA, |parts| {
            let state = parts.state();
            parts.change(state, |value| value.truncate(len));
        });
        wall.refuses(&bytes, &["state record", "slot 192", &format!("found {len} bytes")]);
    }
    // With one root more, or cut in its fixed part, the offset behind the roots does not fit.
    let longer = rebuilt(ERA, |parts| {
        let state = parts.state();
        parts.change(state, |value| drop(value.splice(176..176, [0; 64])));
    });
    wall.refuses(&longer, &["state record", "slot 192"]);
    let cut = rebuilt(ERA, |parts| {
        let state = parts.state();
        parts.change(state, |value| value.truncate(5000));
    });
    wall.refuses(&cut, &["state record", "historical roots", "to 5000"]);
}

#[test]
fn a_state_that_decodes_to_more_than_the_column_takes_is_refused_at_the_bound() {
    let wall = Wall::before(ERA);
    let path = write(&wall.files, "suspect.era", &original(ERA));
    let plan = Plan::scan(&[&path]).unwrap();
    let small = ColumnSpec { max_value_bytes: 10_000, ..Column::StateSnapshots.spec() };
    let other = scratch();
    let mut writers = wall.archive.writers();
    writers.bss = Writer::open(other.path(), WriterOptions::create(small)).unwrap();
    let failure =
        import(&plan, writers.columns(), StatesPolicy::All, &mut go_on).unwrap_err().to_string();
    for part in ["state record", "slot 192", "more than 10000 bytes"] {
        assert!(failure.contains(part), "{failure}");
    }
    assert_eq!(writers.bss.highest_written_slot(), None);
    drop(writers);
    assert!(wall.archive.files() == wall.before);
}

// --------------------------------------------------------------------------------------- chains

#[test]
fn an_era_of_another_chain_is_refused_where_the_two_part() {
    // Slot 64 has a block: its parent is the last root of the era before.
    let bytes = rebuilt(2, |parts| parts.change(0, |value| value[116] ^= 1));
    let error = Wall::before(2).refuses(&bytes, &["era 2 is of another chain", "slot 63"]);
    assert!(matches!(error, ImportError::AnotherChain { .. }));

    // Slot 128 is skipped: it repeats the last root of the era before.
    let bytes = rebuilt(3, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176] ^= 1);
        parts.change(0, |value| value[116] ^= 1);
    });
    Wall::before(3).refuses(&bytes, &["era 3 is of another chain", "slot 127"]);
}

#[test]
fn an_era_of_another_chain_inside_of_a_file_of_many_is_refused() {
    let other = rebuilt(2, |parts| parts.change(0, |value| value[116] ^= 1));
    let bytes = [original(1), other].concat();
    let error = Wall::before(1).refuses(&bytes, &["era 2 is of another chain", "slot 63"]);
    assert!(
        matches!(error, ImportError::AnotherChain { wanted, .. } if wanted.contains(" has 0x"))
    );
}

#[test]
fn an_era_that_is_there_with_another_last_root_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176 + 32 * 63] ^= 1);
    });
    let held = slot_value(&wall.archive, Column::BlockRoots, 127).unwrap();
    let mut found = held.clone();
    found[0] ^= 1;
    let parts =
        [format!("block root 0x{}", hex(&found)), format!("the archive has 0x{}", hex(&held))];
    wall.refuses(&bytes, &["era 2 is of another chain", "slot 127", &parts[0], &parts[1]]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Guards against a re-import that compares block roots alone.
#[test]
fn an_era_that_is_there_with_another_last_state_root_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176 + 32 * 64 + 32 * 63] ^= 1);
    });
    let held = slot_value(&wall.archive, Column::StateRoots, 127).unwrap();
    let mut found = held.clone();
    found[0] ^= 1;
    let parts =
        [format!("state root 0x{}", hex(&found)), format!("the archive has 0x{}", hex(&held))];
    wall.refuses(&bytes, &["era 2 is of another chain", "slot 127", &parts[0], &parts[1]]);
}

#[test]
fn an_era_that_is_there_with_another_state_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        let end = parts.records[state].value().len() - 1;
        parts.change(state, |value| value[end] ^= 1);
    });
    let error = wall.refuses(&bytes, &["era 2", "another state of slot 128"]);
    assert!(matches!(error, ImportError::AnotherState { roots: None, .. }), "nobody hashes here");
}

/// Guards against an import that writes what comes first of a chain that it then refuses.
#[test]
fn another_chain_writes_nothing_where_backfill_is_allowed() {
    let archive = Archive::new();
    archive.import_with(&era_files(MINIMAL)[1..=4], StatesPolicy::None, &mut go_on).unwrap();
    let before = archive.files();
    let files = scratch();
    let other = |era: usize| {
        rebuilt(era, |parts| {
            let state = parts.state();
            parts.change(state, |value| value[8] ^= 1);
        })
    };
    let paths: Vec<PathBuf> =
        (0..=2).map(|era| write(&files, &format!("{era}.era"), &other(era))).collect();
    let options = ImportOptions::default().backfill(true);
    let failure = archive.import_with(&paths, options, &mut go_on).unwrap_err();
    assert!(failure.to_string().contains("genesis validators root 0x0b08c27f"), "{failure}");
    assert!(archive.files() == before);
}

#[test]
fn another_genesis_state_than_the_one_that_is_there_is_refused() {
    let wall = Wall::holding(0..=2);
    let bytes = rebuilt(0, |parts| parts.change(0, |value| value[300] ^= 1));
    wall.refuses(&bytes, &["era 0", "another state of slot 0"]);
}

#[test]
fn files_with_two_genesis_validators_roots_are_refused_together() {
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[8] ^= 1);
    });
    let archive = Archive::of(&era_files(MINIMAL)[..=1]);
    let before = archive.files();
    let files = scratch();
    let paths = [era_files(MINIMAL)[1].clone(), write(&files, "suspect.era", &bytes)];
    let failure = archive.import(&paths).unwrap_err();
    let text = failure.to_string();
    for part in ["suspect.era", "genesis validators root 0x0b08c27f", "minimal-00001", "0x0a08c27f"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(archive.files() == before);
}

#[test]
fn eras_of_another_preset_are_refused() {
    let minimal = era_files(MINIMAL);
    let mainnet = era_files(MAINNET);
    let archive = Archive::new();
    let failure = archive.import(&[&minimal[1], &mainnet[1]]).unwrap_err();
    assert!(matches!(failure.error, ImportError::SlotsPerEra { .. }), "{failure}");
    assert!(archive.files().is_empty());

    let wall = Wall::holding(0..=4);
    wall.refuses(&fs::read(&mainnet[1]).unwrap(), &["era 1 is of another chain", "slot 255"]);
    for other in &mainnet[2..] {
        wall.refuses(&fs::read(other).unwrap(), &["cannot be imported", "ends with slot 255"]);
    }
    wall.refuses(&fs::read(&mainnet[0]).unwrap(), &["era 0", "genesis validators root 0x6d57622b"]);
}

#[test]
fn a_file_that_is_not_the_planned_one_any_more_is_refused() {
    let wall = Wall::before(ERA);
    let path = write(&wall.files, "suspect.era", &original(ERA));
    let plan = Plan::scan(&[&path]).unwrap();
    fs::copy(&era_files(MINIMAL)[4], &path).unwrap();
    let failure =
        import(&plan, wall.archive.writers().columns(), StatesPolicy::All, &mut go_on).unwrap_err();
    assert!(failure.to_string().contains("the file has changed"), "{failure}");
    assert!(wall.archive.files() == wall.before);
}

// ------------------------------------------------------------------------------------ any damage

/// Reads everything that an importer reads; the outcome is an error, or what the blocks and the
/// state are.
fn read_all(bytes: Vec<u8>) -> Option<Vec<(u64, [u8; 32])>> {
    let mut file = EraFile::of_bytes(bytes, "suspect.era").ok()?;
    let mut found = Vec::new();
    for group in file.groups().to_vec() {
        let mut walk = file.walk(&group).ok()?;
        let mut blocks = Vec::new();
        while let Some(block) = walk.next_block().ok()? {
            found.push((block.head.slot.0, block.head.parent_root));
            blocks.push(block);
        }
        let (state, _) = walk.read_state(&mut |_| {}).ok()?;
        walk.check_index(&blocks).ok()?;
        found.push((state.head.slot.0, state.head.genesis_validators_root));
    }
    Some(found)
}

#[test]
fn no_flipped_byte_makes_an_import_panic_or_brings_a_wrong_value() {
    let whole = original(1);
    let (index, _) = indices(1);
    let headers = offsets(&whole).into_iter().flat_map(|at| at..at + 30);
    let places = headers.chain(index..whole.len()).chain((0..whole.len()).step_by(41));
    let mut archive = Archive::of(&era_files(MINIMAL)[..1]);
    let mut before = archive.files();
    let files = scratch();
    let mut places: Vec<usize> = places.filter(|at| *at < whole.len()).collect();
    places.sort_unstable();
    places.dedup();
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let path = write(&files, "suspect.era", &bytes);
        match archive.import(&[path]) {
            Err(_) => assert!(archive.files() == before, "something was committed, flip at {at}"),
            Ok(_) => {
                archive.assert_holds(MINIMAL, 0..=1);
                archive = Archive::of(&era_files(MINIMAL)[..1]);
                before = archive.files();
            }
        }
    }
}

#[test]
fn no_patchwork_of_era_files_makes_a_reader_panic() {
    let sources: Vec<Vec<u8>> = (0..=3).map(original).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for _ in 0..400 {
        let mut bytes = sources[1 + random(3)].clone();
        for _ in 0..1 + random(4) {
            let source = &sources[random(4)];
            let cuts = [offsets(source), vec![random(source.len())]].concat();
            let from = cuts[random(cuts.len())];
            let piece = &source[from..(from + random(3000)).min(source.len())];
            let own = random(bytes.len());
            match random(3) {
                0 => drop(bytes.splice(own..own, piece.iter().copied())),
                1 => bytes.truncate(own.max(40)),
                _ => {
                    let end = (own + piece.len()).min(bytes.len());
                    bytes[own..end].copy_from_slice(&piece[..end - own]);
                }
            }
        }
        // Often with indices that look right, so that what comes before them is looked at.
        if random(2) == 0 {
            let tail = &sources[1][indices(1).0..];
            bytes.extend(tail);
        }
        read_all(bytes);
    }
    assert!(read_all(sources[3].clone()).is_some_and(|found| found.len() == 61));
}
