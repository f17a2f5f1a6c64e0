//! Participation flags from one slot to the next: a block takes in the attesters of a slot or two, by committees.

use coldstore_consensus::transition::Committees;

use super::exceptions::Unpacker;
use super::fault::Decoded;
use super::packed::{Cursor, put_count, put_varint};
use super::section::{Packed, Packer, each_position, max_gap_bytes, put_gap, wrong};

/// Most bytes of a gap between validators.
const MAX_GAP_BYTES: usize = 5;
/// An attester listed by index takes about twice as many bytes as one listed by rank.
const BYTES_BY_INDEX: usize = 2;

/// Most validators that are listed by index.
const MAX_BY_INDEX: usize = 1 << 24;

/// Attesters of a slot, in random order, by which it is decided whether to look at all of them.
const SAMPLED: usize = 256;
/// Values of the flags that count: three bits.
const KEYS: usize = 8;

/// A slot whose attesters a block takes in, and the flags that it sets, by the attester's key: who votes late or for
/// a wrong head in one epoch mostly does so in the next.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// In its epoch.
    slot: u8,
    flags: [u8; KEYS],
}

impl Taken {
    fn flags(&self, key: u8) -> u8 {
        self.flags[usize::from(key) % KEYS]
    }
}

/// What the keys of one of the two columns are, and its committees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attesters<'c> {
    /// Of the column's epoch.
    pub(crate) committees: &'c Committees,
    pub(crate) slots_per_epoch: u64,
    /// The flags of the previous epoch in the base, which are the keys of the current epoch's attesters. The keys of
    /// the previous epoch's are their own flags in the base.
    pub(crate) previous: Option<&'c [u8]>,
}

impl Attesters<'_> {
    fn key(&self, validator: usize, flags: u8) -> u8 {
        let key =
            self.previous.map_or(flags, |previous| previous.get(validator).copied().unwrap_or(0));
        key % 8
    }
}

/// The attesters of slots of an epoch, one slot after the other.
struct Ranks<'c> {
    slots: Vec<&'c [u32]>,
    count: usize,
}

impl<'c> Ranks<'c> {
    fn of(taken: &[Taken], committees: &'c Committees) -> Self {
        let slots: Vec<_> =
            taken.iter().map(|taken| committees.of_slot(u64::from(taken.slot))).collect();
        let count = slots.iter().map(|slot| slot.len()).sum();
        Self { slots, count }
    }

    /// The validator of a rank.
    fn validator(&self, mut rank: usize) -> Option<usize> {
        for slot in &self.slots {
            match slot.get(rank) {
                Some(validator) => return Some(*validator as usize),
                None => rank -= slot.len(),
            }
        }
        None
    }
}

/// Encodes what the block of a slot changes in one column; `None` if nothing.
pub(crate) fn encode_flags(base: &[u8], next: &[u8], attesters: Attesters<'_>) -> Option<Vec<u8>> {
    let mut left = changed(base, next);
    let count: u32 = left.iter().map(|word| word.count_ones()).sum();
    if count == 0 {
        return None;
    }
    let taken = taken_in(base, next, attesters, &left, count as usize);
    let ranks = Ranks::of(&taken, attesters.committees);
    let mut section = Vec::new();
    put_count(&mut section, taken.len());
    let (mut gaps, mut symbols) = (Vec::new(), Vec::new());
    let (mut rank, mut end) = (0, 0);
    for (taken, members) in taken.iter().zip(&ranks.slots) {
        section.push(taken.slot);
        section.extend(taken.flags);
        for member in *members {
            let member = *member as usize;
            left[member / 64] &= !(1 << (member % 64));
            if base[member] | taken.flags(attesters.key(member, base[member])) != next[member] {
                put_gap(&mut gaps, rank - end);
                symbols.push(next[member]);
                end = rank + 1;
            }
            rank += 1;
        }
    }
    let mut packer = Packer::new();
    if !taken.is_empty() {
        put_count(&mut section, symbols.len());
        packer.pack_with_len(&gaps, &mut section);
        packer.pack(&symbols, &mut section);
    }
    put_by_index(next, &left, &mut packer, &mut section);
    Some(section)
}

/// The others, by index.
fn put_by_index(next: &[u8], left: &[u64], packer: &mut Packer, section: &mut Vec<u8>) {
    let (mut gaps, mut symbols, mut end) = (Vec::new(), Vec::new(), 0);
    for (word, mut bits) in left.iter().copied().enumerate() {
        while bits != 0 {
            let index = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            put_varint(&mut gaps, (index - end) as u64);
            symbols.push(next[index]);
            end = index + 1;
        }
    }
    put_count(section, symbols.len());
    packer.pack_with_len(&gaps, section);
    packer.pack(&symbols, section);
}

/// The validators whose flags differ, as bits.
fn changed(base: &[u8], next: &[u8]) -> Vec<u64> {
    let of_base = |index: usize| base.get(index).copied().unwrap_or(0);
    let words = next.chunks(64).enumerate().map(|(word, next)| {
        let start = word * 64;
        if base.get(start..start + next.len()) == Some(next) {
            return 0;
        }
        let bits = next.iter().enumerate();
        bits.map(|(bit, next)| u64::from(*next != of_base(start + bit)) << bit).sum()
    });
    words.collect()
}

