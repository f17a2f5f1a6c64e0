//! One bit of rot, or a cut, in what nothing but the witness and the checksums can vouch for: opening
//! for writing destroys nothing that was committed. Every record is still readable with the right
//! value, or opening is refused and nothing is changed, or the bytes are in a file that was put aside.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod common;

use std::fs;
use std::path::Path;

use coldstore::{Checksums, ColumnSpec, Compression, HealAction, Slot, Writer, WriterOptions};
use common::size::quick_or_whole;
use common::*;

/// Records of 32 bytes, as roots are.
const ROOTS: ColumnSpec =
    ColumnSpec { record_type: [2, 0], compression: Compression::None, max_value_bytes: 64 };

fn root(slot: u64) -> Vec<u8> {
    value_of_len(slot, 32)
}

/// The bits of so many bytes; of a quick run one in 5, so that every byte has one.
fn bits(byte_len: usize) -> impl ExactSizeIterator<Item = usize> {
    (0..byte_len * 8).step_by(quick_or_whole(5, 1))
}

/// The value of a slot in a column of this kind.
fn value_in(spec: ColumnSpec, slot: u64) -> Vec<u8> {
    if spec == ROOTS { root(slot) } else { value(slot) }
}

fn put(dir: &Path, options: WriterOptions, spec: ColumnSpec, batches: &[&[u64]]) -> Content {
    let mut writer = Writer::open(dir, options).unwrap();
    let mut content = Content::new();
    for slots in batches {
        let items: Vec<_> = slots.iter().map(|s| (Slot(*s), value_in(spec, *s))).collect();
        writer.put_batch(&items).unwrap();
        content.extend(items.into_iter().map(|(slot, value)| (slot.0, value)));
    }
    content
}

/// Whether the bytes of a record lie in some file of the directory.
fn is_in_some_file(files: &Files, record: &[u8]) -> bool {
    files.values().any(|bytes| bytes.windows(record.len()).any(|window| window == record))
}

/// Opens for writing, and checks that nothing is lost. Says whether it was refused.
#[track_caller]
fn open_and_lose_nothing(dir: &Path, spec: ColumnSpec, wanted: &Content, what: &str) -> bool {
    let before = files(dir);
    let dry = coldstore::inspect(dir);
    assert_files(dir, &before, &format!("{what}: the dry run"));
    let opened = Writer::open(dir, WriterOptions::existing());
    let refused = match &opened {
        Ok(writer) => {
            assert_eq!(
                format!("{:?}", dry.unwrap()),
                format!("{:?}", writer.heal_report()),
                "{what}"
            );
            false
        }
        Err(_) => {
            assert_files(dir, &before, &format!("{what}: refused"));
            true
        }
    };
    drop(opened);
    let after = files(dir);
    let shown = try_reader(dir).ok().map(|reader| reader.view());
    for (slot, value) in wanted {
        let is_shown = shown
            .as_ref()
            .and_then(|view| view.get(Slot(*slot)).ok().flatten())
            .is_some_and(|found| *found == value[..]);
        let record = record_bytes(spec.record_type, value);
        assert!(is_shown || is_in_some_file(&after, &record), "{what}: slot {slot} is lost");
    }
    refused
}

/// A column with several files, backfill in a sealed file and in the current one. Lengths of files
/// are equal where records have a fixed length, so that no length gives a flipped bit away.
fn build(dir: &Path, spec: ColumnSpec, backfill: bool, sums: bool) -> Content {
    let checksums = if sums { Checksums::On } else { Checksums::Off };
    let options = WriterOptions::create(spec).allow_backfill(backfill).checksums(checksums);
    let mut batches: Vec<&[u64]> = vec![
        &[1, 2, 8190],
        &[8192, 8200, 16_383],
        &[16_384, 16_390, 24_575],
        &[24_576, 24_580, 32_767],
    ];
    if backfill {
        batches.extend([&[3, 4][..], &[16_385, 16_386], &[24_577, 24_590]]);
    }
    put(dir, options, spec, &batches)
}

/// Guards against healing by a conf that has rotted: each single bit of it, with the witness and
/// without one.
#[test]
fn no_single_bit_of_the_conf_makes_opening_lose_a_record() {
    for (spec, backfill, witness) in [
        (ROOTS, false, true),
        (ROOTS, true, true),
        (PLAIN, false, true),
        (PLAIN, true, true),
        (ROOTS, false, false),
        (ROOTS, true, false),
    ] {
        let template = temp_dir();
        let wanted = build(template.path(), spec, backfill, false);
        let conf = fs::read(template.path().join("column.conf")).unwrap();
        let mut refused = 0;
        for bit in bits(conf.len()) {
            let dir = temp_dir();
            copy_dir(template.path(), dir.path());
            if !witness {
                remove(dir.path(), "column.check");
            }
            let mut flipped = conf.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join("column.conf"), &flipped).unwrap();
            let what = format!("{spec:?}, backfill {backfill}, witness {witness}, bit {bit}");
            refused += usize::from(open_and_lose_nothing(dir.path(), spec, &wanted, &what));
        }
        let tried = bits(conf.len()).len();
        assert!(refused > tried / 2, "{refused} of {tried} bits");
    }
}

