//! One damage at a time, in the middle of three eras.

use std::fs;

use coldstore::Slot;

use crate::era_file::EraParts;
use crate::run::{ERA_SLOTS, Place};

/// Eras of phase0 with altair in it, of capella with deneb, and of electra with fulu.
const DAMAGED: [u64; 3] = [1, 4, 7];

const SIGNATURE: std::ops::Range<usize> = 4..100;

/// Replaces an era's file by `bytes`, and expects the import to refuse it.
#[track_caller]
fn assert_refused(place: &Place, era: u64, bytes: &[u8], words: &[&str], what: &str) -> String {
    let path = place.file(era);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    place.clear();
    let error = place.import(&[]).error.unwrap_or_else(|| panic!("{what} was not refused"));
    let name = path.file_name().unwrap().to_str().unwrap();
    for word in [&[name], words].concat() {
        assert!(error.contains(word), "{what}: no '{word}' in: {error}");
    }
    // Damage visible in the indices is refused before the archive is created.
    if era > 1 && place.has_archive() {
        place.assert_ends_with_era(era - 1, what);
    }
    fs::write(&path, whole).unwrap();
    error
}

fn around(era: u64) -> Place {
    Place::with_eras(era - 1..=era + 1)
}

/// Offsets throughout a value, a prime apart, and denser among its first fields.
fn places(byte_len: usize, first: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..first.min(byte_len)).step_by(3).chain((first..byte_len).step_by(step))
}

#[test]
fn whole_eras_are_proved() {
    let place = Place::with_eras(0..=9);
    let proved = place.import(&[]).succeeded();
    assert_eq!((proved.blocks, proved.states, proved.agreeing_eras), (516, 9, 10));
    assert_eq!(proved.lone_states, [Slot(576)], "no era behind it tells its root");
    assert!(proved.genesis_validators);
    assert_eq!((proved.blinded_blocks, proved.unknown_blocks), (0, 0));
    place.assert_ends_with_era(9, "all");
}

#[test]
fn concatenated_files_are_proved() {
    for era in DAMAGED {
        let place = around(era);
        fs::write(place.file(era), EraParts::read(&place.file(era)).to_bytes()).unwrap();
        place.import(&[]).succeeded();
    }
}

#[test]
fn a_changed_block_is_refused_with_its_slot() {
    for era in DAMAGED {
        let place = around(era);
        let parts = EraParts::read(&place.file(era));
        let at = parts.longest();
        // Offset and signature, header, body.
        for byte in places(parts.blocks[at].len(), 200, 97) {
            if SIGNATURE.contains(&byte) {
                continue;
            }
            let mut damaged = parts.clone();
            damaged.blocks[at][byte] ^= 1 << (byte % 8);
            let slot = u64::from_le_bytes(parts.blocks[at][100..108].try_into().unwrap());
            let slot = format!("slot {slot}");
            // A block without its slot is located by its neighbours.
            let words: &[&str] = if (100..108).contains(&byte) { &[] } else { &[&slot] };
            assert_refused(&place, era, &damaged.to_bytes(), words, &format!("{era}: {byte}"));
        }
    }
}

#[test]
fn a_changed_signature_passes_because_no_root_covers_it() {
    let place = around(4);
    let mut parts = EraParts::read(&place.file(4));
    parts.blocks[3][SIGNATURE.start] ^= 1;
    fs::write(place.file(4), parts.to_bytes()).unwrap();
    place.import(&[]).succeeded();
}

#[test]
fn a_changed_state_is_refused_with_its_slot() {
    for era in DAMAGED {
        let place = around(era);
        let parts = EraParts::read(&place.file(era));
        let slot = format!("slot {}", era * ERA_SLOTS);
        let fixed_fields = 176;
        for byte in places(parts.state.len(), fixed_fields, 431) {
            let mut damaged = parts.clone();
            damaged.state[byte] ^= 1 << (byte % 8);
            let what = format!("era {era}, state byte {byte}");
            let error = assert_refused(&place, era, &damaged.to_bytes(), &[], &what);
            let is_named = error.contains(&slot) || error.contains("slot ");
            assert!(is_named, "{what}: {error}");
        }
    }
}

