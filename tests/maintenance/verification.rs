//! What verification knows: what was lost, what cannot be read, and what nobody can tell.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the tests damage files by hand")]

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use coldstore::verify::{
    Finding, Severity, Summary, VerifyOptions, verify_column, verify_column_on,
};
use coldstore::{
    Checksums, Column, ColumnSpec, Compression, CorruptItem, Slot, Writer, WriterOptions,
};
use tempfile::TempDir;

use test_support::{
    BadSectors, PLAIN, SNAPPY, data_name, entry, offsets_name, overwrite, scratch, set_entry,
    set_len, value_of_len,
};

const VALUE_BYTES: usize = 10_000;
const RECORD_BYTES: u64 = 8 + VALUE_BYTES as u64;

fn options() -> VerifyOptions {
    VerifyOptions::default().deep(true)
}

fn verify(dir: &Path) -> (Summary, Vec<Finding>) {
    verify_as(dir, None)
}

fn verify_as(dir: &Path, column: Option<Column>) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let options = options().column(column);
    let summary = verify_column(dir, None, &options, &mut |finding| findings.push(finding));
    (summary.unwrap(), findings)
}

fn of(findings: &[Finding], severity: Severity) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity == severity).collect()
}

/// Slots 0 to 9 in a sealed file, 8192 to 8201 in the current one.
fn column(spec: ColumnSpec, backfill: bool, checksums: Checksums) -> TempDir {
    let dir = scratch();
    let options = WriterOptions::create(spec).allow_backfill(backfill).checksums(checksums);
    let mut writer = Writer::open(dir.path(), options).unwrap();
    let slots = (0..10).chain(8192..8202);
    let batch: Vec<_> = slots.map(|slot| (Slot(slot), value_of_len(slot, VALUE_BYTES))).collect();
    writer.put_batch(&batch).unwrap();
    dir
}

// ---------------------------------------------------------------- what cannot be read

fn verify_with(
    dir: &Path,
    name: &'static str,
    bytes: Range<u64>,
    error: i32,
) -> (Summary, Vec<Finding>) {
    let medium = Arc::new(BadSectors { name, bytes, error });
    let mut findings = Vec::new();
    let summary =
        verify_column_on(medium, dir, None, &options(), &mut |finding| findings.push(finding));
    (summary.unwrap(), findings)
}

#[test]
fn a_bad_sector_is_a_range_in_the_report_and_the_rest_is_checked() {
    for spec in [PLAIN, SNAPPY] {
        let dir = column(spec, false, Checksums::On);
        let start = entry(dir.path(), 3);
        let sector = start.next_multiple_of(4096)..start.next_multiple_of(4096) + 512;
        let (summary, findings) = verify_with(dir.path(), "data_00000", sector.clone(), libc::EIO);
        let [lost] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!(lost.severity, Severity::Unreadable);
        assert_eq!(lost.file, dir.path().join("data_00000"));
        assert_eq!((lost.offset, lost.byte_len), (Some(sector.start), Some(4096)));
        assert_eq!(lost.slot, Some(Slot(3)));
        assert!(lost.found.contains("cannot read: Input/output error"), "{lost:?}");
        assert_eq!((summary.records, summary.unread_records), (19, 1));
        assert_eq!((summary.damages, summary.unreadable), (0, 1));

        // Damage elsewhere is still found.
        let other = entry(dir.path(), 7) + 8;
        overwrite(dir.path(), "data_00000", other + 5, &[0xa5, 0x5a]);
        let (summary, findings) = verify_with(dir.path(), "data_00000", sector, libc::EIO);
        assert_eq!((summary.records, summary.damages, summary.unreadable), (18, 1, 1));
        assert_eq!(of(&findings, Severity::Damage)[0].slot, Some(Slot(7)));
    }
}

