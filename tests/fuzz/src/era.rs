//! An `.era` file of any bytes, through the reader and into an archive.
//!
//! The first byte of an input chooses how the rest becomes a file: as it is, or put together from
//! records whose values are compressed here, so that a change of a value is more than a wrong
//! checksum.
//!
//! ```text
//! record: kind u8 | length u16 | payload
//! kinds:  0 version | 1 block | 2 state | 3 index, as it is | 4 block index of u64 start, u8 count,
//!         u8 encoding | 5 state index of u64 slot | 6 other, of type 2 bytes | 7 block, as it is
//! ```

use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use coldstore::era::{
    COLUMNS, EraBlock, EraFile, EraGroup, EraState, ImportFailure, ImportPlan, ImportReport, import,
};
use coldstore::format::record::RecordHeader;
use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Column, ColumnSpec, Result, Slot, StatesPolicy, View,
};

use super::scratch::{self, Bytes, check_error};

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let file = if bytes.u8() % 2 == 0 { bytes.0.to_vec() } else { assemble(&mut bytes) };
    let scratch = scratch::scratch();
    let path = scratch.path().join("some.era");
    let groups = match walk(&file, &path) {
        Ok(groups) => Some(groups),
        Err(error) => {
            check_error(&error, scratch.path());
            None
        }
    };
    fs::write(&path, &file).unwrap();
    let archive = scratch.path().join("archive");
    match bring_in(&path, &archive) {
        Ok(_) => {
            let groups = groups.expect("what is imported can be walked");
            groups.iter().for_each(|group| check_columns(group, &archive));
            let again = bring_in(&path, &archive).unwrap();
            assert_eq!(again.eras.len(), groups.len());
        }
        Err(failure) => {
            let text = failure.to_string();
            assert!(text.contains(scratch.path().to_str().unwrap()), "names no file: {text}");
            for column in Column::ALL {
                check_sound(&archive.join(column.dir_name()));
            }
        }
    }
}

/// Puts a file together from records.
fn assemble(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    let (mut blocks, mut state) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let kind = bytes.u8() % 8;
        let len = bytes.u16();
        let payload = bytes.take(usize::from(len));
        let at = file.len() as i64;
        match kind {
            0 => push(&mut file, *b"e2", payload),
            1 => {
                let slot = payload.get(100..).and_then(<[u8]>::first_chunk);
                blocks.push((slot.map_or(0, |slot| u64::from_le_bytes(*slot)), at));
                push(&mut file, [1, 0], &frames(payload));
            }
            2 => {
                state = at;
                push(&mut file, [2, 0], &frames(payload));
            }
            3 => push(&mut file, *b"i2", payload),
            4 => {
                let mut index = Bytes(payload);
                let (start, count, encoding) = (index.u64(), index.u8(), index.u8());
                let entry = |index: u64| {
                    let block = blocks.iter().find(|(slot, _)| *slot == start.wrapping_add(index));
                    match (block, encoding % 3) {
                        (Some((_, block)), 2) => block + 8 - at,
                        (Some((_, block)), _) => block - at,
                        (None, 1) => -at,
                        (None, _) => 0,
                    }
                };
                let entries: Vec<i64> = (0..u64::from(count)).map(entry).collect();
                push(&mut file, *b"i2", &slot_index(start, &entries));
                blocks.clear();
            }
            5 => {
                let index = slot_index(Bytes(payload).u64(), &[state - at]);
                push(&mut file, *b"i2", &index);
            }
            6 => {
                let mut other = Bytes(payload);
                push(&mut file, other.array(), other.0);
            }
            _ => push(&mut file, [1, 0], payload),
        }
    }
    file
}

fn push(file: &mut Vec<u8>, kind: [u8; 2], payload: &[u8]) {
    file.extend(RecordHeader::new(kind, payload.len() as u32).to_bytes());
    file.extend(payload);
}

fn slot_index(start: u64, entries: &[i64]) -> Vec<u8> {
    let mut payload = start.to_le_bytes().to_vec();
    payload.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    payload.extend((entries.len() as u64).to_le_bytes());
    payload
}

fn frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

/// What a walk finds in a group.
struct Walked {
    group: EraGroup,
    /// With their stored bytes.
    blocks: Vec<(EraBlock, Vec<u8>)>,
    state: EraState,
    state_bytes: Vec<u8>,
}

