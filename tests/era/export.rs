//! What was imported comes out again, and what is not all there does not.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;

use coldstore::era::{EraExport, ExecutionPayload, ExportError, Exported};
use coldstore::{Column, Slot, StatesPolicy, View};

use crate::archive::{
    Archive, BLOCK, ERA_SLOTS, Encoding, INDEX, MAINNET, MINIMAL, Parts, era_files, go_on, scratch,
    slot_value, u64_at, write,
};

struct Views([View; 3]);

impl Views {
    fn of(archive: &Archive) -> Self {
        Self(EraExport::COLUMNS.map(|column| archive.view(column)))
    }

    /// With a column of another archive.
    fn with(mut self, other: &Archive, column: Column) -> Self {
        let place = EraExport::COLUMNS.iter().position(|of| *of == column).unwrap();
        self.0[place] = other.view(column);
        self
    }

    fn export(&self, slots_per_era: u64, era: u64) -> Result<(Vec<u8>, Exported), ExportError> {
        let export = EraExport::prepare(&self.0, slots_per_era, era)?;
        let mut file = Cursor::new(Vec::new());
        let done = export.write_to(&mut file, &mut |_| ControlFlow::Continue(()))?;
        Ok((file.into_inner(), done))
    }
}

fn export(archive: &Archive, era: u64) -> Result<Vec<u8>, ExportError> {
    Views::of(archive).export(ERA_SLOTS, era).map(|(bytes, _)| bytes)
}

#[track_caller]
fn refused(archive: &Archive, era: u64) -> String {
    export(archive, era).unwrap_err().to_string()
}

fn slots_per_era(chain: &str) -> u64 {
    if chain == MINIMAL { ERA_SLOTS } else { 8192 }
}

#[test]
fn an_imported_file_comes_out_with_the_same_records_and_the_deployed_index() {
    for chain in [MINIMAL, MAINNET] {
        let files = era_files(chain);
        let archive = Archive::of(&files);
        let views = Views::of(&archive);
        for (era, path) in files.iter().enumerate() {
            let (bytes, done) = views.export(slots_per_era(chain), era as u64).unwrap();
            assert_eq!(done.byte_len, bytes.len() as u64);
            assert_eq!(done.unknown_layouts, 0);
            let (ours, theirs) = (Parts::parse(&bytes), Parts::read(path));
            let blocks = |parts: &Parts| -> Vec<_> {
                parts.records.iter().filter(|record| record.kind == BLOCK).cloned().collect()
            };
            assert_eq!(blocks(&ours).len() as u64, done.blocks);
            assert!(blocks(&ours) == blocks(&theirs), "{chain}, era {era}: block records");
            let state = |parts: &Parts| parts.records[parts.state()].value();
            assert!(state(&ours) == state(&theirs), "{chain}, era {era}: the state");
            assert_eq!(ours.records.len(), theirs.records.len());
            if era > 0 {
                assert_eq!(ours.slots_per_era, slots_per_era(chain));
                assert_eq!(done.blocks + done.skipped_slots, slots_per_era(chain));
            }
            assert!(bytes == ours.build(Encoding::Nimbus), "{chain}, era {era}: the indices");
        }
    }
}

/// This chain's indices are encoded as published files are, and its states were compressed by the
/// same encoder.
#[test]
fn published_files_are_exported_byte_for_byte() {
    let files = era_files(MAINNET);
    assert_eq!(files.len(), 4);
    let archive = Archive::of(&files);
    for (era, path) in files.iter().enumerate() {
        let (exported, _) = Views::of(&archive).export(8192, era as u64).unwrap();
        assert!(exported == fs::read(path).unwrap(), "era {era}");
    }
}

/// The files of this chain have 0 for an empty slot. What comes out has the distance to byte 0 in
/// the same places, and every other byte is the same.
#[test]
fn files_indexed_as_specified_differ_only_at_skipped_slots() {
    let files = era_files(MINIMAL);
    let archive = Archive::of(&files);
    let mut skipped = 0;
    for (era, path) in files.iter().enumerate() {
        let (mut exported, done) = Views::of(&archive).export(ERA_SLOTS, era as u64).unwrap();
        let source = fs::read(path).unwrap();
        assert_eq!(exported.len(), source.len(), "era {era}");
        for entry in entries_of_skipped_slots(&source) {
            let index_at = i64::try_from(entry.index_at).unwrap();
            assert_eq!(exported[entry.bytes.clone()], (-index_at).to_le_bytes(), "era {era}");
            exported[entry.bytes].fill(0);
            skipped += 1;
        }
        assert!(exported == source, "era {era}");
        assert_eq!(entries_of_skipped_slots(&source).len() as u64, done.skipped_slots);
    }
    assert_eq!(skipped, 60);
}