#[test]
fn missing_swapped_or_duplicate_blocks_are_refused() {
    for era in DAMAGED {
        let place = around(era);
        let parts = EraParts::read(&place.file(era));
        let last = parts.blocks.len() - 1;
        for at in [0, 1, last / 2, last] {
            let mut damaged = parts.clone();
            damaged.blocks.remove(at);
            assert_refused(&place, era, &damaged.to_bytes(), &["slot"], &format!("without {at}"));
            let mut damaged = parts.clone();
            damaged.blocks.swap(at, (at + 1) % parts.blocks.len());
            assert_refused(&place, era, &damaged.to_bytes(), &["slot"], &format!("swap {at}"));
            let mut damaged = parts.clone();
            damaged.blocks.insert(at, parts.blocks[at].clone());
            assert_refused(&place, era, &damaged.to_bytes(), &["slot"], &format!("twice {at}"));
        }
    }
}

#[test]
fn blocks_and_states_of_another_era_are_refused() {
    let place = around(4);
    let (parts, other) = (EraParts::read(&place.file(4)), EraParts::read(&place.file(5)));
    let mut damaged = parts.clone();
    damaged.state = other.state;
    assert_refused(&place, 4, &damaged.to_bytes(), &["slot 256"], "state of era 5");
    let mut damaged = parts;
    damaged.blocks = other.blocks;
    assert_refused(&place, 4, &damaged.to_bytes(), &["slot"], "blocks of era 5");
}

#[test]
fn every_changed_byte_outside_values_is_refused() {
    let place = around(4);
    let whole = fs::read(place.file(4)).unwrap();
    // The version record, the first block's header and the start of its frames with a checksum.
    let first = 0..8 + 8 + 10 + 8 + 4;
    let indices = whole.len() - (8 + 24 + 8) - (8 + 16 + 64 * 8)..whole.len();
    for byte in first.chain(indices) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1 << (byte % 8);
        assert_refused(&place, 4, &damaged, &[], &format!("file byte {byte}"));
    }
}

#[test]
fn a_file_name_with_a_wrong_number_or_short_root_is_refused() {
    let place = around(4);
    let path = place.file(4);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    for at in (0..name.len()).filter(|at| name.as_bytes()[*at].is_ascii_hexdigit()) {
        let digits = name.len() - "00004-a341cfbb.era".len()..name.len() - ".era".len();
        if !digits.contains(&at) {
            continue;
        }
        let mut other = name.clone().into_bytes();
        other[at] = if other[at] == b'7' { b'8' } else { b'7' };
        let other = path.with_file_name(String::from_utf8(other).unwrap());
        fs::rename(&path, &other).unwrap();
        place.clear();
        let error = place.import(&[]).error.unwrap();
        assert!(error.contains("file name") && error.contains("era 4"), "{error}");
        place.assert_ends_with_era(3, &name);
        fs::rename(&other, &path).unwrap();
    }
    place.clear();
    fs::rename(&path, path.with_file_name("fourth.era")).unwrap();
    place.import(&[]).succeeded();
}

#[test]
fn a_missing_era_is_reported_and_earlier_eras_stay() {
    let place = Place::with_eras(2..=6);
    fs::remove_file(place.file(4)).unwrap();
    let error = place.import(&[]).error.unwrap();
    assert!(error.contains("era 4 is missing"), "{error}");
    place.assert_ends_with_era(3, "without era 4");
}

#[test]
fn the_genesis_state_is_tied_to_its_validators_and_to_the_first_era() {
    let place = Place::with_eras(0..=1);
    let path = place.file(0);
    let state = test_support::chain_content::era_states("chain-minimal").remove(&0).unwrap();
    let whole = fs::read(&path).unwrap();
    for byte in places(state.len(), 176, 431) {
        let mut state = state.clone();
        state[byte] ^= 1 << (byte % 8);
        let file = crate::era_file::genesis_file(&state);
        let what = format!("genesis byte {byte}");
        assert_refused(&place, 0, &file, &["slot 0"], &what);
    }
    fs::write(&path, whole).unwrap();
    place.clear();
    place.import(&[]).succeeded();
}
