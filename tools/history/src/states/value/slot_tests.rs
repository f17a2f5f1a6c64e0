#![allow(clippy::cast_possible_truncation)]

use coldstore_consensus::transition::Committees;
use coldstore_consensus::{Preset, Root};

use super::committees::{Attesters, apply_flags, encode_flags};
use super::exceptions::Unpacker;
use super::slot_balances::{apply_balances, encode_balances, sync_members};

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn committees_of(preset: Preset, active: u32) -> Committees {
    Committees::new(preset, 3, (0..active).collect(), &Root([7; 32]))
}

/// Encodes, and checks that applying gives the next flags.
fn checked(base: &[u8], next: &[u8], attesters: Attesters<'_>) -> Vec<u8> {
    let Some(section) = encode_flags(base, next, attesters) else {
        assert_eq!(base, next);
        return Vec::new();
    };
    let (mut unpacker, mut found) = (Unpacker::new(), base.to_vec());
    found.resize(next.len(), 0);
    apply_flags(&section, attesters, &mut found, &mut unpacker).unwrap();
    assert!(found == next, "applying the diff gives other flags");
    section
}

#[test]
fn the_attesters_of_a_slot_take_little_more_than_those_that_are_missing() {
    let (committees, mut numbers) = (committees_of(Preset::Mainnet, 100_000), Numbers(1));
    let base = vec![0; 200_000];
    let attesters = Attesters { committees: &committees, slots_per_epoch: 32, previous: None };
    let mut next = base.clone();
    for member in committees.of_slot(96 + 5) {
        next[*member as usize] = 7;
    }
    let whole = checked(&base, &next, attesters);
    assert!(whole.len() <= 15, "{} bytes for a slot", whole.len());
    for member in committees.of_slot(96 + 5) {
        if numbers.below(200) == 0 {
            next[*member as usize] = 0;
        }
    }
    for _ in 0..5 {
        next[numbers.below(200_000) as usize] = 3;
    }
    let section = checked(&base, &next, attesters);
    assert!(section.len() < 90, "{} bytes", section.len());
}

#[test]
fn any_flags_are_applied() {
    let mut numbers = Numbers(2);
    for preset in Preset::ALL {
        let slots = preset.slots_per_epoch();
        for active in [0, 1, 7, 64, 1000] {
            let committees = committees_of(preset, active);
            for change in [0, 1, 50, 100] {
                let mut column = |count: u64| -> Vec<u8> {
                    (0..count).map(|_| numbers.below(256) as u8).collect()
                };
                let base = column(u64::from(active) + 10);
                let mut next = column(u64::from(active) + 15);
                for (index, base) in base.iter().enumerate() {
                    if numbers.below(100) >= change {
                        next[index] = *base;
                    }
                }
                for previous in [None, Some(&next[..])] {
                    let slots_per_epoch = slots;
                    checked(
                        &base,
                        &next,
                        Attesters { committees: &committees, slots_per_epoch, previous },
                    );
                }
            }
        }
    }
}

/// Encodes, and checks that applying gives the next balances.
fn checked_balances(base: &[u64], next: &[u64], members: &[u32]) -> Vec<u8> {
    let bytes =
        |column: &[u64]| column.iter().map(|balance| balance.to_le_bytes()).collect::<Vec<_>>();
    let changed: Vec<(u32, u64)> = (0..)
        .zip(next)
        .filter(|(index, next)| base.get(*index as usize).unwrap_or(&0) != *next)
        .map(|(index, next)| (index, *next))
        .collect();
    let Some(section) = encode_balances(&bytes(base), &changed, members) else {
        assert!(changed.is_empty());
        return Vec::new();
    };
    let (mut unpacker, mut found) = (Unpacker::new(), bytes(base));
    found.resize(next.len(), [0; 8]);
    apply_balances(&section, members, &mut found, &mut unpacker).unwrap();
    assert_eq!(found, bytes(next));
    section
}

