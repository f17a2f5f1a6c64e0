//! Encodings that others use, as references for sizes.

use std::borrow::Cow;
use std::io::Write as _;

use coldstore_history::states::{StateRef, VALIDATOR_BYTES};

/// `zstd --patch-from`: a state with another one as its dictionary.
pub fn patch(level: i32, base: &[u8], next: &[u8]) -> usize {
    let mut encoder =
        zstd::stream::write::Encoder::with_ref_prefix(Counted::default(), level, base).unwrap();
    // As the binary does with `--long`: a window of the larger one, and matches at a distance.
    let window = base.len().max(next.len()).ilog2() + 1;
    encoder.window_log(window.clamp(10, 31)).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.set_pledged_src_size(Some(next.len() as u64)).unwrap();
    encoder.write_all(next).unwrap();
    encoder.finish().unwrap().0
}

/// zstd of some bytes.
pub fn packed(level: i32, bytes: &[u8]) -> usize {
    zstd::bulk::compress(bytes, level).unwrap().len()
}

/// Lighthouse's hierarchical diff of two fulu states: balances and inactivity scores as big-endian
/// differences, validators that changed with what did not change as 0, and the rest of the state as a patch (by
/// zstd instead of xdelta3).
pub fn like_lighthouse(base: StateRef<'_>, next: StateRef<'_>) -> usize {
    let numbers = ["balances", "inactivity_scores"].map(|name| {
        let [base, next] = [base, next].map(|state| state.field(name).unwrap());
        let base = base.as_chunks().0.iter().map(|value| u64::from_le_bytes(*value));
        let next = next.as_chunks().0.iter().map(|value| u64::from_le_bytes(*value));
        let pairs = next.zip(base.chain(std::iter::repeat(0)));
        let encoded: Vec<u8> =
            pairs.flat_map(|(next, base)| next.wrapping_sub(base).to_be_bytes()).collect();
        packed(1, &encoded)
    });
    let rest = patch(1, &others(base), &others(next));
    numbers.iter().sum::<usize>() + packed(1, &changed_validators(base, next)) + rest
}

fn changed_validators(base: StateRef<'_>, next: StateRef<'_>) -> Vec<u8> {
    let [old, new] = [base, next].map(|state| state.field("validators").unwrap());
    let old = old.as_chunks::<VALIDATOR_BYTES>().0;
    let mut changed = Vec::new();
    for (index, validator) in new.as_chunks::<VALIDATOR_BYTES>().0.iter().enumerate() {
        if old.get(index) == Some(validator) {
            continue;
        }
        changed.extend_from_slice(&(index as u64).to_le_bytes());
        let mut entry = *validator;
        for part in [0..48, 48..80, 80..88, 88..89, 89..97, 97..105, 105..113, 113..121] {
            if old.get(index).is_some_and(|old| old[part.clone()] == validator[part.clone()]) {
                entry[part].fill(0);
            }
        }
        changed.extend_from_slice(&entry);
    }
    changed
}

/// The fields that have no encoding of their own.
fn others(state: StateRef<'_>) -> Vec<u8> {
    let own = ["validators", "balances", "inactivity_scores"];
    let names = state.field_names().filter(|name| !own.contains(name));
    let fields: Vec<Cow<'_, [u8]>> = names.filter_map(|name| state.field(name)).collect();
    fields.concat()
}

#[derive(Default)]
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
