//! Section 2: the header of a record, and which bytes are its payload.

use coldstore::format::record::{RecordFault, RecordHeader, RecordTag};

#[test]
fn a_payload_is_returned_only_for_a_whole_record_of_the_type() {
    let mut records = RecordHeader::new([4, 0], 3).to_bytes().to_vec();
    records.extend_from_slice(b"abc");
    let tag = RecordTag::new([4, 0]);
    assert_eq!(tag.payload(&records, 8), Ok(&b"abc"[..]));
    assert_eq!(tag.payload(&records[..10], 8), Err(RecordFault::PayloadPastBound(19)));
    assert_eq!(tag.payload(&records[..7], 8), Err(RecordFault::HeaderPastBound));
    for past in [19, 20, u64::MAX] {
        assert_eq!(tag.payload(&records, past), Err(RecordFault::HeaderPastBound));
    }
    for inside in 0..8 {
        assert_eq!(tag.payload(&records, inside), Err(RecordFault::InVersionRecord));
    }
    assert!(matches!(tag.payload(&records, 9), Err(RecordFault::Header(_))));
    records[7] = 1;
    assert!(matches!(tag.payload(&records, 8), Err(RecordFault::Header(_))), "reserved byte");
}

/// Checks the single comparison against the three that it replaces.
#[test]
fn a_bounded_tag_checks_type_reserved_bytes_and_length() {
    let lengths = [0, 32, 33, 0x1_0000, u32::MAX - 1, u32::MAX];
    let types = [0_u16, 1, 2, 0x8000, 0xFFFF];
    let all_reserved = [0_u16, 1, 0x8000, 0xFFFF];
    for wanted in types {
        for longest in lengths {
            let tag = RecordTag::new(wanted.to_le_bytes()).up_to(longest);
            for (record_type, length) in
                types.iter().flat_map(|found| lengths.map(|length| (*found, length)))
            {
                for reserved in all_reserved {
                    let mut header = [0; 8];
                    header[..2].copy_from_slice(&record_type.to_le_bytes());
                    header[2..6].copy_from_slice(&length.to_le_bytes());
                    header[6..].copy_from_slice(&reserved.to_le_bytes());
                    let is_one = record_type == wanted && reserved == 0 && length <= longest;
                    let found = tag.payload_bytes(header);
                    assert_eq!(found, is_one.then_some(length as usize), "{header:?}");
                }
            }
        }
    }
}

#[test]
fn end_of_a_record_does_not_overflow() {
    let header = RecordHeader::new([4, 0], u32::MAX);
    assert_eq!(header.end(8), Some(16 + u64::from(u32::MAX)));
    assert_eq!(header.end(u64::MAX - 8), None);
}
