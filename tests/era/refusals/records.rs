//! Indices and records.

use std::io::Read as _;

use coldstore::Error;

use super::*;

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
        let past_the_end = patched(ERA, block + 2, &u32::MAX.to_le_bytes());
        wall.refuses(&past_the_end, &[&at(block), "a payload of at most", "length 4294967295"]);
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
fn a_state_that_is_cut_or_flipped_anywhere_is_corrupt_or_the_same() {
    let read = |payload: &[u8]| {
        let mut parts = parts(0);
        parts.records[0].payload = payload.to_vec();
        let mut file = EraFile::of_bytes(parts.build(Encoding::Rule), "suspect.era")?;
        let record = file.state_head(&file.groups()[0].clone())?.record;
        let mut value = Vec::new();
        let read = file.state_stream(&record).read_to_end(&mut value);
        read.map(|_| value).map_err(|error| error.downcast::<Error>().unwrap())
    };
    let whole = parts(0).records[0].payload.clone();
    let value = read(&whole).unwrap();
    for len in (0..whole.len()).step_by(7) {
        assert!(read(&whole[..len]).is_err_and(|error| error.is_corrupt()), "{len}");
    }
    for at in (0..whole.len()).step_by(7).chain(0..30) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        match read(&flipped) {
            Ok(read) => assert!(read == value, "{at}"),
            Err(error) => assert!(error.is_corrupt(), "{at}: {error}"),
        }
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
fn the_state_occurs_once_and_after_the_blocks() {
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
fn a_file_of_another_format_is_refused() {
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
