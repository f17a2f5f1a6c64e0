//! One bit of rot, or a cut, in what nothing but the witness and the checksums can vouch for: opening
//! for writing destroys nothing that was committed. Every record is still readable with the right
//! value, or opening is refused and nothing is changed, or the bytes are in a file that was put aside.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::Path;

use coldstore::verify::{Finding, Severity, Summary, VerifyOptions, verify_column};
use coldstore::{
    Checksums, ColumnSpec, Compression, HealAction, HealChange, Slot, Writer, WriterOptions,
};
use test_support::size::quick_or_whole;
use test_support::*;

fn verify(dir: &Path) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut report = |finding| findings.push(finding);
    let summary = verify_column(dir, None, &VerifyOptions::default(), &mut report).unwrap();
    (summary, findings)
}

/// Records of 32 bytes, as roots are.
const ROOTS: ColumnSpec =
    ColumnSpec { record_type: [2, 0], compression: Compression::None, max_value_bytes: 64 };

fn root(slot: u64) -> Vec<u8> {
    value_of_len(slot, 32)
}

/// A quick run flips one bit in 5, so that every byte has one.
const QUICK_STEP: usize = 5;

/// The bits of so many bytes.
fn bits(byte_len: usize) -> impl Iterator<Item = usize> {
    (0..byte_len * 8).step_by(quick_or_whole(QUICK_STEP, 1))
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
    let is_data =
        |name: &str| name.contains("data_") && !name.contains(".off") && !name.contains(".sum");
    let mut data = files.iter().filter(|(name, _)| is_data(name));
    data.any(|(_, bytes)| bytes.windows(record.len()).any(|window| window == record))
}

/// Opens for writing, and checks that nothing is lost. Says whether it was refused.
#[track_caller]
fn open_and_lose_nothing(dir: &Path, spec: ColumnSpec, wanted: &Content, what: &str) -> bool {
    let before = files_of(dir);
    let dry = coldstore::inspect(dir);
    assert_files(dir, &before, &format!("{what}: the dry run"));
    let opened = Writer::open(dir, WriterOptions::default());
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
    if refused {
        return true;
    }
    let after = files_of(dir);
    let shown = try_reader(dir).ok().map(|reader| reader.view());
    for (slot, value) in wanted {
        let is_shown = shown
            .as_ref()
            .and_then(|view| view.get(Slot(*slot)).ok().flatten())
            .is_some_and(|found| *found == value[..]);
        let record = record_bytes(spec.record_type, value);
        assert!(is_shown || is_in_some_file(&after, &record), "{what}: slot {slot} is lost");
    }
    false
}

/// How often a conf with one flipped bit was opened for writing, refused, and something put aside.
#[derive(Default)]
struct Flips {
    tried: usize,
    refused: usize,
    put_aside: usize,
}

