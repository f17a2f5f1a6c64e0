//! What may not come into the five known columns.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Column, Committed, Error, Manifest,
    ObjectionKind, PipelineOptions, Result, Slot, Writer, WriterOptions,
};
use test_support::{HANG, scratch};

const CHAIN: [u8; 32] = [7; 32];

/// The beginning of a signed block and of a state, from the consensus specification alone.
fn block(slot: u64) -> Vec<u8> {
    [&100u32.to_le_bytes()[..], &[3; 96], &slot.to_le_bytes(), &[5; 200]].concat()
}

fn state(slot: u64) -> Vec<u8> {
    [&[1; 8][..], &CHAIN, &slot.to_le_bytes(), &[5; 3000]].concat()
}

fn root(slot: u64) -> Vec<u8> {
    slot.to_be_bytes().repeat(4)
}

fn right(column: Column, slot: u64) -> Vec<u8> {
    match column {
        Column::Blocks => block(slot),
        Column::BlockRoots | Column::StateRoots => root(slot),
        Column::StateSnapshots => state(slot),
        Column::StateDiffs => b"diff".to_vec(),
    }
}

/// All columns, with backfill.
fn all() -> ArchiveWriterOptions {
    Column::ALL.into_iter().fold(ArchiveWriterOptions::default(), ArchiveWriterOptions::backfill)
}

/// An archive whose manifest names its chain.
fn archive(root: &Path, options: ArchiveWriterOptions) -> ArchiveWriter {
    let known = Manifest::update(root, |manifest| {
        (manifest.genesis_validators_root, manifest.slots_per_era) = (Some(CHAIN), Some(64));
        Ok(())
    });
    known.unwrap();
    ArchiveWriter::open(root, options).unwrap()
}