struct Entry {
    /// Where the index's header starts.
    index_at: usize,
    /// Where the entry lies in the file.
    bytes: std::ops::Range<usize>,
}

/// The entries that are 0 in the block index of a file of one era.
fn entries_of_skipped_slots(file: &[u8]) -> Vec<Entry> {
    let (records, offsets) = (crate::archive::walk(file), crate::archive::offsets(file));
    let indices: Vec<_> =
        records.iter().zip(offsets).filter(|(record, _)| record.kind == INDEX).collect();
    let [(blocks, index_at), _] = indices[..] else { return Vec::new() };
    let entries = (8..blocks.payload.len() - 8).step_by(8);
    entries
        .filter(|at| u64_at(&blocks.payload, *at) == 0)
        .map(|at| Entry { index_at, bytes: index_at + 8 + at..index_at + 16 + at })
        .collect()
}

#[test]
fn an_export_is_imported_to_the_same_columns() {
    for chain in [MINIMAL, MAINNET] {
        let archive = Archive::of(&era_files(chain));
        let directory = scratch();
        let eras = era_files(chain).len() as u64;
        let files: Vec<_> = (0..eras)
            .map(|era| {
                let (bytes, _) = Views::of(&archive).export(slots_per_era(chain), era).unwrap();
                write(&directory, &format!("{era:05}.era"), &bytes)
            })
            .collect();
        assert!(Archive::of(&files).files() == archive.files(), "{chain}");
    }
}

#[test]
fn an_archive_that_begins_late_or_has_no_genesis_exports_what_it_has() {
    let files = era_files(MINIMAL);
    let archive = Archive::of(&files[5..]);
    for era in 5..=9 {
        let exported = export(&archive, era).unwrap();
        let source = Parts::read(&files[usize::try_from(era).unwrap()]);
        assert!(exported == source.build(Encoding::Nimbus), "era {era}");
    }
    assert!(
        refused(&archive, 4).contains("era 4 cannot be exported: bss has no state of slot 256")
    );
    assert!(refused(&archive, 10).contains("bss has no state of slot 640"));
    assert!(refused(&archive, u64::MAX).contains("no era 18446744073709551615"));
}

/// The first slots of era 6, 320 to 322, are empty. Of an archive that begins there `bbr` has no root
/// before them; the parent of the next block, that of slot 323, is the one that they repeat.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test makes a column anew")]
fn a_first_slot_is_empty_when_the_next_block_says_so() {
    let files = era_files(MINIMAL);
    let archive = Archive::of(&files[6..]);
    let exported = export(&archive, 6).unwrap();
    assert!(exported == Parts::read(&files[6]).build(Encoding::Nimbus));

    let without_323 = Archive::of(&files[6..]);
    fs::remove_dir_all(without_323.root.path().join("blk")).unwrap();
    let mut writer = without_323.writer(Column::Blocks, false);
    for record in archive.view(Column::Blocks).range(..).skip(1) {
        let record = record.unwrap();
        writer.put(record.slot(), &record.value().unwrap()).unwrap();
    }
    drop(writer);
    let refused = refused(&without_323, 6);
    assert!(refused.contains("era 6") && refused.contains("slot 320"), "{refused}");
    assert!(refused.contains("the next block has another parent"), "{refused}");
    assert!(export(&without_323, 7).is_ok());
}

#[test]
fn an_era_without_its_state_is_refused_with_the_slot() {
    let archive = Archive::new();
    let every_third = StatesPolicy::Every(3.try_into().unwrap());
    archive.import_with(&era_files(MINIMAL), every_third, &mut go_on).unwrap();
    assert!(export(&archive, 3).is_ok());
    let refused = refused(&archive, 4);
    assert_eq!(
        refused,
        "era 4 cannot be exported: bss has no state of slot 256, which it ends with"
    );
}

/// A column that holds what another archive has, but for what `change` says of a slot.
fn changed(
    archive: &Archive,
    column: Column,
    change: impl Fn(u64, Vec<u8>) -> Option<Vec<u8>>,
) -> Archive {
    let other = Archive::new();
    let mut writer = other.writer(column, false);
    for record in archive.view(column).range(..) {
        let record = record.unwrap();
        let slot = record.slot();
        if let Some(value) = change(slot.0, record.value().unwrap().into_owned()) {
            writer.put(slot, &value).unwrap();
        }
    }
    other
}

