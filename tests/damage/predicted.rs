//! What the reference reader says of a slot.

use super::*;

/// What a slot reads as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Nothing,
    Value(Vec<u8>),
    Refused,
}

/// The reference reader of files with a valid conf.
pub(crate) fn reference(files: &Files) -> Reference<'_> {
    Reference::of(files).expect("a conf that the library reads")
}

pub(crate) fn predicted(reference: &Reference<'_>, slot: u64) -> Reading {
    match reference.shown(slot) {
        Shown::Nothing => Reading::Nothing,
        Shown::Damage | Shown::FileDamage => Reading::Refused,
        Shown::Payload { at, byte_len } => {
            let stored = reference.bytes(slot, at, byte_len);
            reference.value(stored, 1 << 20).map_or(Reading::Refused, Reading::Value)
        }
    }
}

/// The entry of a slot, whatever the conf is; 0 without an offset file.
pub(crate) fn entry(files: &Files, slot: u64) -> u64 {
    let table = files.get(&offsets_name(slot / PER_FILE)).map(|bytes| Table::parse(bytes));
    table.map_or(0, |table| table.entry(u16::try_from(slot % PER_FILE).unwrap()))
}
