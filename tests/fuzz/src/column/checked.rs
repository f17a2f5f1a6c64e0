//! What a reader that compares checksums shows, what verification says of them, and what becomes
//! of them when the column is healed and written to.

use std::collections::BTreeSet;
use std::path::Path;

use coldstore::verify::Finding;
use coldstore::{Checksums, CorruptItem, Error, Slot, View};
use test_support::Verdict;

use super::super::scratch;
use super::layout::Layout;
use super::sums::{has_mendable_sum, has_stray_sum, lost_entries};
use super::{Oracle, Seen, is_mappable};

/// Every read of these slots with checksums compared: what is not what was written is refused, and
/// everything else is as without them.
pub fn read(view: &View, oracle: &Oracle<'_>, slots: &[u64], directory: &Path) {
    if !has_sums(oracle.layout) || !is_mappable(oracle.layout) {
        return;
    }
    let reader = match scratch::open_checking_reader(directory, oracle.layout.access) {
        Ok(reader) => reader,
        Err(error) => panic!("opens without checksums, and with them: {error}"),
    };
    let checked = reader.view();
    let mut refused = BTreeSet::new();
    for slot in slots.iter().copied().map(Slot) {
        let verdict = oracle.reference.verdict(slot.0);
        if verdict.is_refused() {
            refused.insert(slot);
            check_refused(&checked, slot, verdict, directory);
        } else {
            check_same(view, &checked, slot);
        }
        let [with, without] = [&checked, view].map(|view| view.contains(slot).ok());
        assert_eq!(with, without, "slot {slot}");
    }
    check_scan(view, &checked, &refused);
}

fn has_sums(layout: &Layout) -> bool {
    layout.files.values().any(|files| files.column.sums.is_some())
}

/// Every way to ask for the record says that it is not what was written, and where.
fn check_refused(view: &View, slot: Slot, verdict: Verdict, directory: &Path) {
    let wanted = match verdict {
        Verdict::Damaged => "checksum of a record",
        _ => "offset entry",
    };
    let (mut value, mut stored) = (vec![1; 3], vec![2; 3]);
    let errors = [
        view.get_stored(slot).map(|_| ()),
        view.get(slot).map(|_| ()),
        view.owned(slot).map(|_| ()),
        view.record(slot).map(|_| ()),
        view.get_into(slot, &mut value).map(|_| ()),
        view.pread_into(slot, &mut value).map(|_| ()),
        view.pread_stored_into(slot, &mut stored).map(|_| ()),
    ];
    for (nth, outcome) in errors.into_iter().enumerate() {
        let error = outcome.expect_err("a record that is not what was written");
        scratch::check_error(&error, directory);
        assert!(matches!(&error, Error::Corrupt(_)), "{nth}: {error}");
        assert!(error.to_string().contains(wanted), "{nth}: {verdict:?}: {error}");
    }
}

fn check_same(view: &View, checked: &View, slot: Slot) {
    let said = |view: &View| {
        let stored = view.get_stored(slot).map(|stored| stored.map(<[u8]>::to_vec));
        stored.map_err(|error| error.to_string())
    };
    assert!(said(checked) == said(view), "slot {slot}: {:?}", said(checked).err());
    let said = |view: &View| {
        let (mut buffer, mut direct) = (vec![1; 3], vec![2; 3]);
        let value = view.get_into(slot, &mut buffer);
        let read = view.pread_into(slot, &mut direct);
        match (value, read) {
            (Ok(there), Ok(read)) => {
                assert!(there == read && buffer == direct, "slot {slot}");
                Ok(there.then_some(buffer))
            }
            (value, read) => {
                let (value, read) = (value.unwrap_err().to_string(), read.unwrap_err().to_string());
                assert_eq!(value, read);
                Err(value)
            }
        }
    };
    assert!(said(checked) == said(view), "slot {slot}: {:?}", said(checked).err());
}

