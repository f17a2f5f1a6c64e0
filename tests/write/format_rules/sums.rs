//! Section 8: checksum files.

use coldstore::format::record::RecordHeader;
use coldstore::format::sums::{
    RecordSum, SUMS_BYTES, SUMS_HEADER_BYTES, SumEntry, SumTable, SumVerdict,
};
use coldstore::{FileId, Slot};
use zerocopy::IntoBytes as _;

const SLOT: Slot = Slot(8195);
const HEADER: [u8; 8] = [4, 0, 5, 0, 0, 0, 0, 0];

fn entry() -> SumEntry {
    let mut sum = RecordSum::new(SLOT, 8, HEADER);
    sum.update(b"he");
    sum.update(b"llo");
    sum.entry(SLOT, 8)
}

#[test]
fn an_entry_binds_slot_offset_header_and_payload() {
    // Computed with Python: CRC-32C of the 29 bytes, and of the first 16 bytes followed by it.
    assert_eq!((entry().record.get(), entry().entry.get()), (0xe8cf_2d50, 0x2144_f115));
    assert_eq!(entry().check(SLOT, 8, HEADER, b"hello"), SumVerdict::Intact);
    assert!(matches!(entry().check(SLOT, 8, HEADER, b"hellp"), SumVerdict::Damaged { .. }));
    let other = RecordHeader::new([4, 0], 4).to_bytes();
    assert!(matches!(entry().check(SLOT, 8, other, b"hell"), SumVerdict::Damaged { .. }));
    assert_eq!(entry().check(Slot(8196), 8, HEADER, b"hello"), SumVerdict::Misplaced);
    assert_eq!(entry().check(SLOT, 9, HEADER, b"hello"), SumVerdict::Misplaced);
    assert_eq!(SumEntry::default().check(SLOT, 8, HEADER, b"x"), SumVerdict::Unknown);
}

#[test]
fn a_flipped_bit_in_an_entry_is_distinguished_from_a_damaged_record() {
    for bit in 0..64 {
        let mut entry = entry();
        entry.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        let verdict = |payload| entry.check(SLOT, 8, HEADER, payload);
        assert_eq!(verdict(b"hello"), SumVerdict::EntryDamaged, "{bit}");
        assert_eq!(verdict(b"hallo"), SumVerdict::Misplaced, "{bit}");
    }
}

#[test]
fn a_file_with_a_damaged_header_or_a_wrong_length_is_rejected() {
    let mut table = SumTable::new(FileId(1), [4, 0]);
    table.set(3, entry());
    let bytes = table.as_bytes().to_vec();
    let read = SumTable::from_bytes(&bytes, FileId(1), [4, 0]).unwrap();
    assert_eq!(read.known().collect::<Vec<_>>(), [3]);
    assert_eq!(read.get(3), entry());
    for at in 0..SUMS_HEADER_BYTES {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        assert!(SumTable::from_bytes(&bytes, FileId(1), [4, 0]).is_none(), "{at}");
    }
    assert!(SumTable::from_bytes(&bytes, FileId(2), [4, 0]).is_none());
    assert!(SumTable::from_bytes(&bytes, FileId(1), [3, 0]).is_none());
    assert!(SumTable::from_bytes(&bytes[..SUMS_BYTES - 1], FileId(1), [4, 0]).is_none());
    assert!(SumTable::from_bytes(&[], FileId(1), [4, 0]).is_none());
}