/// Flips every `step`th bit of the conf in a copy, with the witness or without one, and opens it.
fn flip_conf(
    template: &Path,
    (spec, wanted): (ColumnSpec, &Content),
    (witness, step): (bool, usize),
    what: &str,
) -> Flips {
    let conf = fs::read(template.join("column.conf")).unwrap();
    let mut flips = Flips::default();
    for bit in (0..conf.len() * 8).step_by(step) {
        let dir = scratch();
        copy_dir(template, dir.path());
        if !witness {
            remove(dir.path(), "column.check");
        }
        let mut flipped = conf.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(dir.path().join("column.conf"), &flipped).unwrap();
        let what = format!("{what}, witness {witness}, bit {bit}");
        flips.tried += 1;
        flips.refused += usize::from(open_and_lose_nothing(dir.path(), spec, wanted, &what));
        flips.put_aside += usize::from(!asides(dir.path()).is_empty());
    }
    flips
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

/// Records whose lengths are multiples of 32 bytes, all the same or not: where a bit of a committed
/// length flips, the other length is the end of a record just as well. All files are equally long, or the
/// one that backfill has filled last is shorter: by a flipped id one of the others would be cut.
fn build_on_boundaries(dir: &Path, varies: bool, backfill: bool, sums: bool) -> Content {
    let checksums = if sums { Checksums::On } else { Checksums::Off };
    let options = WriterOptions::create(PLAIN).allow_backfill(backfill).checksums(checksums);
    let mut writer = Writer::open(dir, options).unwrap();
    let mut content = Content::new();
    let mut put = |slots: Vec<u64>| {
        let len = |slot| if varies { 24 + 32 * (slot % 3) } else { 24 };
        let value = |slot| value_of_len(slot, usize::try_from(len(slot)).unwrap());
        let items: Vec<_> = slots.iter().map(|slot| (Slot(*slot), value(*slot))).collect();
        writer.put_batch(&items).unwrap();
        content.extend(items.into_iter().map(|(slot, value)| (slot.0, value)));
    };
    // Six slots in a row have the same length in each file, and the highest of a file differs from that of
    // the next by one bit.
    for file in 0..4 {
        let first = file * PER_FILE;
        put((first + 100..first + 106).collect());
    }
    if backfill {
        for (file, count) in [(3, 2), (0, 8), (1, 8), (2, 3)] {
            let first = file * PER_FILE;
            put((first + 10..first + 10 + count).collect());
        }
        assert!(
            RawConf::read(dir).backfill.is_some_and(|(file, len)| {
                file == 2 && len < data_len(dir, 0) && len % 32 == 8
            })
        );
    }
    content
}

/// The same where no length gives the flipped bit away.
#[test]
fn no_single_bit_of_a_conf_whose_lengths_all_fit_makes_opening_lose_a_record() {
    for (varies, backfill, witness) in [
        (false, false, true),
        (false, true, true),
        (true, false, true),
        (true, true, true),
        (false, false, false),
        (false, true, false),
        (true, false, false),
        (true, true, false),
    ] {
        let template = scratch();
        let wanted = build_on_boundaries(template.path(), varies, backfill, varies);
        let what = format!("varies {varies}, backfill {backfill}");
        let flips = flip_conf(template.path(), (PLAIN, &wanted), (witness, 1), &what);
        // Without a witness more than one of these fits the files, and takes something away.
        assert!(witness || flips.put_aside > 0, "{what}: nothing was at stake");
    }
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
        (PLAIN, false, false),
        (PLAIN, true, false),
    ] {
        let template = scratch();
        let wanted = build(template.path(), spec, backfill, false);
        let what = format!("{spec:?}, backfill {backfill}");
        let step = quick_or_whole(QUICK_STEP, 1);
        let flips = flip_conf(template.path(), (spec, &wanted), (witness, step), &what);
        assert!(flips.refused > flips.tried / 2, "{} of {} bits", flips.refused, flips.tried);
    }
}