/// A scan shows the same but for what is refused, from either end.
fn check_scan(view: &View, checked: &View, refused: &BTreeSet<Slot>) {
    let scan = |view: &View, back: bool| {
        let (mut slots, mut errors, mut range) = (Vec::new(), 0, view.range(..));
        while let Some(found) = if back { range.next_back() } else { range.next() } {
            match found {
                Ok(record) => slots.push(record.slot()),
                Err(_) => errors += 1,
            }
        }
        (slots, errors)
    };
    for back in [false, true] {
        let (mut slots, errors) = scan(view, back);
        let (shown, more_errors) = scan(checked, back);
        let before = slots.len();
        slots.retain(|slot| !refused.contains(slot));
        assert_eq!(shown, slots);
        assert_eq!(more_errors, errors + before - slots.len());
    }
}

/// Verification names each checksum that says that something is wrong, and no other.
pub fn check_verify(oracle: &Oracle<'_>, findings: &[Finding]) {
    if !is_mappable(oracle.layout) {
        return;
    }
    let of = |kind: &dyn Fn(&Finding) -> bool| -> BTreeSet<Slot> {
        findings.iter().filter(|finding| kind(finding)).filter_map(|finding| finding.slot).collect()
    };
    let reference = &oracle.reference;
    let (entries, _) = reference.entries();
    let wanted = |verdict: Verdict| -> BTreeSet<Slot> {
        let slots = entries.iter().filter(|slot| reference.verdict(**slot) == verdict);
        slots.copied().map(Slot).collect()
    };
    let damaged = of(&|finding| finding.what == CorruptItem::RecordChecksum);
    assert_eq!(damaged, wanted(Verdict::Damaged), "{findings:?}");
    let is_misplaced = |finding: &Finding| {
        finding.what == CorruptItem::OffsetEntry && finding.found.contains("has no checksum")
    };
    assert_eq!(of(&is_misplaced), wanted(Verdict::Misplaced), "{findings:?}");
    // Of a record that does not decode it is said that it does not.
    // In a file whose header or length is damaged it is told where one of the two sums fits.
    let told = of(&|finding| finding.what == CorruptItem::ChecksumEntry);
    let told: BTreeSet<_> =
        told.into_iter().filter(|slot| !has_mendable_sum(reference, slot.0)).collect();
    let (flawed, any) = (wanted(Verdict::EntryDamaged), of(&|_| true));
    assert!(told.is_subset(&flawed) && flawed.is_subset(&any), "{flawed:?}: {findings:?}");
    let is_lost = |finding: &Finding| {
        finding.what == CorruptItem::OffsetEntry && finding.wanted.contains("checksum is kept")
    };
    let lost = lost_entries(reference).into_iter().map(Slot).collect();
    assert_eq!(of(&is_lost), lost, "{findings:?}");
}

/// After healing and puts: what was not refused before is not refused now, and what was put is
/// there. (Where the entry of a record was lost, its checksum contradicts what a writer puts there
/// that keeps none, unless healing has cleared it.)
pub fn check_written(oracle: &Oracle<'_>, seen: &Seen, directory: &Path) {
    let reader = scratch::open_checking_reader(directory, 0).unwrap();
    let view = reader.view();
    let keeps = oracle.layout.checksums() == Checksums::On;
    for (slot, value) in seen.iter().map(|(slot, value)| (Slot(*slot), value)) {
        let verdict = oracle.reference.verdict(slot.0);
        match view.get(slot) {
            Ok(found) => {
                assert!(!verdict.is_refused(), "slot {slot}: {verdict:?}");
                assert!(found.as_deref() == value.as_deref(), "slot {slot} after puts");
            }
            Err(error) => {
                let (reference, conf) = (&oracle.reference, &oracle.reference.conf);
                let is_named = conf.named_len(slot.file_id().0).is_some();
                let is_new = conf.is_v3() || Some(slot.0) > conf.highest_slot();
                let is_stray = !keeps && has_stray_sum(reference, slot.0) && !(is_named && is_new);
                let is_mended = is_named && has_mendable_sum(reference, slot.0);
                let is_expected = verdict.is_refused() || is_stray || is_mended;
                assert!(is_expected, "slot {slot}: {verdict:?}: {error}");
            }
        }
    }
}
