//! Blocks and states.

use super::*;

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
fn bytes_that_are_not_a_signed_block_are_refused_with_the_slot() {
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
    let plan = ImportPlan::scan(&[&path]).unwrap();
    let small = ColumnSpec { max_value_bytes: 10_000, ..Column::StateSnapshots.spec() };
    let other = scratch();
    let mut writers = wall.archive.writers();
    writers.bss = Writer::open(other.path(), WriterOptions::create(small)).unwrap();
    let failure = import_columns(&plan, writers.columns(), StatesPolicy::All, &mut go_on)
        .unwrap_err()
        .to_string();
    for part in ["state record", "slot 192", "more than 10000 bytes"] {
        assert!(failure.contains(part), "{failure}");
    }
    assert_eq!(writers.bss.highest_written_slot(), None);
    drop(writers);
    assert!(wall.archive.files() == wall.before);
}
