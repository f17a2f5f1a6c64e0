//! Encodings that others use, as references for sizes.

use std::io::Write as _;

const VALIDATOR_BYTES: usize = 121;

/// `zstd --patch-from`: the state with another one as its dictionary.
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

/// Lighthouse's hierarchical difference of two fulu states: balances and inactivity scores as big-endian
/// differences, validators that changed with what did not change as 0, the list of summaries by its end, and the
/// rest of the state as a patch (by zstd instead of xdelta3).
pub fn like_lighthouse(base: &Split<'_>, next: &Split<'_>) -> usize {
    let differences = |base: &[u8], next: &[u8]| {
        let base = base.as_chunks().0.iter().map(|value| u64::from_le_bytes(*value));
        let next = next.as_chunks().0.iter().map(|value| u64::from_le_bytes(*value));
        let pairs = next.zip(base.chain(std::iter::repeat(0)));
        let encoded: Vec<u8> =
            pairs.flat_map(|(next, base)| next.wrapping_sub(base).to_be_bytes()).collect();
        packed(1, &encoded)
    };
    let balances = differences(base.balances, next.balances);
    let scores = differences(base.inactivity_scores, next.inactivity_scores);
    let mut changed = Vec::new();
    let old = base.validators.as_chunks::<VALIDATOR_BYTES>().0;
    for (index, validator) in next.validators.as_chunks::<VALIDATOR_BYTES>().0.iter().enumerate() {
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
    balances + scores + packed(1, &changed) + patch(1, &base.rest, &next.rest)
}

/// A fulu state in parts.
pub struct Split<'s> {
    pub validators: &'s [u8],
    pub balances: &'s [u8],
    pub inactivity_scores: &'s [u8],
    /// The other fields.
    pub rest: Vec<u8>,
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

impl<'s> Split<'s> {
    /// Splits a fulu state of the mainnet preset.
    pub fn new(ssz: &'s [u8]) -> Self {
        const VALIDATORS_OFFSET_AT: usize = 524_552;
        const BALANCES_OFFSET_AT: usize = 524_556;
        const PREVIOUS_PARTICIPATION_OFFSET_AT: usize = 2_687_248;
        const INACTIVITY_SCORES_OFFSET_AT: usize = 2_687_377;
        const PAYLOAD_HEADER_OFFSET_AT: usize = 2_736_629;
        let start =
            |at: usize| u32::from_le_bytes(std::array::from_fn(|index| ssz[at + index])) as usize;
        let validators = start(VALIDATORS_OFFSET_AT);
        let balances = start(BALANCES_OFFSET_AT);
        let participation = start(PREVIOUS_PARTICIPATION_OFFSET_AT);
        let scores = start(INACTIVITY_SCORES_OFFSET_AT);
        let payload = start(PAYLOAD_HEADER_OFFSET_AT);
        Self {
            validators: &ssz[validators..balances],
            balances: &ssz[balances..participation],
            inactivity_scores: &ssz[scores..payload],
            rest: [&ssz[..validators], &ssz[participation..scores], &ssz[payload..]].concat(),
        }
    }
}