/// Guards against an entry that has rotted being cleared as if a crash had left it, and with it the
/// checksum that proves that there was a record.
#[test]
fn no_single_bit_of_an_entry_makes_opening_lose_a_record() {
    for (spec, backfill, sums) in [
        (ROOTS, false, false),
        (ROOTS, true, false),
        (ROOTS, true, true),
        (PLAIN, false, true),
        (PLAIN, true, true),
    ] {
        let template = temp_dir();
        let wanted = build(template.path(), spec, backfill, sums);
        for slot in [3, 16_385, 16_386, 24_580, 24_590, 32_767] {
            if !wanted.contains_key(&slot) {
                continue;
            }
            let good = entry(template.path(), slot);
            for bit in bits(8) {
                let dir = temp_dir();
                copy_dir(template.path(), dir.path());
                set_entry(dir.path(), slot, good ^ 1 << bit);
                let name = offsets_name(slot / PER_FILE);
                let table = fs::read(dir.path().join(&name)).unwrap();
                let kept = fs::read(dir.path().join(name.replace(".off", ".sum"))).ok();
                let what =
                    format!("{spec:?}, backfill {backfill}, sums {sums}, slot {slot}, bit {bit}");
                let refused = open_and_lose_nothing(dir.path(), spec, &wanted, &what);
                let after = files(dir.path());
                let same_sums = after.get(&name.replace(".off", ".sum")) == kept.as_ref();
                assert!(same_sums, "{what}: the checksums were changed");
                // The entry itself is there as well, or a copy of it.
                assert!(after.values().any(|bytes| *bytes == table), "{what}: the table is gone");
                let behind = good ^ 1 << bit >= data_len(template.path(), slot / PER_FILE);
                assert!(refused || backfill || !behind, "{what}: cleared, without backfill");
            }
        }
    }
}

/// One bit of the backfill file id: 900 roots lay behind the length of another file.
#[test]
fn a_flipped_backfill_file_id_loses_no_root() {
    let dir = temp_dir();
    let options = WriterOptions::create(ROOTS).allow_backfill(true);
    let (second, third): (Vec<u64>, Vec<u64>) =
        ((16_384..17_384).collect(), (24_576..24_676).collect());
    let wanted = put(dir.path(), options, ROOTS, &[&[40_960], &second, &third]);
    assert_eq!(RawConf::read(dir.path()).backfill, Some((3, 8 + 100 * 40)));
    overwrite(dir.path(), "column.conf", 36, &[2]);
    open_and_lose_nothing(dir.path(), ROOTS, &wanted, "file 2 instead of file 3");
}

/// One bit of the highest slot: two files of roots lay above it.
#[test]
fn a_flipped_highest_slot_is_refused_with_both_confs_and_a_way_out() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(ROOTS)).unwrap();
    for file in 0..4 {
        let slots = file * PER_FILE..(file + 1) * PER_FILE;
        let items: Vec<_> = slots.map(|slot| (Slot(slot), root(slot))).collect();
        writer.put_batch(&items).unwrap();
    }
    drop(writer);
    let good = files(dir.path());
    let other = temp_dir();
    copy_dir(dir.path(), other.path());
    let mut conf = good["column.conf"].clone();
    conf[9] ^= 0x40;
    fs::write(dir.path().join("column.conf"), &conf).unwrap();
    let before = files(dir.path());
    let error = Writer::open(dir.path(), WriterOptions::existing()).unwrap_err();
    let text = error.to_string();
    for part in ["column.conf", "highest slot 32767", "highest slot 16383", "--restore-conf"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_files(dir.path(), &before, "refused");
    let restored = Writer::open(dir.path(), WriterOptions::existing().restore_conf(true)).unwrap();
    assert_eq!(restored.highest_written_slot(), Some(Slot(32_767)));
    assert_files(dir.path(), &good, "the conf is back");

    // Into the conf from before the last: a crash may have left that, too, and the file is put aside.
    let dir = other;
    conf[9] ^= 0x60;
    fs::write(dir.path().join("column.conf"), &conf).unwrap();
    let writer = Writer::open(dir.path(), WriterOptions::existing()).unwrap();
    assert_eq!(writer.highest_written_slot(), Some(Slot(24_575)));
    let aside = files(dir.path());
    for (name, kept) in
        [("data_00003", "aside-1-data_00003"), ("data_00003.off", "aside-1-data_00003.off")]
    {
        assert_eq!(aside[kept], good[name], "{kept}");
    }
    assert_eq!(writer.heal_report().asides.len(), 2);
    drop(writer);
    let discarding = WriterOptions::existing().discard(true);
    let writer = Writer::open(dir.path(), discarding).unwrap();
    assert_eq!(writer.heal_report().actions.len(), 2, "{:?}", writer.heal_report());
    assert!(asides(dir.path()).is_empty());
}

