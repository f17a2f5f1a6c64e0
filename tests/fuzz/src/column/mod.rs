//! A column of any bytes: conf, offset tables, data files and checksums through every read, through
//! inspection and healing, and through a writer.

mod checked;
pub mod layout;
mod sums;

use std::collections::BTreeMap;
use std::path::Path;

use coldstore::format::conf::Conf;
use coldstore::verify::{Finding, Severity, Summary, VerifyOptions, verify_column};
use coldstore::{Error, Result, Slot, Snapshot as _, View, Writer, WriterOptions, inspect};
use test_support::{Data, RawConf, Reference, Shown};

use self::layout::Layout;
use super::scratch::{CEILING, check_error, open_reader, open_reader_with, scratch};

/// Longer files may not find a place in the address space: any of their reads may fail.
const MAPPABLE: u64 = 1 << 44;

/// What a view has shown, by slot, where that was no error.
type Seen = BTreeMap<u64, Option<Vec<u8>>>;

/// An input, and what a reader must show of it.
struct Oracle<'a> {
    layout: &'a Layout,
    reference: Reference<'static>,
}

pub fn run(data: &[u8]) {
    let layout = Layout::parse(data);
    let scratch = scratch();
    let directory = scratch.path();
    if layout.write(directory).is_err() {
        return;
    }
    let conf = Conf::decode(Path::new("conf"), &layout.conf).ok();
    assert_eq!(conf.is_some(), RawConf::valid(&layout.conf).is_some());
    let view = match open_reader_with(directory, layout.access) {
        Ok(reader) => {
            assert_eq!(Some(*reader.view().conf()), conf);
            Some(reader.view())
        }
        Err(error) => {
            check_error(&error, directory);
            None
        }
    };
    let (summary, findings) = verify(directory);
    let mut seen = Seen::new();
    if let Some((view, reference)) = view.as_ref().zip(layout.reference()) {
        let oracle = Oracle { layout: &layout, reference };
        seen = read(view, &oracle, directory);
        checked::read(view, &oracle, &slots_of_interest(&oracle), directory);
        check_verify(&oracle, summary, &seen);
        checked::check_verify(&oracle, &findings);
        tables(view, directory);
    }
    layout.assert_unchanged(directory, "reading");
    if let Some(mut writer) = heal(&layout, directory) {
        write(&mut writer, &layout, directory, &seen);
    }
    if let Some(view) = view {
        for (slot, value) in &seen {
            let found = view.get(Slot(*slot)).unwrap();
            assert!(found.as_deref() == value.as_deref(), "slot {slot} changed under a view");
        }
    }
}

fn verify(directory: &Path) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary =
        verify_column(directory, None, &VerifyOptions::default().deep(true), &mut |finding| {
            assert!(finding.file.starts_with(directory), "{finding:?}");
            findings.push(finding);
        });
    let summary = summary.unwrap();
    let damages = findings.iter().filter(|finding| finding.severity == Severity::Damage);
    assert_eq!(summary.damages, damages.count() as u64);
    (summary, findings)
}

fn tables(view: &View, directory: &Path) {
    let (Some(highest), Ok(files)) = (view.conf().highest, view.file_ids()) else { return };
    for file_id in files.into_iter().filter(|id| *id <= highest.file_id()) {
        match view.table(file_id) {
            Ok(table) => assert!(table.records(file_id, highest).all(|(slot, _)| slot <= highest)),
            Err(error) => check_error(&error, directory),
        }
    }
}