/// The slots whose attesters are cheaper to take in whole.
fn taken_in(
    base: &[u8],
    next: &[u8],
    attesters: Attesters<'_>,
    changed: &[u64],
    mut left: usize,
) -> Vec<Taken> {
    let is_changed =
        |member: usize| changed.get(member / 64).is_some_and(|word| word >> (member % 64) & 1 == 1);
    let mut taken = Vec::new();
    for slot in (0..attesters.slots_per_epoch).rev() {
        let members = attesters.committees.of_slot(slot);
        let sample = &members[..members.len().min(SAMPLED)];
        let in_sample = sample.iter().filter(|member| is_changed(**member as usize)).count();
        // Not so many that it could pay; or committees of another state than this one.
        let is_other = |member: &u32| *member as usize >= base.len();
        if left == 0 || in_sample * 8 < sample.len() || members.iter().any(is_other) {
            continue;
        }
        let (mut counts, mut count) = ([[0u32; 256]; KEYS], 0);
        for member in members.iter().map(|member| *member as usize).filter(|at| is_changed(*at)) {
            let key = attesters.key(member, base[member]);
            counts[usize::from(key)][usize::from(next[member])] += 1;
            count += 1;
        }
        left = left.saturating_sub(count);
        let mut members_by_key = [0u32; KEYS];
        for member in members.iter().map(|member| *member as usize) {
            members_by_key[usize::from(attesters.key(member, base[member]))] += 1;
        }
        let flags = std::array::from_fn(|key| {
            let commonest = (0u8..=255).max_by_key(|flags| counts[key][usize::from(*flags)]);
            let commonest = commonest.unwrap_or(0);
            // Those that mostly do not attest are predicted not to.
            let is_common = counts[key][usize::from(commonest)] * 2 >= members_by_key[key];
            if is_common { commonest } else { 0 }
        });
        #[expect(clippy::cast_possible_truncation, reason = "an epoch has at most 32 slots")]
        let found = Taken { slot: slot as u8, flags };
        let is_exception = |member: &&u32| {
            let member = **member as usize;
            base[member] | found.flags(attesters.key(member, base[member])) != next[member]
        };
        if members.iter().filter(is_exception).count() < BYTES_BY_INDEX * count {
            taken.push(found);
        }
    }
    taken.reverse();
    taken
}

/// Applies a section to the flags of the slot before.
pub(crate) fn apply_flags(
    section: &[u8],
    attesters: Attesters<'_>,
    flags: &mut [u8],
    unpacker: &mut Unpacker,
) -> Decoded<()> {
    let mut input = Cursor::new(section);
    let taken = read_taken(&mut input, attesters.slots_per_epoch)?;
    let ranks = Ranks::of(&taken, attesters.committees);
    for (taken, members) in taken.iter().zip(&ranks.slots) {
        for member in *members {
            let Some(flags) = flags.get_mut(*member as usize) else {
                return wrong("attesters among the validators", member);
            };
            *flags |= taken.flags(attesters.key(*member as usize, *flags));
        }
    }
    if !taken.is_empty() {
        let count = read_exceptions(&mut input, ranks.count, unpacker)?;
        let Unpacker { gaps, symbols, .. } = unpacker;
        let mut symbols = symbols.iter();
        each_position(gaps, count, ranks.count, |rank| {
            let validator = ranks.validator(rank).and_then(|index| flags.get_mut(index));
            if let (Some(flags), Some(symbol)) = (validator, symbols.next()) {
                *flags = *symbol;
            }
            Ok(())
        })?;
    }
    let len = flags.len();
    each_by_index(&mut input, len, unpacker, |index, symbol| flags[index] = symbol)?;
    input.end()
}

fn read_taken(input: &mut Cursor<'_>, slots_per_epoch: u64) -> Decoded<Vec<Taken>> {
    let limit = usize::try_from(slots_per_epoch).unwrap_or(usize::MAX);
    let count = input.count("slots of an epoch", limit)?;
    let mut taken: Vec<Taken> = Vec::with_capacity(count);
    for _ in 0..count {
        let [slot] = input.array()?;
        let flags = input.array()?;
        if u64::from(slot) >= slots_per_epoch || taken.last().is_some_and(|last| last.slot >= slot)
        {
            return wrong("ascending slots of an epoch", slot);
        }
        taken.push(Taken { slot, flags });
    }
    Ok(taken)
}

/// Reads gaps and symbols of ranks, and returns their number.
fn read_exceptions(input: &mut Cursor<'_>, end: usize, unpacker: &mut Unpacker) -> Decoded<usize> {
    let count = input.count("exceptions", end)?;
    let Unpacker { context, gaps, symbols, .. } = unpacker;
    let limit = max_gap_bytes(count, end);
    Packed::read_with_len(input, "bytes of gaps", limit)?.unpack(context, gaps)?;
    Packed::read(input, count)?.unpack(context, symbols)?;
    Ok(count)
}

fn each_by_index(
    input: &mut Cursor<'_>,
    end: usize,
    unpacker: &mut Unpacker,
    mut visit: impl FnMut(usize, u8),
) -> Decoded<()> {
    let count = input.count("validators", end.min(MAX_BY_INDEX))?;
    let Unpacker { context, gaps, symbols, .. } = unpacker;
    let limit = count * MAX_GAP_BYTES;
    Packed::read_with_len(input, "bytes of gaps", limit)?.unpack(context, gaps)?;
    Packed::read(input, count)?.unpack(context, symbols)?;
    let (mut gaps, mut index) = (Cursor::new(gaps), 0usize);
    for symbol in symbols {
        index = index.saturating_add(gaps.count("validators", u32::MAX as usize)?);
        if index >= end {
            return wrong(format_args!("validators below {end}"), index);
        }
        visit(index, *symbol);
        index += 1;
    }
    gaps.end()
}