#[test]
fn a_block_missing_from_blk_but_present_in_bbr_is_named() {
    let archive = Archive::of(&era_files(MINIMAL)[..4]);
    for lost in [0, 64, 100, 127] {
        let other =
            changed(&archive, Column::Blocks, |slot, value| (slot != lost).then_some(value));
        let views = Views::of(&archive).with(&other, Column::Blocks);
        let era = lost / ERA_SLOTS + 1;
        let error = views.export(ERA_SLOTS, era).unwrap_err();
        let ExportError::Missing { era: named, slot, .. } = error else { panic!("{error}") };
        assert_eq!((named, slot), (era, Slot(lost)));
        assert!(views.export(ERA_SLOTS, 3 - era).is_ok(), "the other era is whole");
    }
}

#[test]
fn slots_without_a_root_are_unproved() {
    let archive = Archive::of(&era_files(MINIMAL)[..4]);
    let other = changed(&archive, Column::BlockRoots, |slot, root| (slot != 150).then_some(root));
    let views = Views::of(&archive).with(&other, Column::BlockRoots);
    let error = views.export(ERA_SLOTS, 3).unwrap_err();
    assert!(matches!(error, ExportError::Missing { era: 3, slot: Slot(150), .. }), "{error}");
    assert!(views.export(ERA_SLOTS, 2).is_ok());
}