/// Whether every file that the column has can be mapped for certain.
fn is_mappable(layout: &Layout) -> bool {
    let mut datas = layout.files.values().filter_map(|files| files.column.data.as_ref());
    datas.all(|data: &Data<'_>| data.byte_len() < MAPPABLE)
}

/// The slots that the tables name, those around them, and those of the input.
fn slots_of_interest(oracle: &Oracle<'_>) -> Vec<u64> {
    let (entries, _) = oracle.reference.entries();
    let highest = oracle.reference.conf.highest_slot().unwrap_or(0);
    let mut slots = vec![0, highest, highest.saturating_add(1), highest.saturating_sub(1)];
    slots.extend([u64::MAX, u64::MAX - 1]);
    slots.extend(&oracle.layout.probes);
    for id in oracle.layout.files.keys() {
        slots.extend([id * 8192, id.saturating_mul(8192).saturating_add(8191)]);
    }
    for slot in entries {
        slots.extend([slot, slot.saturating_add(1)]);
    }
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// Every read of every slot that is of interest, against the oracle.
fn read(view: &View, oracle: &Oracle<'_>, directory: &Path) -> Seen {
    let (entries, damaged_files) = oracle.reference.entries();
    let slots = slots_of_interest(oracle);
    let mut seen = Seen::new();
    let unsure = !is_mappable(oracle.layout);
    if let Err(error) = view.prefetch(slots.iter().copied().map(Slot)) {
        check_error(&error, directory);
    }
    for slot in slots {
        let shown = oracle.reference.shown(slot);
        match view.get_stored(Slot(slot)) {
            Ok(stored) => check_stored(oracle, Slot(slot), shown, stored),
            Err(Error::Io(_)) if unsure => continue,
            Err(error) => {
                assert!(matches!(shown, Shown::Damage | Shown::FileDamage), "{shown:?}: {error}");
                assert!(error.is_corrupt(), "{error}");
                check_error(&error, directory);
            }
        }
        match view.contains(Slot(slot)) {
            Ok(true) => assert!(matches!(shown, Shown::Payload { .. } | Shown::Damage)),
            Ok(false) => assert_eq!(shown, Shown::Nothing),
            Err(error) => assert!(error.is_corrupt(), "{error}"),
        }
        check_past_the_maps(view, Slot(slot), shown);
        match value(view, Slot(slot), shown, oracle) {
            Ok(Some(value)) => drop(seen.insert(slot, Some(value))),
            Ok(None) if shown == Shown::Nothing => drop(seen.insert(slot, None)),
            Ok(None) => {} // Too long to be copied.
            Err(error) => check_error(&error, directory),
        }
    }
    if !unsure {
        scan(view, oracle, &entries, damaged_files, directory);
    }
    seen
}

#[track_caller]
fn check_stored(oracle: &Oracle<'_>, slot: Slot, shown: Shown, stored: Option<&[u8]>) {
    match (shown, stored) {
        (Shown::Nothing, None) => {}
        (Shown::Payload { at, byte_len }, Some(stored)) => {
            assert_eq!(stored.len() as u64, byte_len);
            let bytes = oracle.reference.bytes(slot.0, at, byte_len);
            assert!(stored.starts_with(bytes), "slot {slot}");
            let hole = &stored[bytes.len()..];
            assert!(hole.iter().take(4096).all(|byte| *byte == 0));
        }
        (shown, stored) => {
            panic!("slot {slot}: {shown:?}, but {:?} bytes", stored.map(<[u8]>::len));
        }
    }
}

/// What is read from the file is what is read from its map, errors included.
fn check_past_the_maps(view: &View, slot: Slot, shown: Shown) {
    let said = |outcome: Result<bool>| outcome.map_err(|error| error.to_string());
    let (mut mapped, mut read) = (vec![1, 2, 3], vec![4; 9]);
    assert_eq!(said(view.pread_into(slot, &mut read)), said(view.get_into(slot, &mut mapped)));
    if said(view.get_into(slot, &mut mapped)).is_ok() {
        assert!(read == mapped, "slot {slot}");
    }
    if matches!(shown, Shown::Payload { byte_len, .. } if byte_len > CEILING) {
        return;
    }
    let found = view.pread_stored_into(slot, &mut read);
    match view.get_stored(slot) {
        Ok(Some(stored)) => assert!(found.unwrap() && read == stored, "slot {slot}"),
        Ok(None) => assert!(!found.unwrap() && read.is_empty(), "slot {slot}"),
        Err(error) => assert_eq!(error.to_string(), found.unwrap_err().to_string()),
    }
}

/// The value of a slot, the same from every way to ask for it.
fn value(view: &View, slot: Slot, shown: Shown, oracle: &Oracle<'_>) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![1, 2, 3];
    let into = view.get_into(slot, &mut buffer);
    let Shown::Payload { byte_len, .. } = shown else {
        assert!(into.is_err() || buffer.is_empty());
        let owned = view.owned(slot);
        assert_eq!(owned.is_ok(), into.is_ok());
        assert!(!matches!(owned, Ok(Some(_))));
        return view.get(slot).map(|value| value.map(std::borrow::Cow::into_owned));
    };
    let conf = &oracle.reference.conf;
    let record = view.record(slot)?.unwrap();
    if byte_len > CEILING {
        assert!(into.is_err(), "{byte_len} bytes are above the ceiling or no frames");
        if conf.compression == 0 {
            assert_eq!(record.value_len()?, byte_len);
        }
        return Ok(None);
    }
    let expected = oracle.reference.value(record.stored(), CEILING);
    let Some(expected) = expected else {
        assert!(view.get(slot).is_err() && view.owned(slot).is_err());
        return Err(into.unwrap_err());
    };
    assert!(into? && buffer == expected);
    assert!(*view.get(slot)?.unwrap() == expected && *view.owned(slot)?.unwrap() == expected);
    let mut copied = Vec::new();
    assert_eq!(record.copy_value_to(&mut copied)?, expected.len() as u64);
    assert!(copied == expected && record.value_len()? == expected.len() as u64);
    Ok(Some(expected))
}

/// A scan in any direction shows what reading slot by slot shows, and one error for every record
/// and every file that is damaged.
fn scan(view: &View, oracle: &Oracle<'_>, entries: &[u64], damaged_files: usize, directory: &Path) {
    let shown = |slot: u64| oracle.reference.shown(slot);
    let is_payload = |slot: &&u64| matches!(shown(**slot), Shown::Payload { .. });
    let damaged = |slot: &&u64| shown(**slot) == Shown::Damage;
    let expected: Vec<Slot> = entries.iter().filter(is_payload).copied().map(Slot).collect();
    let damages = entries.iter().filter(damaged).count() + damaged_files;
    for ends in [0, u64::MAX, 0x5A5A_36C9] {
        let (mut front, mut back, mut errors) = (Vec::new(), Vec::new(), 0);
        let (mut range, mut ends) = (view.range(..), ends);
        while let Some(found) = if ends & 1 == 0 { range.next() } else { range.next_back() } {
            match found {
                Ok(record) if ends & 1 == 0 => front.push(record.slot()),
                Ok(record) => back.push(record.slot()),
                Err(error) => {
                    check_error(&error, directory);
                    errors += 1;
                }
            }
            ends = u64::rotate_right(ends, 1);
        }
        front.extend(back.into_iter().rev());
        assert_eq!(front, expected);
        assert_eq!(errors, damages);
    }
    for slot in entries.iter().copied().map(Slot).take(20) {
        let next = expected.iter().find(|found| **found >= slot);
        if let Ok(found) = view.at_or_after(slot) {
            assert_eq!(found.map(|record| record.slot()), next.copied());
        }
        let before = expected.iter().rev().find(|found| **found <= slot);
        if let Ok(found) = view.at_or_before(slot) {
            assert_eq!(found.map(|record| record.slot()), before.copied());
        }
    }
}

/// Verification finds damage exactly where a read does.
fn check_verify(oracle: &Oracle<'_>, summary: Summary, seen: &Seen) {
    if !is_mappable(oracle.layout) {
        return;
    }
    let (entries, damaged_files) = oracle.reference.entries();
    let damaged = |slot: &&u64| oracle.reference.shown(**slot) == Shown::Damage;
    let damages = entries.iter().filter(damaged).count() + damaged_files;
    assert!(summary.damages >= damages as u64, "{summary:?}, but {damages} damages");
    if summary.damages == 0 {
        let values = seen.values().flatten().count() as u64;
        assert!(summary.records >= values, "{summary:?}, but {values} values");
    }
}

/// What inspection promises is what opening does; what does not fit together is left alone.
fn heal(layout: &Layout, directory: &Path) -> Option<Writer> {
    let promised = inspect(directory);
    layout.assert_unchanged(directory, "inspecting");
    let options = WriterOptions::default()
        .allow_backfill(layout.allow_backfill)
        .checksums(layout.checksums());
    match (Writer::open(directory, options), promised) {
        (Ok(writer), Ok(promised)) => {
            assert_eq!(*writer.heal_report(), promised);
            assert!(promised.actions.iter().all(|action| action.file.starts_with(directory)));
            drop(writer);
            assert!(inspect(directory).unwrap().is_clean(), "healed twice");
            let writer = Writer::open(directory, options).unwrap();
            assert!(writer.heal_report().is_clean());
            Some(writer)
        }
        (Err(error), Err(promised)) => {
            assert_eq!(error.to_string(), promised.to_string());
            check_error(&error, directory);
            layout.assert_unchanged(directory, "refusing to open");
            None
        }
        (opened, promised) => panic!("{opened:?}, where inspection says {promised:?}"),
    }
}

/// Puts above the highest slot, into a gap, and where a value is: what is accepted is there, and
/// what was there stays.
fn write(writer: &mut Writer, layout: &Layout, directory: &Path, seen: &Seen) {
    let mut seen = seen.clone();
    let highest = writer.highest_written_slot();
    let next = highest.map_or(Some(Slot(0)), Slot::next);
    let gaps = seen.iter().filter(|(slot, value)| value.is_none() && Some(Slot(**slot)) < highest);
    let gaps: Vec<Slot> = gaps.map(|(slot, _)| Slot(*slot)).take(6).collect();
    let filled = seen.iter().filter(|(_, value)| value.is_some());
    let filled: Vec<Slot> = filled.map(|(slot, _)| Slot(*slot)).take(6).collect();
    for slot in layout.probes.iter().copied().map(Slot).chain(filled.iter().copied()) {
        if let Err(error) = writer.contains(slot) {
            check_error(&error, directory);
        }
    }
    for slot in gaps.into_iter().chain(next).chain(filled) {
        let value = match seen.get(&slot.0) {
            Some(Some(value)) => value.clone(),
            _ => vec![slot.0 as u8; 5],
        };
        match writer.put(slot, &value) {
            Ok(_) => drop(seen.insert(slot.0, Some(value))),
            Err(error @ Error::Poisoned { .. }) => assert!(writer.is_poisoned(), "{error}"),
            Err(error) => check_error(&error, directory),
        }
    }
    let Ok(reader) = open_reader(directory) else {
        assert!(writer.is_poisoned() || !is_mappable(layout));
        return;
    };
    let view = reader.view();
    for (slot, value) in &seen {
        match view.get(Slot(*slot)) {
            Ok(found) => assert!(found.as_deref() == value.as_deref(), "slot {slot} after puts"),
            Err(error) => assert!(!is_mappable(layout), "slot {slot} after puts: {error}"),
        }
    }
    if let Some(reference) = layout.reference().filter(|_| is_mappable(layout)) {
        checked::check_written(&Oracle { layout, reference }, &seen, directory);
    }
}