/// Reads everything there is to read in a file.
fn walk(file: &[u8], path: &Path) -> Result<Vec<Walked>> {
    let mut era = EraFile::of_bytes(file.to_vec(), path)?;
    assert_eq!(era.byte_len(), file.len() as u64);
    assert!(!era.groups().is_empty());
    let mut walked = Vec::new();
    let mut end = 0;
    for group in era.groups().to_vec() {
        assert_eq!(group.offset, end, "groups lie one behind the other");
        end = group.end;
        let state = era.state_head(&group)?;
        let mut places = Vec::new();
        let mut walk = era.walk(&group)?;
        while let Some(block) = walk.next_block()? {
            places.push(block);
        }
        walk.finish(&places)?;
        assert!(places.is_sorted_by(|left, right| left.head.slot < right.head.slot));
        let mut blocks = Vec::new();
        for block in places {
            let slots = group.slots.unwrap();
            assert!((slots.first..=slots.last).contains(&block.head.slot));
            let stored = era.stored_block(&block.record)?;
            let at = block.record.payload_offset() as usize;
            assert!(file[at..].starts_with(&stored));
            blocks.push((block, stored));
        }
        let mut state_bytes = Vec::new();
        let read = era.state_stream(&state.record).read_to_end(&mut state_bytes);
        read.map_err(|error| error.downcast::<coldstore::Error>().unwrap())?;
        assert!(state_bytes.len() as u64 <= Column::StateSnapshots.spec().max_value_bytes);
        walked.push(Walked { group, blocks, state, state_bytes });
    }
    assert_eq!(end, file.len() as u64);
    Ok(walked)
}

fn bring_in(file: &Path, archive: &Path) -> Result<ImportReport, Box<ImportFailure>> {
    let plan = ImportPlan::scan(&[file])?;
    let options = ArchiveWriterOptions::default().columns(COLUMNS);
    let mut archive = ArchiveWriter::open(archive, options).unwrap();
    import(&plan, &mut archive, StatesPolicy::All, &mut |_: &coldstore::era::ImportProgress<'_>| {
        ControlFlow::Continue(())
    })
}

/// The columns hold what the walk found.
fn check_columns(walked: &Walked, archive: &Path) {
    let view = |column: Column| -> View {
        scratch::open_reader(&archive.join(column.dir_name())).unwrap().view()
    };
    let snapshots = view(Column::StateSnapshots);
    let state = snapshots.get(walked.group.state_slot).unwrap();
    assert!(state.as_deref() == Some(&walked.state_bytes[..]));
    let Some((slots, roots)) = walked.group.slots.zip(walked.state.roots.as_ref()) else {
        return;
    };
    let (blocks, block_roots, state_roots) =
        (view(Column::Blocks), view(Column::BlockRoots), view(Column::StateRoots));
    let mut found = walked.blocks.iter().peekable();
    for index in 0..roots.block_roots.len() {
        let slot = Slot(slots.first.0 + index as u64);
        let block = found.next_if(|(block, _)| block.head.slot == slot);
        assert_eq!(blocks.get_stored(slot).unwrap(), block.map(|(_, stored)| &stored[..]));
        if let Some(value) = blocks.get(slot).unwrap() {
            assert_eq!(coldstore::era::ssz::block_slot(&value), Some(slot));
        }
        assert_eq!(block_roots.get(slot).unwrap().as_deref(), Some(&roots.block_roots[index][..]));
        assert_eq!(state_roots.get(slot).unwrap().as_deref(), Some(&roots.state_roots[index][..]));
    }
    assert!(found.next().is_none());
}

/// A column that an import has left is one without damage.
fn check_sound(directory: &Path) {
    if !directory.join("column.conf").exists() {
        return;
    }
    let mut findings = Vec::new();
    let options = coldstore::verify::VerifyOptions::default().deep(true);
    let summary =
        coldstore::verify::verify_column(directory, None::<ColumnSpec>, &options, &mut |found| {
            findings.push(found);
        });
    assert_eq!(summary.unwrap().damages, 0, "{findings:?}");
    assert!(coldstore::inspect(directory).unwrap().is_clean());
}
