//! Section 3: offset files.

use super::*;

/// Guards against an offset file of another length, or one with an entry for a skipped slot.
#[test]
fn offset_file_is_8192_entries_and_zero_where_there_is_no_record() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000, 17_000, 8192, 16_383, 16_999]);
    for (file, slots) in [(0, &[1][..]), (1, &[8192, 9000, 16_383]), (2, &[16_999, 17_000])] {
        let bytes = fs::read(dir.path().join(offsets_name(file))).unwrap();
        assert_eq!(bytes.len() as u64, OFFSETS_LEN, "file {file}");
        let filled: Vec<u64> = bytes
            .chunks_exact(8)
            .zip(file * PER_FILE..)
            .filter(|(entry, _)| *entry != [0; 8])
            .map(|(_, slot)| slot)
            .collect();
        assert_eq!(filled, slots, "file {file}");
    }
}

/// Guards against a gap that cannot be filled because the offset file of an empty file is missing,
/// which is the same as one full of zeros.
#[test]
fn missing_offset_file_of_a_data_file_without_records_is_zeros() {
    for (what, data) in [("no data file", None), ("a version record", Some(&VERSION[..]))] {
        let dir = scratch();
        column(dir.path(), true, [1, 17_000]);
        if let Some(bytes) = data {
            fs::write(dir.path().join("data_00001"), bytes).unwrap();
        }
        assert_reads(dir.path(), &content([1, 17_000]), what);
        let mut writer = writer(dir.path(), true);
        assert!(writer.heal_report().is_clean(), "{what}: {:?}", writer.heal_report());
        writer.put(Slot(9000), &value(9000)).unwrap();
        drop(writer);
        assert_shows(&view(dir.path()), &content([1, 9000, 17_000]), what);
        assert_eq!(entry(dir.path(), 9000), 8, "{what}");
        assert_eq!(data_len(dir.path(), 1), 8 + plain_record(9000).len() as u64, "{what}");
        assert!(test_support::writer(dir.path(), true).heal_report().is_clean(), "{what}");
    }
}
