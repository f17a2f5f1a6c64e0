//! Balances from one slot to the next: the reward of the sync committee, and a few others.

use super::exceptions::Unpacker;
use super::fault::Decoded;
use super::packed::{Cursor, put_count, put_varint};
use super::section::{
    Packed, Packer, each_position, max_gap_bytes, put_gap, put_signed, read_signed, wrong,
};

const GWEI_PER_ETH: u64 = 1_000_000_000;

/// Balances with a code of their own, in ETH: what withdrawals leave.
const COMMON: [u64; 3] = [0, 32, 2048];
/// The code of a balance whose difference from the predicted one follows.
const ESCAPED: u8 = 3;

/// Most bytes of a changed balance: gap, code and difference.
const MAX_CHANGE_BYTES: usize = 5 + 1 + 10;
/// Most balances that a block changes, beyond the validators that it adds.
const MAX_CHANGES: usize = 1 << 24;

/// Whether the members listed are those that took part.
const LISTS_ABSENT: u8 = 0;
const LISTS_PRESENT: u8 = 1;

/// Encodes the changed balances of a block, ascending by index. `members` are the validators of the sync
/// committee. Validators that the base does not have had 0.
pub(crate) fn encode_balances(
    base: &[[u8; 8]],
    changed: &[(u32, u64)],
    members: &[u32],
) -> Option<Vec<u8>> {
    if changed.is_empty() {
        return None;
    }
    let before =
        |index: u32| base.get(index as usize).map_or(0, |balance| u64::from_le_bytes(*balance));
    let after = |index: u32| {
        let found = changed.binary_search_by_key(&index, |(index, _)| *index);
        found.map_or_else(|_| before(index), |place| changed[place].1)
    };
    let change = |index: u32| after(index).wrapping_sub(before(index)).cast_signed();
    let reward = reward_of(members, change);
    let mut section = Vec::new();
    let mut packer = Packer::new();
    put_varint(&mut section, reward);
    let mut predicted: Vec<(u32, u64)> = Vec::new();
    if reward > 0 {
        let took_part = took_part(members, reward, change);
        put_members(&took_part, &mut packer, &mut section);
        predicted = predictions(members, &took_part, reward, before);
    }
    put_changes(changed, &predicted, before, &mut packer, &mut section);
    Some(section)
}

/// The commonest change of a member.
fn reward_of(members: &[u32], change: impl Fn(u32) -> i64) -> u64 {
    let mut changes: Vec<u64> =
        members.iter().map(|member| change(*member).unsigned_abs()).collect();
    changes.sort_unstable();
    let equal = changes.chunk_by(|left, right| left == right).filter(|equal| equal[0] > 0);
    equal.max_by_key(|equal| equal.len()).map_or(0, |equal| equal[0])
}

/// Which places of the committee took part, so that most changes are explained. A validator may have several.
fn took_part(members: &[u32], reward: u64, change: impl Fn(u32) -> i64) -> Vec<bool> {
    let mut places: Vec<(u32, usize)> = members.iter().copied().zip(0..).collect();
    places.sort_unstable();
    let mut took_part = vec![true; members.len()];
    for of_one in places.chunk_by(|left, right| left.0 == right.0) {
        // With `present` of its places: change = reward * (present - (count - present)).
        let rewards = i128::from(change(of_one[0].0)) / i128::from(reward);
        let present = (of_one.len() as i128 + rewards) / 2;
        let present = usize::try_from(present).unwrap_or(0).min(of_one.len());
        for (_, place) in &of_one[present..] {
            took_part[*place] = false;
        }
    }
    took_part
}

fn put_members(took_part: &[bool], packer: &mut Packer, section: &mut Vec<u8>) {
    let present = took_part.iter().filter(|present| **present).count();
    let listed = present * 2 < took_part.len();
    let (mut gaps, mut end, mut count) = (Vec::new(), 0, 0);
    for (place, _) in took_part.iter().enumerate().filter(|(_, present)| **present == listed) {
        put_gap(&mut gaps, place - end);
        end = place + 1;
        count += 1;
    }
    section.push(if listed { LISTS_PRESENT } else { LISTS_ABSENT });
    put_count(section, count);
    packer.pack_with_len(&gaps, section);
}