/// Guards against an entry that has rotted being cleared as if a crash had left it, and with it the
/// checksum that proves that there was a record.
#[test]
fn no_single_bit_of_an_entry_makes_opening_lose_a_record() {
    for (spec, backfill, sums) in [
        (ROOTS, false, false),
        (ROOTS, false, true),
        (ROOTS, true, false),
        (ROOTS, true, true),
        (PLAIN, false, false),
        (PLAIN, false, true),
        (PLAIN, true, false),
        (PLAIN, true, true),
    ] {
        let template = scratch();
        let wanted = build(template.path(), spec, backfill, sums);
        for slot in [3, 16_385, 16_386, 24_580, 24_590, 32_767] {
            if !wanted.contains_key(&slot) {
                continue;
            }
            let good = entry(template.path(), slot);
            for bit in bits(8) {
                let dir = scratch();
                copy_dir(template.path(), dir.path());
                set_entry(dir.path(), slot, good ^ 1 << bit);
                let name = offsets_name(slot / PER_FILE);
                let table = fs::read(dir.path().join(&name)).unwrap();
                let kept = fs::read(dir.path().join(name.replace(".off", ".sum"))).ok();
                let what =
                    format!("{spec:?}, backfill {backfill}, sums {sums}, slot {slot}, bit {bit}");
                let refused = open_and_lose_nothing(dir.path(), spec, &wanted, &what);
                let after = files_of(dir.path());
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
    let dir = scratch();
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
    let dir = scratch();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(ROOTS)).unwrap();
    for file in 0..4 {
        let slots = file * PER_FILE..(file + 1) * PER_FILE;
        let items: Vec<_> = slots.map(|slot| (Slot(slot), root(slot))).collect();
        writer.put_batch(&items).unwrap();
    }
    drop(writer);
    let good = files_of(dir.path());
    let other = scratch();
    copy_dir(dir.path(), other.path());
    let mut conf = good["column.conf"].clone();
    conf[9] ^= 0x40;
    fs::write(dir.path().join("column.conf"), &conf).unwrap();
    let before = files_of(dir.path());
    let error = Writer::open(dir.path(), WriterOptions::default()).unwrap_err();
    let text = error.to_string();
    for part in ["column.conf", "highest slot 32767", "highest slot 16383", "--restore-conf"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_files(dir.path(), &before, "refused");
    let restored = Writer::open(dir.path(), WriterOptions::default().restore_conf(true)).unwrap();
    assert_eq!(restored.highest_written_slot(), Some(Slot(32_767)));
    assert_files(dir.path(), &good, "the conf is back");

    // Into the conf from before the last: a crash may have left that, too, and the file is put aside.
    let dir = other;
    conf[9] ^= 0x60;
    fs::write(dir.path().join("column.conf"), &conf).unwrap();
    let writer = Writer::open(dir.path(), WriterOptions::default()).unwrap();
    assert_eq!(writer.highest_written_slot(), Some(Slot(24_575)));
    let aside = files_of(dir.path());
    for (name, kept) in
        [("data_00003", "aside-1-data_00003"), ("data_00003.off", "aside-1-data_00003.off")]
    {
        assert_eq!(aside[kept], good[name], "{kept}");
    }
    assert_eq!(writer.heal_report().asides.len(), 2);
    drop(writer);
    let discarding = WriterOptions::default().discard(true);
    let writer = Writer::open(dir.path(), discarding).unwrap();
    assert_eq!(writer.heal_report().actions.len(), 2, "{:?}", writer.heal_report());
    assert!(asides(dir.path()).is_empty());
}

/// A good file that is put back beside a conf that still names it with length 0 is kept.
#[test]
fn a_file_put_back_beside_a_conf_that_names_it_empty_is_kept() {
    let dir = scratch();
    let options = WriterOptions::create(ROOTS).allow_backfill(true);
    let wanted = put(dir.path(), options, ROOTS, &[&[1, 20_000], &[9000, 9001]]);
    for witnessed in [true, false] {
        let conf = RawConf { backfill: Some((1, 0)), ..RawConf::read(dir.path()) };
        let copy = scratch();
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
        let template = scratch();
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
            let dir = scratch();
            copy_dir(template.path(), dir.path());
            fs::write(dir.path().join("data_00003.sum"), bytes).unwrap();
            let writer = Writer::open(dir.path(), WriterOptions::default()).unwrap();
            let mended = HealAction {
                file: dir.path().join("data_00003.sum"),
                change: HealChange::MendedSums,
            };
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
fn a_checksum_of_an_aborted_commit_does_not_condemn_a_foreign_writers_record() {
    let dir = scratch();
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
    let cleared = HealAction {
        file: dir.path().join("data_00000.sum"),
        change: HealChange::ClearedSums(vec![Slot(3)]),
    };
    assert_eq!(writer.heal_report().actions, [cleared]);
    assert_eq!(*view(dir.path()).get(Slot(3)).unwrap().unwrap(), *b"another value");
}

/// The same with a value of the same length, as roots have: the other's conf is byte for byte the one
/// that was about to be written. What tells is that nothing marks that commit as finished.
#[test]
fn a_checksum_of_an_aborted_commit_does_not_condemn_a_foreign_writers_root() {
    for backfill in [false, true] {
        let dir = scratch();
        let options =
            WriterOptions::create(ROOTS).allow_backfill(backfill).checksums(Checksums::On);
        put(dir.path(), options, ROOTS, &[&[1, 2]]);
        let (len, conf) =
            (data_len(dir.path(), 0), fs::read(dir.path().join("column.conf")).unwrap());
        let witness = fs::read(dir.path().join("column.check")).unwrap();
        put(dir.path(), options, ROOTS, &[&[3, 4]]);
        // The conf never came to be renamed, nor the commit to be marked; the other heals, and writes.
        let marks = [128, 4096 + 128].map(|at: usize| witness[at..at + 8].to_vec());
        for (at, mark) in [128, 4096 + 128].into_iter().zip(marks) {
            overwrite(dir.path(), "column.check", at, &mark);
        }
        let newest = fs::read(dir.path().join("column.conf")).unwrap();
        fs::write(dir.path().join("column.conf"), &conf).unwrap();
        set_len(dir.path(), "data_00000", len);
        for (slot, root) in [(3, [9; 32].to_vec()), (4, root(4))] {
            append_record(dir.path(), slot, &record_bytes(ROOTS.record_type, &root));
        }
        fs::write(dir.path().join("column.conf"), newest).unwrap();

        let (summary, findings) = verify(dir.path());
        assert_eq!(
            (summary.damages, summary.undecided, summary.records),
            (0, 1, 4),
            "{findings:?}"
        );
        assert_eq!((findings[0].slot, findings[0].severity), (Some(Slot(3)), Severity::Note));
        assert!(findings[0].found.contains("other software"), "{findings:?}");
        let sums = fs::read(dir.path().join("data_00000.sum")).unwrap();
        let mut writer = Writer::open(dir.path(), options).unwrap();
        let file = dir.path().join("data_00000.sum");
        let aside = dir.path().join("aside-1-data_00000.sum");
        let byte_len = sums.len() as u64;
        let copied = HealAction {
            file: file.clone(),
            change: HealChange::CopiedAside { aside: aside.clone(), from: 0, byte_len },
        };
        let cleared = HealAction { file, change: HealChange::ClearedSums(vec![Slot(3)]) };
        assert_eq!(writer.heal_report().actions, [copied, cleared]);
        assert_eq!(fs::read(&aside).unwrap(), sums, "what was cleared is kept");
        // What comes after is vouched for, and so is what was there.
        writer.put(Slot(5), &root(5)).unwrap();
        drop(writer);
        let (summary, findings) = verify(dir.path());
        assert_eq!(
            (summary.damages, summary.undecided, summary.with_checksum),
            (0, 0, 4),
            "{findings:?}"
        );
        assert_eq!(*view(dir.path()).get(Slot(3)).unwrap().unwrap(), [9; 32]);
        let again = Writer::open(dir.path(), options.discard(true)).unwrap();
        assert_eq!(again.heal_report().actions.len(), 1, "{:?}", again.heal_report());
        assert!(asides(dir.path()).is_empty());
        drop(again);
        for slot in [1, 4, 5] {
            overwrite(dir.path(), "data_00000", entry(dir.path(), slot) + 8, b"x");
            let (summary, findings) = verify(dir.path());
            assert_eq!((summary.damages, findings[0].slot), (1, Some(Slot(slot))), "{findings:?}");
            overwrite(dir.path(), "data_00000", entry(dir.path(), slot) + 8, &root(slot)[..1]);
        }
    }
}

/// With the mark, which a finished commit leaves at once, a root of the last commit that has rotted is
/// damage: nobody else can have written it. It stays that, whatever is written later.
#[test]
fn a_rotten_root_of_the_last_commit_is_damage() {
    let dir = scratch();
    let options = WriterOptions::create(ROOTS).checksums(Checksums::On);
    put(dir.path(), options, ROOTS, &[&[1, 2], &[3, 4]]);
    overwrite(dir.path(), "data_00000", entry(dir.path(), 3) + 20, b"x");
    for next in [5, 6] {
        let (summary, findings) = verify(dir.path());
        assert_eq!((summary.damages, findings[0].slot), (1, Some(Slot(3))), "{findings:?}");
        let mut writer = Writer::open(dir.path(), options).unwrap();
        assert_eq!(writer.heal_report().actions, []);
        writer.put(Slot(next), &root(next)).unwrap();
    }
}

/// A directory whose conf and files are gone is no new column where the witness knows of records.
#[test]
fn a_witness_that_knows_of_records_keeps_a_column_from_being_made_anew() {
    let dir = scratch();
    put(dir.path(), WriterOptions::create(PLAIN), PLAIN, &[&[1, 2]]);
    for name in ["column.conf", "data_00000", "data_00000.off"] {
        remove(dir.path(), name);
    }
    let error = Writer::open(dir.path(), WriterOptions::create(PLAIN)).unwrap_err();
    assert_corrupt(&error, "column.conf", "all is gone");
    assert!(error.to_string().contains("highest slot 2"), "{error}");
}
