//! What the format cannot notice: a closed list.

use super::*;

/// Why a read may give something else than what was put. Nothing else may be the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unnoticed {
    /// There is no checksum over an uncompressed value: that byte differs, nothing else.
    ValueByte,
    /// The length in a header changed, and the record still ends within the committed part.
    RecordLength,
    /// A snappy chunk became one of the types that a decoder must skip: its bytes are missing.
    SkippableChunk,
    /// The entry leads to another record: that one's value is shown, here or where nothing was.
    EntryOfAnotherRecord,
    /// The entry leads into a value whose bytes look like a record.
    EntryIntoAValue,
    /// The entry became 0: no record.
    EntryZero,
    /// In V3 an entry past the bound is what a crash leaves: no record.
    EntryPastBoundV3,
    /// The compression in the conf, for a reader that expects nothing: stored bytes as values.
    ConfCompression,
    /// In V3 the conf names another file, or another length: the entries past the bound that this
    /// gives read as no record.
    ConfBackfillTarget,
    /// The offset file of a sealed file was cut: zeros behind its end, also within an entry.
    TableCut,
    /// In V3 a sealed data file was cut in front of a record: an entry past the bound.
    DataCutV3,
    /// Both files of a sealed id are gone: as if all its slots had been skipped.
    BothGone,
    /// Healing cleared an entry past the bound, which a reader calls corrupt in V2.
    HealedEntry,
    /// In V3 the conf's length of the backfill file became one at which a record of it ends: healing
    /// cut off those behind it. A crash leaves the same picture.
    HealedByConfTarget,
}

impl Unnoticed {
    /// Whether nothing in the files contradicts anything else, so that verification cannot tell.
    pub(crate) fn is_beyond_verification(self) -> bool {
        matches!(self, Unnoticed::ValueByte | Unnoticed::SkippableChunk)
    }

    /// Whether verification knows that it is damage, in a file in which a crash leaves no bytes that no
    /// slot refers to.
    pub(crate) fn is_known_as_damage(self) -> bool {
        matches!(
            self,
            Unnoticed::RecordLength
                | Unnoticed::EntryZero
                | Unnoticed::EntryPastBoundV3
                | Unnoticed::EntryOfAnotherRecord
                | Unnoticed::EntryIntoAValue
                | Unnoticed::TableCut
        )
    }
}

/// The cause of a wrong reading of `slot`; panics when there is none on the list.
pub(crate) fn classify(
    store: &Store,
    damage: &Damage,
    damaged: &Files,
    slot: u64,
    right: &Reading,
    shown: &Reading,
) -> Unnoticed {
    let id = slot / PER_FILE;
    match damage {
        Damage::Flip { file, at, mask } if *file == data_name(id) => {
            let entry = usize::try_from(entry(&store.files, slot)).unwrap();
            let payload = entry + 8;
            if (entry + 2..entry + 6).contains(at) {
                return Unnoticed::RecordLength;
            }
            let (Reading::Value(right), Reading::Value(shown)) = (right, shown) else {
                panic!("{right:?} became {shown:?}");
            };
            if store.compression == Compression::None {
                let mut flipped = right.clone();
                flipped[at - payload] ^= mask;
                assert_eq!(*shown, flipped);
                return Unnoticed::ValueByte;
            }
            let bytes = &store.files[file];
            assert!(chunk_types(bytes, entry).contains(at), "offset {at} of a record at {entry}");
            assert!((0x80..=0xFE).contains(&(bytes[*at] ^ mask)));
            assert!(right.len() > shown.len());
            Unnoticed::SkippableChunk
        }
        Damage::Flip { file, .. } if *file == offsets_name(id) => {
            assert_eq!(damage.entry_slot(), Some(slot), "another entry than the flipped one");
            let entry = entry(damaged, slot);
            if entry == 0 {
                assert_eq!(*shown, Reading::Nothing);
                return Unnoticed::EntryZero;
            }
            if entry >= reference(damaged).file(id).unwrap().bound {
                assert!(store.backfill && *shown == Reading::Nothing);
                return Unnoticed::EntryPastBoundV3;
            }
            let others = || store.records.keys().filter(|other| **other / PER_FILE == id);
            if others().any(|other| self::entry(&store.files, *other) == entry) {
                return Unnoticed::EntryOfAnotherRecord;
            }
            Unnoticed::EntryIntoAValue
        }
        Damage::Flip { file, at: 26, .. } if file == CONF => Unnoticed::ConfCompression,
        Damage::Flip { file, at: 36..52, .. } if file == CONF => {
            assert!(store.backfill && *shown == Reading::Nothing);
            Unnoticed::ConfBackfillTarget
        }
        Damage::Cut { file, len } if *file == offsets_name(id) && id != CURRENT => {
            // Of an entry that was cut itself the first bytes may lead to another record.
            let is_cut = len % 8 != 0 && *len as u64 / 8 == slot % PER_FILE;
            assert!(is_cut || *shown == Reading::Nothing);
            Unnoticed::TableCut
        }
        Damage::Cut { file, len } if *file == data_name(id) && id != CURRENT => {
            assert!(store.backfill && entry(&store.files, slot) >= *len as u64);
            assert_eq!(*shown, Reading::Nothing);
            Unnoticed::DataCutV3
        }
        Damage::Gone { files } if files.len() == 2 && id != CURRENT => {
            assert_eq!(*shown, Reading::Nothing);
            Unnoticed::BothGone
        }
        _ => panic!("slot {slot}: {right:?} became {shown:?} and no exception allows it"),
    }
}

/// Header and payload of the record at `entry`.
pub(crate) fn record_at(data: &[u8], entry: usize) -> &[u8] {
    let length = u32::from_le_bytes(data[entry + 2..entry + 6].try_into().unwrap());
    &data[entry..entry + 8 + usize::try_from(length).unwrap()]
}

/// Offsets of the type bytes of the snappy chunks of the record at `entry`.
pub(crate) fn chunk_types(data: &[u8], entry: usize) -> Vec<usize> {
    let end = entry + record_at(data, entry).len();
    let mut types = Vec::new();
    let mut at = entry + 8;
    while at < end {
        types.push(at);
        let chunk = [data[at + 1], data[at + 2], data[at + 3], 0];
        at += 4 + usize::try_from(u32::from_le_bytes(chunk)).unwrap();
    }
    types
}