/// The balances that the sync committee's reward gives, ascending by index.
fn predictions(
    members: &[u32],
    took_part: &[bool],
    reward: u64,
    before: impl Fn(u32) -> u64,
) -> Vec<(u32, u64)> {
    let mut changes: Vec<(u32, u64)> = members
        .iter()
        .zip(took_part)
        .map(|(member, present)| (*member, if *present { reward } else { reward.wrapping_neg() }))
        .collect();
    changes.sort_unstable();
    let of_one = changes.chunk_by(|left, right| left.0 == right.0);
    of_one
        .map(|changes| {
            let index = changes[0].0;
            let sum = changes.iter().fold(before(index), |sum, change| sum.wrapping_add(change.1));
            (index, sum)
        })
        .collect()
}

/// The balances that are not as predicted.
fn put_changes(
    changed: &[(u32, u64)],
    predicted: &[(u32, u64)],
    before: impl Fn(u32) -> u64,
    packer: &mut Packer,
    section: &mut Vec<u8>,
) {
    let (mut gaps, mut codes, mut escapes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut count, mut end) = (0, 0);
    let mut put = |index: u32, predicted: u64, after: u64| {
        if predicted == after {
            return;
        }
        put_varint(&mut gaps, u64::from(index - end));
        end = index + 1;
        count += 1;
        let common = (0u8..).zip(COMMON).find(|(_, eth)| eth * GWEI_PER_ETH == after);
        codes.push(common.map_or(ESCAPED, |(code, _)| code));
        if common.is_none() {
            put_signed(&mut escapes, after.wrapping_sub(predicted).cast_signed());
        }
    };
    // Both lists ascend; a validator may be in one of them or in both.
    let (mut changed, mut predicted) = (changed.iter().peekable(), predicted.iter().peekable());
    loop {
        match (changed.peek(), predicted.peek()) {
            (Some((index, after)), Some((other, sum))) if index == other => {
                put(*index, *sum, *after);
                changed.next();
                predicted.next();
            }
            (Some((index, _)), Some((other, sum))) if index > other => {
                put(*other, *sum, before(*other));
                predicted.next();
            }
            (None, Some((other, sum))) => {
                put(*other, *sum, before(*other));
                predicted.next();
            }
            (Some((index, after)), _) => {
                put(*index, before(*index), *after);
                changed.next();
            }
            (None, None) => break,
        }
    }
    put_count(section, count);
    let body = [gaps, codes, escapes].concat();
    packer.pack_with_len(&body, section);
}

/// A section that was read.
#[derive(Debug, Default)]
struct SlotBalances {
    reward: u64,
    is_absent_listed: bool,
    /// Places of the sync committee.
    listed: Vec<usize>,
    /// The others: `None` for the balance itself.
    changes: Vec<(usize, Change)>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Value(u64),
    Difference(i64),
}

impl Change {
    fn apply(self, balance: u64) -> u64 {
        match self {
            Self::Value(value) => value,
            Self::Difference(difference) => balance.wrapping_add_signed(difference),
        }
    }
}

impl SlotBalances {
    fn read(
        section: &[u8],
        members: usize,
        validators: usize,
        unpacker: &mut Unpacker,
    ) -> Decoded<Self> {
        let mut input = Cursor::new(section);
        let mut read = Self { reward: input.varint()?, ..Self::default() };
        if read.reward > 0 {
            read.read_members(&mut input, members, unpacker)?;
        }
        let count = input.count("changed balances", validators.min(MAX_CHANGES))?;
        let limit = count * MAX_CHANGE_BYTES;
        let body = &mut unpacker.symbols;
        Packed::read_with_len(&mut input, "bytes of changes", limit)?
            .unpack(&mut unpacker.context, body)?;
        input.end()?;
        let mut body = Cursor::new(body);
        let mut next = 0usize;
        for _ in 0..count {
            let index = next.saturating_add(body.count("validators", u32::MAX as usize)?);
            if index >= validators {
                return wrong(format_args!("validators below {validators}"), index);
            }
            read.changes.push((index, Change::Difference(0)));
            next = index + 1;
        }
        let codes = body.bytes(count)?;
        for ((_, change), code) in read.changes.iter_mut().zip(codes) {
            *change = match COMMON.get(usize::from(*code)) {
                Some(eth) => Change::Value(eth * GWEI_PER_ETH),
                None if *code == ESCAPED => Change::Difference(read_signed(&mut body)?),
                None => return wrong(format_args!("a code up to {ESCAPED}"), code),
            };
        }
        body.end()?;
        Ok(read)
    }