#[test]
fn a_bad_sector_under_a_header_is_not_blamed_on_a_record() {
    let dir = column(PLAIN, false, Checksums::Off);
    let start = entry(dir.path(), 3) / 4096 * 4096;
    let (summary, findings) =
        verify_with(dir.path(), "data_00000", start..start + 1, libc::ENODATA);
    assert_eq!((summary.damages, summary.unreadable), (0, 1), "{findings:?}");
    // The end of the record before lies in the same block.
    assert_eq!((summary.records, summary.unread_records), (18, 2));
    assert!(findings[0].found.contains("from slot 2 to slot 3"), "{findings:?}");
}

#[test]
fn bad_sectors_of_other_files_lose_no_record() {
    let dir = column(PLAIN, false, Checksums::On);
    let (summary, findings) = verify_with(dir.path(), "data_00000.off", 0..1, libc::EIO);
    // Ten entries are in that block: which bytes their records are, nobody knows.
    assert_eq!((summary.damages, summary.unreadable, summary.records), (0, 1, 10));
    assert_eq!((findings[0].offset, findings[0].byte_len), (Some(0), Some(4096)));
    let (summary, findings) = verify_with(dir.path(), "data_00001.off", 8192..8193, libc::EIO);
    assert_eq!((summary.damages, summary.unreadable, summary.records), (0, 1, 20), "{findings:?}");
    let (summary, findings) = verify_with(dir.path(), "data_00000.sum", 0..1, libc::EIO);
    assert_eq!((summary.damages, summary.unreadable, summary.records), (0, 1, 20), "{findings:?}");
    assert_eq!(summary.not_compared(), 10);
}

/// A handle that has gone stale fails everywhere: one range, and no call for each block of it.
#[test]
fn a_file_that_fails_as_a_whole_is_one_range() {
    let dir = column(PLAIN, false, Checksums::On);
    let (summary, findings) = verify_with(dir.path(), "data_00000", 0..u64::MAX, libc::ESTALE);
    assert_eq!((summary.damages, summary.unreadable, summary.records), (0, 1, 10), "{findings:?}");
    assert_eq!((findings[0].offset, findings[0].byte_len), (Some(0), Some(8 + 10 * RECORD_BYTES)));
    let (summary, _) = verify_with(dir.path(), "data_00000", 0..u64::MAX, libc::EIO);
    assert_eq!((summary.damages, summary.unreadable, summary.records), (0, 1, 10));
}

// ---------------------------------------------------------------- what was lost

const LOST: u64 = 4;

/// A slot has lost its entry: by file, backfill, and checksums.
#[test]
fn a_record_that_no_slot_refers_to_is_damage_unless_a_crash_may_have_left_it() {
    for checksums in [Checksums::On, Checksums::Off] {
        for (backfill, first) in [(false, 0), (false, 8192), (true, 0), (true, 8192)] {
            for lost_entry in [0, 1 << 45] {
                let dir = column(PLAIN, backfill, checksums);
                let slot = first + LOST;
                let right = entry(dir.path(), slot);
                set_entry(dir.path(), slot, lost_entry);
                let (summary, findings) = verify(dir.path());
                let what = format!("{checksums:?} {backfill} {slot} {lost_entry}: {findings:?}");
                assert_eq!(summary.records, 19, "{what}");
                let damages = of(&findings, Severity::Damage);
                if checksums == Checksums::On {
                    // Where the record lies is known.
                    let lost = damages.iter().find(|found| found.slot == Some(Slot(slot)));
                    let lost = lost.unwrap_or_else(|| panic!("{what}"));
                    assert_eq!(lost.file, dir.path().join(offsets_name(slot / 8192)), "{what}");
                    assert_eq!(lost.offset, Some(LOST * 8), "{what}");
                    assert!(lost.wanted.starts_with(&right.to_string()), "{what}");
                    assert_eq!((damages.len(), summary.notes), (1, 0), "{what}");
                } else if backfill && first == 0 {
                    // Another writer may have died before it wrote the entry.
                    assert_eq!((damages.len(), summary.undecided), (0, 1), "{what}");
                } else {
                    let at = (Some(right), Some(RECORD_BYTES));
                    let lost = |found: &&Finding| (found.offset, found.byte_len) == at;
                    assert!(damages.iter().any(lost), "{what}");
                }
            }
        }
    }
}