#[test]
fn the_sync_committee_takes_little_more_than_its_absent_members() {
    let mut numbers = Numbers(3);
    let base: Vec<u64> = (0..10_000).map(|_| 32_000_000_000 + numbers.below(1 << 24)).collect();
    let members: Vec<u32> = (0..512).map(|_| numbers.below(10_000) as u32).collect();
    let mut next = base.clone();
    for (place, member) in members.iter().enumerate() {
        let balance = &mut next[*member as usize];
        *balance = if place % 100 == 0 { *balance - 22_000 } else { *balance + 22_000 };
    }
    let reward = checked_balances(&base, &next, &members);
    assert!(reward.len() < 20, "{} bytes for the sync committee", reward.len());
    next[17] += 40_000_000;
    for balance in &mut next[5000..5016] {
        *balance = 32_000_000_000;
    }
    let section = checked_balances(&base, &next, &members);
    assert!(section.len() < 70, "{} bytes", section.len());
}

#[test]
fn any_balances_are_applied() {
    let mut numbers = Numbers(4);
    for count in [1, 2, 30, 300] {
        for change in [0, 1, 50, 100] {
            let mut column = |count: u64| -> Vec<u64> {
                (0..count)
                    .map(|_| match numbers.below(5) {
                        0 => 0,
                        1 => 32_000_000_000,
                        2 => u64::MAX,
                        _ => numbers.below(1 << 31) << numbers.below(33),
                    })
                    .collect()
            };
            let (base, mut next) = (column(count), column(count + 3));
            for (index, base) in base.iter().enumerate() {
                if numbers.below(100) >= change {
                    next[index] = *base;
                }
            }
            for members in [0, 1, 32] {
                let members: Vec<u32> = (0..members).map(|_| numbers.below(count) as u32).collect();
                checked_balances(&base, &next, &members);
            }
        }
    }
}

#[test]
fn damaged_sections_of_slots_give_errors_or_values_but_no_panic() {
    let (committees, mut numbers) = (committees_of(Preset::Minimal, 500), Numbers(5));
    let base: Vec<u8> = vec![0; 600];
    let attesters = Attesters { committees: &committees, slots_per_epoch: 8, previous: None };
    let mut next = base.clone();
    for member in committees.of_slot(2) {
        next[*member as usize] = [0, 3, 7, 7, 7, 7][numbers.below(6) as usize];
    }
    next[550] = 1;
    let flags = checked(&base, &next, attesters);
    let members = [3, 9, 9, 500];
    let balances: Vec<u64> = (0..600).map(|index| index << 20).collect();
    let mut next_balances = balances.clone();
    for index in [3, 9, 44, 55, 500] {
        next_balances[index] += 1000;
    }
    let balance_section = checked_balances(&balances, &next_balances, &members);
    let mut unpacker = Unpacker::new();
    let mut read = |flags: &[u8], balances: &[u8]| {
        let mut column = base.clone();
        let of_flags = apply_flags(flags, attesters, &mut column, &mut unpacker).is_err();
        let mut column = vec![[1; 8]; 600];
        let of_balances = apply_balances(balances, &members, &mut column, &mut unpacker).is_err();
        (of_flags, of_balances)
    };
    for at in 0..flags.len().max(balance_section.len()) {
        for value in 0..=255 {
            let [mut flags, mut balances] = [flags.clone(), balance_section.clone()];
            for section in [&mut flags, &mut balances] {
                if let Some(byte) = section.get_mut(at) {
                    *byte = value;
                }
            }
            read(&flags, &balances);
        }
        let cut = |section: &[u8]| section[..at.min(section.len() - 1)].to_vec();
        assert_eq!(read(&cut(&flags), &cut(&balance_section)), (true, true), "cut at {at}");
    }
}

#[test]
fn members_are_found_by_their_keys() {
    let mut numbers = Numbers(6);
    let registry: Vec<u8> = (0..121 * 300).map(|_| numbers.below(256) as u8).collect();
    let key = |index: usize| &registry[121 * index..121 * index + 48];
    let pubkeys = [key(299), key(0), key(200), key(0), key(199)].concat();
    let (first, second) = registry.split_at(121 * 200);
    assert_eq!(sync_members(&pubkeys, [first, second]), Some(vec![299, 0, 200, 0, 199]));
    assert_eq!(sync_members(&pubkeys, [first, &[]]), None);
}