#[test]
fn values_that_contradict_the_state_of_the_era_are_named() {
    let archive = Archive::of(&era_files(MINIMAL)[..4]);
    let flip = |at: usize| {
        move |slot: u64, mut value: Vec<u8>| {
            value[at] ^= u8::from(slot == 150);
            Some(value)
        }
    };
    for (column, at, wanted) in [
        (Column::BlockRoots, 3, "bbr, slot 150: wanted the root 0x"),
        (Column::Blocks, 100, "blk, slot 150: wanted its block, found that of slot 151"),
        (Column::Blocks, 116, "blk, slot 150: wanted the parent root 0x"),
        (Column::Blocks, 148, "blk, slot 150: wanted the state root 0x"),
        (Column::Blocks, 0, "blk, slot 150: wanted a signed block"),
    ] {
        let other = changed(&archive, column, flip(at));
        let views = Views::of(&archive).with(&other, column);
        let error = views.export(ERA_SLOTS, 3).unwrap_err().to_string();
        assert!(error.starts_with("era 3 cannot be exported: "), "{error}");
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_snapshot_that_is_not_a_state_is_named() {
    let archive = Archive::of(&era_files(MINIMAL)[..4]);
    for (value, wanted) in [
        (b"\x28\xb5\x2f\xfd and so on, which goes on for a while longer".to_vec(), "zstd"),
        (b"short".to_vec(), "at least 48 bytes"),
        (vec![0; 5000], "plain SSZ"),
    ] {
        let other = changed(&archive, Column::StateSnapshots, |slot, state| {
            Some(if slot == 192 { value.clone() } else { state })
        });
        let views = Views::of(&archive).with(&other, Column::StateSnapshots);
        let error = views.export(ERA_SLOTS, 3).unwrap_err().to_string();
        assert!(error.contains("bss, slot 192") && error.contains(wanted), "{error}");
    }
}

#[test]
fn an_export_stops_when_asked() {
    let archive = Archive::of(&era_files(MINIMAL)[..3]);
    let views = Views::of(&archive);
    let export = EraExport::prepare(&views.0, ERA_SLOTS, 2).unwrap();
    let mut calls = 0;
    let mut count = |_| {
        calls += 1;
        ControlFlow::Continue(())
    };
    export.write_to(&mut Cursor::new(Vec::new()), &mut count).unwrap();
    assert!(calls > 50, "{calls}");
    for stop_at in [1, calls] {
        let mut call = 0;
        let mut watch = |_| {
            call += 1;
            if call == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let error = export.write_to(&mut Cursor::new(Vec::new()), &mut watch).unwrap_err();
        assert!(matches!(error, ExportError::Stopped { era: 2 }), "{error}");
    }
}

// --------------------------------------------------------------------------- blinded blocks

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn set_u32(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
}

/// Replaces the execution payload of a block of the minimal preset by its header, by the SSZ of
/// the consensus specification. `None` where there is no payload.
fn blinded(block: &[u8]) -> Option<Vec<u8>> {
    const BODY: usize = 184;
    const PAYLOAD_OFFSET: usize = 220 + 100;
    let body = &block[BODY..];
    let fixed = u32_at(body, 200);
    if fixed <= PAYLOAD_OFFSET {
        return None;
    }
    let later_offsets: Vec<usize> = (PAYLOAD_OFFSET + 4..fixed).step_by(4).collect();
    let start = u32_at(body, PAYLOAD_OFFSET);
    let end = later_offsets.first().map_or(body.len(), |at| u32_at(body, *at));
    let payload = &body[start..end];
    let (payload_fixed, transactions) = (u32_at(payload, 436), u32_at(payload, 504));
    let header_fixed = match payload_fixed {
        508 => 536,
        512 => 568,
        528 => 584,
        other => panic!("a payload with a fixed part of {other} bytes"),
    };
    let mut header = payload[..504].to_vec();
    set_u32(&mut header, 436, header_fixed);
    header.extend([0x77; 32]); // the root of the transactions
    if payload_fixed > 508 {
        header.extend([0x88; 32]); // the root of the withdrawals
    }
    if payload_fixed == 528 {
        header.extend(&payload[512..528]);
    }
    assert_eq!(header.len(), header_fixed);
    header.extend(&payload[payload_fixed..transactions]);
    let mut blinded = block[..BODY + start].to_vec();
    blinded.extend(&header);
    blinded.extend(&body[end..]);
    for at in later_offsets {
        let moved = u32_at(body, at) - payload.len() + header.len();
        set_u32(&mut blinded, BODY + at, moved);
    }
    Some(blinded)
}

fn forks() -> Vec<(u64, String)> {
    let text = fs::read_to_string(test_support::data(MINIMAL).join("BLOCKS.tsv")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once('\t'));
    fields
        .filter_map(|(slot, rest)| Some((slot.parse().ok()?, rest.split('\t').next()?.to_owned())))
        .collect()
}

#[test]
fn full_and_blinded_blocks_of_every_fork_are_told_apart() {
    let archive = Archive::of(&era_files(MINIMAL));
    let mut seen = std::collections::BTreeMap::new();
    for (slot, fork) in forks() {
        let Some(block) = slot_value(&archive, Column::Blocks, slot) else { continue };
        let is_early = ["phase0", "altair"].contains(&fork.as_str());
        let wanted = if is_early { ExecutionPayload::None } else { ExecutionPayload::Whole };
        assert_eq!(ExecutionPayload::of_block(&block), wanted, "slot {slot}, {fork}");
        let blinded = blinded(&block);
        assert_eq!(blinded.is_none(), is_early, "slot {slot}, {fork}");
        if let Some(blinded) = blinded {
            assert_eq!(ExecutionPayload::of_block(&blinded), ExecutionPayload::Header);
        }
        *seen.entry(fork).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert!(seen.values().all(|count| *count > 10), "{seen:?}");
    let mainnet = Archive::of(&era_files(MAINNET)[..2]);
    for record in mainnet.view(Column::Blocks).range(Slot(1)..) {
        let block = record.unwrap().value().unwrap();
        assert_eq!(ExecutionPayload::of_block(&block), ExecutionPayload::Whole);
    }
}

#[test]
fn a_blinded_block_is_refused_with_its_slot_and_the_reason() {
    let archive = Archive::of(&era_files(MINIMAL));
    let mut refused_forks = std::collections::BTreeSet::new();
    for (slot, fork) in forks().into_iter().step_by(29) {
        let other = changed(&archive, Column::Blocks, |of, block| {
            Some(if of == slot { blinded(&block).unwrap_or(block) } else { block })
        });
        let views = Views::of(&archive).with(&other, Column::Blocks);
        let era = slot / ERA_SLOTS + 1;
        if era > 9 || ["phase0", "altair"].contains(&fork.as_str()) {
            continue;
        }
        let error = views.export(ERA_SLOTS, era).unwrap_err();
        let wanted =
            format!("era {era} cannot be exported: blk has a blinded block at slot {slot}");
        assert!(error.to_string().starts_with(&wanted), "{error}");
        assert!(error.to_string().contains("execution payload"), "{error}");
        refused_forks.insert(fork);
    }
    assert_eq!(refused_forks.len(), 5, "{refused_forks:?}");
}