#[test]
fn an_entry_past_the_length_is_damage_without_backfill() {
    let dir = column(PLAIN, false, Checksums::Off);
    let bound = 8 + 10 * RECORD_BYTES;
    for (slot, entry) in [(LOST, bound), (8192 + LOST, bound + 500)] {
        set_entry(dir.path(), slot, entry);
        let (_, findings) = verify(dir.path());
        let at_entry = |found: &&&Finding| found.slot == Some(Slot(slot));
        let damages = of(&findings, Severity::Damage);
        let found = damages.iter().find(at_entry).unwrap_or_else(|| panic!("{findings:?}"));
        assert_eq!((found.what, &*found.found), (CorruptItem::OffsetEntry, &*entry.to_string()));
    }
}

#[test]
fn a_cut_offset_file_is_damage() {
    for (backfill, file) in [(false, 0), (true, 0), (true, 1)] {
        let dir = column(PLAIN, backfill, Checksums::Off);
        set_len(dir.path(), &offsets_name(file), 65_535);
        let (summary, findings) = verify(dir.path());
        assert_eq!((summary.damages, summary.records), (1, 20), "{findings:?}");
        assert_eq!(findings[0].what, CorruptItem::OffsetLength);
    }
}

#[test]
fn a_shortened_record_is_damage_though_all_its_slots_read() {
    for (backfill, first) in [(false, 0), (true, 0), (true, 8192)] {
        let dir = column(PLAIN, backfill, Checksums::Off);
        let at = entry(dir.path(), first + LOST);
        let length = u32::try_from(VALUE_BYTES).unwrap() - 100;
        overwrite(dir.path(), &data_name(first / 8192), at + 2, &length.to_le_bytes());
        let (summary, findings) = verify(dir.path());
        assert_eq!((summary.damages, summary.records), (1, 20), "{findings:?}");
        let damage = of(&findings, Severity::Damage)[0];
        assert_eq!((damage.offset, damage.byte_len), (Some(at + RECORD_BYTES - 100), Some(100)));
    }
}

/// Entries rise with their slots where nothing is ever filled in behind.
#[test]
fn two_swapped_entries_of_a_column_without_backfill_are_found() {
    for (backfill, checksums) in [(false, Checksums::Off), (true, Checksums::On)] {
        let dir = column(PLAIN, backfill, checksums);
        let (one, other) = (entry(dir.path(), 3), entry(dir.path(), 5));
        set_entry(dir.path(), 3, other);
        set_entry(dir.path(), 5, one);
        let (summary, findings) = verify(dir.path());
        assert!(summary.damages > 0, "{findings:?}");
        assert_eq!(findings[0].file, dir.path().join("data_00000.off"));
    }
}

fn block(slot: u64) -> Vec<u8> {
    let mut block = value_of_len(slot, 500);
    block[..4].copy_from_slice(&100_u32.to_le_bytes());
    block[100..108].copy_from_slice(&slot.to_le_bytes());
    block[180..184].copy_from_slice(&84_u32.to_le_bytes());
    block
}

fn state(slot: u64) -> Vec<u8> {
    let mut state = value_of_len(slot, 5000);
    state[..8].copy_from_slice(&1_606_824_023_u64.to_le_bytes());
    state[8..40].fill(0x42);
    state[40..48].copy_from_slice(&slot.to_le_bytes());
    state
}

#[test]
fn two_swapped_blocks_or_states_are_found_without_checksums() {
    type Value = fn(u64) -> Vec<u8>;
    for (kind, value) in
        [(Column::Blocks, block as Value), (Column::StateSnapshots, state as Value)]
    {
        let dir = scratch();
        let options = WriterOptions::create(kind.spec()).allow_backfill(true);
        let mut writer = Writer::open(dir.path(), options).unwrap();
        let batch: Vec<_> = (0..10).map(|slot| (Slot(slot), value(slot))).collect();
        writer.put_batch(&batch).unwrap();
        drop(writer);
        assert_eq!(verify_as(dir.path(), Some(kind)).1, []);
        let (one, other) = (entry(dir.path(), 3), entry(dir.path(), 5));
        set_entry(dir.path(), 3, other);
        set_entry(dir.path(), 5, one);
        let (summary, findings) = verify_as(dir.path(), Some(kind));
        assert_eq!((summary.damages, summary.records), (2, 8), "{kind}: {findings:?}");
        let slots: Vec<_> = findings.iter().map(|found| found.slot.unwrap().0).collect();
        assert_eq!(slots, [5, 3]);
        assert!(findings[0].found.contains("of slot 3"), "{findings:?}");
    }
}

