//! Damaged diffs: an error or the right state, never a wrong one.

use coldstore::Slot;
use coldstore_history::states::value::DiffValue;

use crate::diffs::{Roots, apply, chain, encode};

const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 10;

/// A slot, the states of its base and of itself, and the diff between them.
type Diff = (u64, Vec<u8>, Vec<u8>, Vec<u8>);

/// Diffs of several forks and distances.
fn diffs() -> (Vec<Diff>, Roots) {
    let (states, roots) = chain();
    let last = *states.keys().last().unwrap();
    let chosen = [(9, 1), (64, 1), (128, 64), (200, 8), (330, 200), (last, 1), (last, 32)];
    let diffs = chosen.iter().map(|(slot, distance)| {
        let (base, next) = (&states[&(slot - distance)], &states[slot]);
        (*slot, base.clone(), next.clone(), encode(&roots, base, next))
    });
    let diffs = diffs.collect();
    (diffs, roots)
}

#[test]
fn every_flipped_byte_of_a_diff_is_an_error_or_without_effect() {
    let (diffs, roots) = diffs();
    for (slot, base, next, value) in diffs {
        for at in 0..value.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = value.clone();
                damaged[at] ^= flip;
                if let Ok(found) = apply(&roots, &base, slot, &damaged) {
                    assert!(found == next, "slot {slot}, byte {at} ^ {flip:#x}");
                }
            }
        }
    }
}

#[test]
fn a_diff_that_is_cut_off_or_continued_is_an_error() {
    let (diffs, roots) = diffs();
    for (slot, base, _, value) in diffs {
        for end in 0..value.len() {
            let fault = apply(&roots, &base, slot, &value[..end]).unwrap_err();
            assert_eq!(fault.slot, Slot(slot));
        }
        let longer = [&value[..], &[0]].concat();
        let fault = apply(&roots, &base, slot, &longer).unwrap_err().to_string();
        assert!(fault.contains(&format!("wanted a value of {} bytes", value.len())), "{fault}");
    }
}

/// Gives a damaged value the checksums that it should have.
fn sealed(mut value: Vec<u8>) -> Vec<u8> {
    let count = usize::from(u16::from_le_bytes([value[48], value[49]]));
    let mut at = HEADER_BYTES + count * ENTRY_BYTES;
    for entry in (HEADER_BYTES..).step_by(ENTRY_BYTES).take(count) {
        let Some(byte_len) = value.get(entry + 2..entry + 6) else { return value };
        let byte_len = u32::from_le_bytes(byte_len.try_into().unwrap()) as usize;
        let Some(section) = value.get(at..at + byte_len) else { return value };
        let crc = crc32c::crc32c(section).to_le_bytes();
        value[entry + 6..entry + 10].copy_from_slice(&crc);
        at += byte_len;
    }
    value[56..60].fill(0);
    let crc = crc32c::crc32c(&value[..HEADER_BYTES + count * ENTRY_BYTES]);
    value[56..60].copy_from_slice(&crc.to_le_bytes());
    value
}

// Checksums are no defence against whoever writes them.
#[test]
fn a_forged_diff_gives_an_error_or_a_state_as_long_as_it_says() {
    let (diffs, roots) = diffs();
    let (mut applied, mut refused) = (0, 0);
    for (slot, base, _, value) in diffs {
        assert!(sealed(value.clone()) == value);
        for at in 4..value.len() {
            for flip in [1, 2, 0x10, 0x80, 0xff] {
                let mut forged = value.clone();
                forged[at] ^= flip;
                let forged = sealed(forged);
                match apply(&roots, &base, slot, &forged) {
                    Ok(state) => {
                        let diff = DiffValue::parse(Slot(slot), &forged).unwrap();
                        assert_eq!(state.len() as u64, diff.ssz_len());
                        applied += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(applied > 1000 && refused > 1000, "{applied} applied, {refused} refused");
}

#[test]
fn a_diff_on_another_base_is_an_error() {
    let (states, roots) = chain();
    let value = encode(&roots, &states[&100], &states[&101]);
    let fault = apply(&roots, &states[&99], 101, &value).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "slot 101: the state's diff in bsd, on the state of slot 100: wanted the base's state, found that of slot \
         99; `coldstore verify --deep` shows which records are damaged"
    );
    let fault = apply(&roots, &states[&100], 102, &value).unwrap_err().to_string();
    assert!(fault.contains("wanted the diff of that slot, found that of 101"), "{fault}");
    let mut other = value.clone();
    other[24] ^= 1;
    let fault = apply(&roots, &states[&100], 101, &sealed(other)).unwrap_err().to_string();
    assert!(fault.contains("wanted a base with a root that begins with "), "{fault}");
}