    fn read_members(
        &mut self,
        input: &mut Cursor<'_>,
        members: usize,
        unpacker: &mut Unpacker,
    ) -> Decoded<()> {
        self.is_absent_listed = match input.array()? {
            [LISTS_ABSENT] => true,
            [LISTS_PRESENT] => false,
            [other] => return wrong("0 or 1 for a list of members", other),
        };
        let count = input.count("members of the sync committee", members)?;
        let (limit, gaps) = (max_gap_bytes(count, members), &mut unpacker.gaps);
        Packed::read_with_len(input, "bytes of gaps", limit)?
            .unpack(&mut unpacker.context, gaps)?;
        let listed = &mut self.listed;
        each_position(gaps, count, members, |place| {
            listed.push(place);
            Ok(())
        })
    }

    /// What a place of the committee adds.
    fn of_place(&self, place: usize) -> u64 {
        let is_listed = self.listed.binary_search(&place).is_ok();
        match is_listed == self.is_absent_listed {
            true => self.reward.wrapping_neg(),
            false => self.reward,
        }
    }
}

/// Applies a section to the balances of the slot before, which have the length of the result.
pub(crate) fn apply_balances(
    section: &[u8],
    members: &[u32],
    balances: &mut [[u8; 8]],
    unpacker: &mut Unpacker,
) -> Decoded<()> {
    let read = SlotBalances::read(section, members.len(), balances.len(), unpacker)?;
    if read.reward > 0 {
        for (place, member) in members.iter().enumerate() {
            let Some(balance) = balances.get_mut(*member as usize) else {
                return wrong("members among the validators", member);
            };
            let sum = u64::from_le_bytes(*balance).wrapping_add(read.of_place(place));
            *balance = sum.to_le_bytes();
        }
    }
    for (index, change) in read.changes {
        balances[index] = change.apply(u64::from_le_bytes(balances[index])).to_le_bytes();
    }
    Ok(())
}

/// Length of a public key, the first bytes of a validator.
const PUBKEY_BYTES: usize = 48;
const VALIDATOR_BYTES: usize = 121;

/// The validators with the public keys of a sync committee, in its order; `None` if one of them has none.
///
/// `registry` are the encoded validators, in two parts. Takes about 10 ns a validator.
pub(crate) fn sync_members(pubkeys: &[u8], registry: [&[u8]; 2]) -> Option<Vec<u32>> {
    let (pubkeys, _) = pubkeys.as_chunks::<PUBKEY_BYTES>();
    // Two bytes of a key exclude most validators.
    let mut is_wanted = vec![false; 1 << 16];
    let hint = |pubkey: &[u8]| usize::from(u16::from_le_bytes([pubkey[8], pubkey[9]]));
    let mut found = std::collections::HashMap::new();
    for pubkey in pubkeys {
        is_wanted[hint(pubkey)] = true;
        found.insert(pubkey.as_slice(), None);
    }
    let validators = registry.into_iter().flat_map(|part| part.as_chunks::<VALIDATOR_BYTES>().0);
    for (index, validator) in (0u32..).zip(validators) {
        let pubkey = &validator[..PUBKEY_BYTES];
        if is_wanted[hint(pubkey)]
            && let Some(found) = found.get_mut(pubkey)
        {
            found.get_or_insert(index);
        }
    }
    pubkeys.iter().map(|pubkey| found.get(pubkey.as_slice()).copied().flatten()).collect()
}