#[test]
fn a_value_that_is_not_an_ssz_block_or_state_contains_no_slot() {
    let damages = |kind: Column, value: &[u8]| {
        let dir = scratch();
        let mut writer = Writer::open(dir.path(), WriterOptions::create(kind.spec())).unwrap();
        writer.put(Slot(5), value).unwrap();
        drop(writer);
        verify_as(dir.path(), Some(kind)).0.damages
    };
    let (block, state) = (block(77), state(64));
    assert_eq!(damages(Column::Blocks, &block), 1);
    assert_eq!(damages(Column::StateSnapshots, &state), 1);
    assert_eq!(damages(Column::StateDiffs, &state), 0);

    let mut other = block;
    other[0] = 99;
    assert_eq!(damages(Column::Blocks, &other), 0);
    let mut compressed = state;
    // The magic of zstd.
    compressed[..8].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 1, 2, 3]);
    assert_eq!(damages(Column::StateSnapshots, &compressed), 0);
    assert_eq!(damages(Column::StateSnapshots, &[0; 47]), 0);
}

#[test]
fn a_root_of_another_length_is_damage_in_an_archive() {
    let dir = scratch();
    let options = WriterOptions::create(Column::BlockRoots.spec());
    let mut writer = Writer::open(dir.path(), options).unwrap();
    writer.put(Slot(0), &[1; 32]).unwrap();
    writer.put(Slot(1), &[1; 31]).unwrap();
    drop(writer);
    assert_eq!(verify(dir.path()).0.damages, 0, "another column may have what it likes");
    let (summary, findings) = verify_as(dir.path(), Some(Column::BlockRoots));
    assert_eq!((summary.damages, findings[0].slot), (1, Some(Slot(1))), "{findings:?}");
}

// ---------------------------------------------------------------- what others write

/// The writer dies in a commit; other software, which knows of no checksums, heals and writes another
/// value for the slot at the same place. The checksum that was left accused the good record.
#[test]
fn a_checksum_of_an_aborted_commit_condemns_no_record() {
    let spec = ColumnSpec { compression: Compression::None, ..PLAIN };
    for backfill in [false, true] {
        let (dir, other) = (scratch(), scratch());
        let open = |dir: &Path, checksums| {
            let options = WriterOptions::create(spec).allow_backfill(backfill).checksums(checksums);
            Writer::open(dir, options).unwrap()
        };
        let mut writer = open(dir.path(), Checksums::On);
        writer.put_batch(&[(Slot(1), b"one".to_vec()), (Slot(2), b"two".to_vec())]).unwrap();
        test_support::copy_dir(dir.path(), other.path());
        writer.put(Slot(3), b"three").unwrap();
        drop(writer);
        for name in ["column.check", "data_00000.sum"] {
            fs::remove_file(other.path().join(name)).unwrap();
        }
        open(other.path(), Checksums::Off).put(Slot(3), b"another three").unwrap();
        for name in ["column.conf", "data_00000", "data_00000.off"] {
            fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
        }
        let (summary, findings) = verify(dir.path());
        assert_eq!(of(&findings, Severity::Damage), Vec::<&Finding>::new());
        assert_eq!((summary.records, summary.not_compared(), summary.undecided), (3, 1, 1));

        // What was there before is vouched for as ever.
        overwrite(dir.path(), "data_00000", entry(dir.path(), 1) + 8, b"x");
        let (_, findings) = verify(dir.path());
        assert_eq!(of(&findings, Severity::Damage)[0].slot, Some(Slot(1)), "{findings:?}");
    }
}