/// A good file that is put back beside a conf that still names it with length 0 is kept.
#[test]
fn a_file_put_back_beside_a_conf_that_names_it_empty_is_kept() {
    let dir = temp_dir();
    let options = WriterOptions::create(ROOTS).allow_backfill(true);
    let wanted = put(dir.path(), options, ROOTS, &[&[1, 20_000], &[9000, 9001]]);
    for witnessed in [true, false] {
        let conf = RawConf { backfill: Some((1, 0)), ..RawConf::read(dir.path()) };
        let copy = temp_dir();
        copy_dir(dir.path(), copy.path());
        match witnessed {
            true => conf.commit(copy.path()),
            false => fs::write(copy.path().join("column.conf"), conf.bytes()).unwrap(),
        }
        let what = format!("witnessed {witnessed}");
        assert!(!open_and_lose_nothing(copy.path(), ROOTS, &wanted, &what), "{what}: refused");
        assert_eq!(asides(copy.path()), ["aside-1-data_00001", "aside-1-data_00001.off"], "{what}");
    }
}

/// One bit of a checksum file's header, or a byte cut off: the checksums that fit their records say
/// that there was a whole file.
#[test]
fn a_damaged_header_does_not_cost_the_checksums() {
    for backfill in [false, true] {
        let template = temp_dir();
        build(template.path(), PLAIN, backfill, true);
        let good = fs::read(template.path().join("data_00003.sum")).unwrap();
        let mut damaged: Vec<Vec<u8>> = bits(32)
            .map(|bit| {
                let mut bytes = good.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            })
            .collect();
        damaged.push(good[..good.len() - 1].to_vec());
        damaged.push([&good[..], b"x"].concat());
        for bytes in damaged {
            let is_cut = bytes.len() < good.len();
            let dir = temp_dir();
            copy_dir(template.path(), dir.path());
            fs::write(dir.path().join("data_00003.sum"), bytes).unwrap();
            let writer = Writer::open(dir.path(), WriterOptions::existing()).unwrap();
            let mended = HealAction::MendedSums { file: dir.path().join("data_00003.sum") };
            assert_eq!(writer.heal_report().actions, [mended]);
            let mended = fs::read(dir.path().join("data_00003.sum")).unwrap();
            // An entry of which a byte is gone is none.
            let kept = good.len() - if is_cut { 8 } else { 0 };
            assert!(mended.len() == good.len() && mended[..kept] == good[..kept]);
        }
    }
}

/// The writer died in a commit, other software healed without its checksums and wrote another value
/// at the same place: the checksum that is left accuses a good record.
#[test]
fn a_checksum_of_a_commit_that_did_not_happen_does_not_accuse_what_others_wrote_there() {
    let dir = temp_dir();
    let options = WriterOptions::create(PLAIN).checksums(Checksums::On);
    put(dir.path(), options, PLAIN, &[&[1, 2]]);
    let (conf, len) = (RawConf::read(dir.path()), data_len(dir.path(), 0));
    put(dir.path(), options, PLAIN, &[&[3]]);
    // The conf never came to be renamed; the other heals, and writes something else for the slot.
    set_len(dir.path(), "data_00000", len);
    let record = record_bytes(PLAIN.record_type, b"another value");
    assert_eq!(append_record(dir.path(), 3, &record), len);
    let other = RawConf { highest: 3, len: len + record.len() as u64, ..conf };
    fs::write(dir.path().join("column.conf"), other.bytes()).unwrap();
    let writer = Writer::open(dir.path(), options).unwrap();
    let cleared =
        HealAction::ClearedSums { file: dir.path().join("data_00000.sum"), slots: vec![Slot(3)] };
    assert_eq!(writer.heal_report().actions, [cleared]);
    assert_eq!(*view(dir.path()).get(Slot(3)).unwrap().unwrap(), *b"another value");
}

/// A directory whose conf and files are gone is no new column where the witness knows of records.
#[test]
fn a_witness_that_knows_of_records_keeps_a_column_from_being_made_anew() {
    let dir = temp_dir();
    put(dir.path(), WriterOptions::create(PLAIN), PLAIN, &[&[1, 2]]);
    for name in ["column.conf", "data_00000", "data_00000.off"] {
        remove(dir.path(), name);
    }
    let error = Writer::open(dir.path(), WriterOptions::create(PLAIN)).unwrap_err();
    assert_corrupt(&error, "column.conf", "all is gone");
    assert!(error.to_string().contains("highest slot 2"), "{error}");
}