fn snappy(value: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut encoder = snap::write::FrameEncoder::new(&mut frames);
    std::io::Write::write_all(&mut encoder, value).unwrap();
    drop(encoder);
    frames
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T>, kind: ObjectionKind, slot: u64) {
    match outcome {
        Err(ref error @ Error::Refused { kind: found, slot: of, .. }) => {
            assert_eq!((found, of), (kind, Slot(slot)), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Every way in which a value gets to a writer.
fn ways(writer: &mut Writer, slot: u64, value: &[u8]) -> Vec<Result<Committed>> {
    let items = [(Slot(slot), value)];
    let mut ways = vec![
        writer.put(Slot(slot), value),
        writer.put_batch(&items),
        writer.prepare_batch(&items).and_then(coldstore::Prepared::commit),
        writer.put_from(Slot(slot), value.len() as u64, &mut &value[..]),
        writer
            .put_bulk(&items, |_| {})
            .map_err(|stopped| stopped.error)
            .map(|done| Committed { written: done.written, unchanged: done.unchanged }),
    ];
    let is_compressed = writer.conf().spec == Column::Blocks.spec();
    let stored = if is_compressed { snappy(value) } else { value.to_vec() };
    ways.push(writer.put_stored_batch(&[(Slot(slot), stored)]));
    ways
}

/// Guards against a value of another kind, slot or chain that is acknowledged for ever.
#[test]
fn a_value_of_the_wrong_kind_is_refused_by_every_put() {
    let mut other_offset = block(5);
    other_offset[0] = 99;
    let mut other_chain = state(5);
    other_chain[8] ^= 1;
    let wrong = [
        (Column::Blocks, vec![block(6), other_offset, block(5)[..107].to_vec(), vec![]]),
        (Column::BlockRoots, vec![vec![1; 31], vec![1; 33], vec![]]),
        (Column::StateRoots, vec![vec![1; 3], vec![]]),
        (Column::StateSnapshots, vec![state(6), other_chain, state(5)[..47].to_vec(), vec![]]),
        (Column::StateDiffs, vec![vec![]]),
    ];
    for (column, values) in wrong {
        let dir = scratch();
        let mut archive = archive(dir.path(), all());
        let writer = archive.writer(column).unwrap();
        let before = *writer.conf();
        for value in &values {
            for outcome in ways(writer, 5, value) {
                assert_refused(outcome, ObjectionKind::WrongValue, 5);
            }
        }
        assert_eq!(*writer.conf(), before);
        assert!(!dir.path().join(column.dir_name()).join("data_00000").exists(), "{column}");
        for (way, outcome) in ways(writer, 5, &right(column, 5)).into_iter().enumerate() {
            let written = u64::from(way == 0);
            assert_eq!(outcome.unwrap(), Committed { written, unchanged: 1 - written });
        }
        let pipeline = ArchivePipeline::start(archive, |_| PipelineOptions::default()).unwrap();
        let pipeline = pipeline.column(column);
        for value in values {
            let from = Box::new(std::io::Cursor::new(value.clone()));
            let refused = pipeline.put_from(Slot(7), value.len() as u64, from);
            assert_refused(refused, ObjectionKind::WrongValue, 7);
            let refused = pipeline.put(Slot(7), value);
            assert_refused(refused, ObjectionKind::WrongValue, 7);
        }
        pipeline.put(Slot(6), right(column, 6)).unwrap();
    }
}

#[test]
fn an_objection_names_column_slot_both_values_and_the_remedy() {
    let dir = scratch();
    let mut archive = archive(dir.path(), all());
    let refused = |error: Result<Committed>| error.unwrap_err().to_string();
    let blocks = archive.writer(Column::Blocks).unwrap();
    assert_eq!(
        refused(blocks.put(Slot(5), &block(6))),
        "blk slot 5 is refused: wanted the SSZ of the signed block of slot 5, found that of slot 6; \
         check the slot and the file; only `raw` writes take other encodings"
    );
    blocks.put(Slot(5), &block(5)).unwrap();
    assert_eq!(
        refused(blocks.put(Slot(1_000_000), &block(1_000_000))),
        "blk slot 1000000 is refused: wanted at most one era (64 slots) above slot 5, the archive's \
         highest, found 999995 slots above it; check the slot; pass `far` if it is right"
    );
}

/// Guards against roots with gaps, which no import can fill and no proof can explain.
#[test]
fn roots_are_appended_without_gaps_and_may_fill_gaps_from_the_end() {
    for column in [Column::BlockRoots, Column::StateRoots] {
        let dir = scratch();
        let mut archive = archive(dir.path(), all());
        let roots = |slots: &[u64]| -> Vec<(Slot, Vec<u8>)> {
            slots.iter().map(|slot| (Slot(*slot), root(*slot))).collect()
        };
        let writer = archive.writer(column).unwrap();
        let gap = ObjectionKind::RootGap;
        assert_refused(writer.put_batch(&roots(&[100, 102])), gap, 102);
        writer.put_batch(&roots(&[100, 101])).unwrap();
        assert_refused(writer.put(Slot(103), &root(103)), gap, 103);
        assert_refused(writer.put_batch(&roots(&[102, 104])), gap, 104);
        let run = writer.put_bulk(&roots(&[101, 102, 104]), |_| {});
        assert_refused(run.map_err(|stopped| stopped.error), gap, 104);
        assert_eq!(writer.highest_written_slot(), Some(Slot(101)), "a run is refused as a whole");
        writer.put_batch(&roots(&[100, 101, 102])).unwrap();
        // From behind.
        assert_refused(writer.put_batch(&roots(&[40, 42])), gap, 42);
        writer.put_batch(&roots(&[40, 41])).unwrap();
        writer.put_batch(&roots(&[0, 1])).unwrap();
        writer.put_bulk(&roots(&(98..110).collect::<Vec<_>>()), |_| {}).unwrap();
        assert_eq!(writer.highest_written_slot(), Some(Slot(109)));
    }
}

/// Guards against a round of the pipeline that lets a root in before the one below it, or refuses
/// one because the one below it came a moment later.
#[test]
fn roots_of_many_producers_share_commits_and_leave_no_gap() {
    const PRODUCERS: u64 = 8;
    let dir = scratch();
    let open =
        || ArchivePipeline::start(archive(dir.path(), all()), |_| PipelineOptions::default());
    let pipeline = open().unwrap();
    let roots = pipeline.column(Column::BlockRoots);
    roots.put(Slot(9), root(9)).unwrap();
    // What waits is decided together: those that were queued in falling order follow each other.
    for round in 0..50 {
        let first = 10 + round * PRODUCERS;
        let ready = Arc::new(Barrier::new(PRODUCERS.try_into().unwrap()));
        std::thread::scope(|scope| {
            for n in 0..PRODUCERS {
                let ready = Arc::clone(&ready);
                scope.spawn(move || {
                    let slot = first + n;
                    ready.wait();
                    let begun = Instant::now();
                    // It may have to wait for the ones below it, but is never stored before them.
                    while let Err(error) = roots.put(Slot(slot), root(slot)) {
                        assert_refused::<()>(Err(error), ObjectionKind::RootGap, slot);
                        // A producer that failed leaves the others waiting for its slot.
                        assert!(begun.elapsed() < HANG, "slot {slot}: the one below it never came");
                        std::thread::yield_now();
                    }
                });
            }
        });
    }
    let far = 10 + 50 * PRODUCERS + 1;
    assert_refused(roots.put(Slot(far), root(far)), ObjectionKind::RootGap, far);
    pipeline.shutdown();
    let mut archive = archive(dir.path(), all());
    let column = archive.writer(Column::BlockRoots).unwrap();
    assert!((9..far - 1).all(|slot| column.contains(Slot(slot)).unwrap()));
    assert_eq!(column.highest_written_slot(), Some(Slot(far - 2)));
}

/// A root that comes when it is sent: until then the writer's thread waits in its commit.
struct Held(std::sync::mpsc::Receiver<Vec<u8>>);

impl std::io::Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(root) = self.0.recv() else { return Ok(0) };
        buffer[..root.len()].copy_from_slice(&root);
        Ok(root.len())
    }
}

#[test]
fn jobs_planned_together_are_checked_in_the_order_of_their_slots() {
    let dir = scratch();
    let pipeline =
        ArchivePipeline::start(archive(dir.path(), all()), |_| PipelineOptions::default()).unwrap();
    let roots = pipeline.column(Column::BlockRoots);
    let (send, held) = std::sync::mpsc::channel();
    let first = roots.submit_from(Slot(9), 32, Box::new(Held(held))).unwrap();
    let tickets = [12, 10, 14, 11].map(|slot| roots.submit(vec![(Slot(slot), root(slot))]));
    send.send(root(9)).unwrap();
    assert_eq!(first.wait().unwrap().written, 1);
    for (slot, ticket) in [12, 10, 14, 11].into_iter().zip(tickets) {
        match slot {
            14 => assert_refused(ticket.unwrap().wait(), ObjectionKind::RootGap, 14),
            _ => assert_eq!(ticket.unwrap().wait().unwrap().written, 1, "slot {slot}"),
        }
    }
}

/// Guards against one wrong slot that no later import gets past.
#[test]
fn a_slot_far_above_the_highest_needs_far() {
    let dir = scratch();
    let too_far = ObjectionKind::TooFar;
    let mut archive = archive(dir.path(), all());
    archive.writer(Column::Blocks).unwrap().put(Slot(1000), &block(1000)).unwrap();
    // The era that begins with slot 1001 and the state behind it.
    let states = archive.writer(Column::StateSnapshots).unwrap();
    for outcome in ways(states, 1066, &state(1066)) {
        assert_refused(outcome, too_far, 1066);
    }
    let batch = [1065, 1130, 1196].map(|slot| (Slot(slot), state(slot)));
    assert_refused(states.put_batch(&batch), too_far, 1196);
    states.put_batch(&batch[..2]).unwrap();
    // Another column has grown meanwhile.
    let blocks = archive.writer(Column::Blocks).unwrap();
    blocks.put(Slot(1195), &block(1195)).unwrap();
    let pipeline = ArchivePipeline::start(archive, |_| PipelineOptions::default()).unwrap();
    let blocks = pipeline.column(Column::Blocks);
    assert_refused(blocks.put(Slot(1_000_000), block(1_000_000)), too_far, 1_000_000);
    blocks.put(Slot(1200), block(1200)).unwrap();
    let states = pipeline.column(Column::StateSnapshots);
    states.put(Slot(1265), state(1265)).unwrap();
    let far = states.clone().far(true);
    far.put(Slot(1_000_000), state(1_000_000)).unwrap();
    assert_refused(
        far.put(Slot(1_000_001), b"no state".to_vec()),
        ObjectionKind::WrongValue,
        1_000_001,
    );
}

#[test]
fn raw_writers_and_custom_columns_accept_any_value() {
    let dir = scratch();
    let mut archive = archive(dir.path(), all().raw(true));
    for column in Column::ALL {
        let writer = archive.writer(column).unwrap();
        for (way, outcome) in ways(writer, 5, b"").into_iter().enumerate() {
            assert_eq!(outcome.unwrap().written, u64::from(way == 0), "{column}");
        }
        writer.put_batch(&[(Slot(7), "x"), (Slot(9), "y")]).unwrap();
        let far = writer.put(Slot(1_000_000), b"z");
        assert_refused(far, ObjectionKind::TooFar, 1_000_000);
    }
    let options = WriterOptions::create(Column::BlockRoots.spec());
    let mut own = Writer::open(dir.path().join("own"), options).unwrap();
    own.put_batch(&[(Slot(1), &b""[..]), (Slot(1_000_000), b"x")]).unwrap();
}
