//! Pipelines of a whole archive.

use super::*;

/// Guards against a shared handle that does not see what it has acknowledged.
#[test]
fn an_archive_handle_reads_its_own_puts() {
    let directory = test_support::scratch();
    let options = ArchiveWriterOptions::default().raw(true).far(true).backfill(Column::StateDiffs);
    let open = || ArchivePipeline::open(directory.path(), options, |_| PipelineOptions::default());
    let archive = open().unwrap();
    std::thread::scope(|scope| {
        for producer in 0..8 {
            let archive = archive.clone();
            scope.spawn(move || {
                let column = Column::ALL[producer % 5];
                for n in 0..30 {
                    let slot = Slot(100_000 + n * 8 + producer as u64);
                    // A column without backfill refuses a slot below those of the other producer.
                    let given = slot.0.to_le_bytes().repeat(4);
                    let wanted = match archive.put(column, slot, given.clone()) {
                        Ok(_) => Some(given),
                        Err(Error::BackfillDisabled { .. }) => None,
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(archive.get(column, slot).unwrap(), wanted);
                    assert_eq!(archive.contains(column, slot).unwrap(), wanted.is_some());
                }
            });
        }
    });

    let diffs = Column::StateDiffs;
    let before = archive.range(diffs, Slot(100_000)..).unwrap();
    archive.put(diffs, Slot(200_000), vec![]).unwrap();
    let gaps = || [1, 9000, 17_000].map(item).to_vec();
    assert!(matches!(archive.put_batch(diffs, gaps()), Err(Error::SpansFiles { .. })));
    assert_eq!(archive.put_bulk(diffs, gaps()).unwrap().written, 3);
    let ticket = archive.column(diffs).submit(vec![item(2)]).unwrap();
    archive.sync().unwrap();
    assert!(archive.contains(diffs, Slot(2)).unwrap());
    assert_eq!(ticket.wait().unwrap().written, 1);

    // Both iterators own their snapshots: they outlive the handle.
    let after = archive.range(diffs, Slot(2)..Slot(100_000)).unwrap();
    archive.shutdown();
    assert!(matches!(archive.put(diffs, Slot(3), vec![]), Err(Error::ShuttingDown { .. })));
    assert_eq!(archive.get(diffs, Slot(2)).unwrap(), Some(value(2)));
    drop(open().unwrap());
    drop(archive);
    let slots = |range: OwnedRange| -> Vec<u64> {
        let records = std::thread::spawn(|| range.collect::<coldstore::Result<Vec<_>>>());
        records.join().unwrap().unwrap().iter().map(|record| record.slot().0).collect()
    };
    assert_eq!(slots(before), (0..30).map(|n| 100_004 + n * 8).collect::<Vec<_>>());
    assert_eq!(slots(after), [2, 9000, 17_000]);
}

/// Guards against a manifest that records a commit of a column whose lock is not held.
#[test]
fn a_closed_archive_records_only_the_columns_that_it_had_open() {
    let directory = test_support::scratch();
    let open = |column| {
        let options = ArchiveWriterOptions::default().raw(true).far(true).column(column);
        ArchiveWriter::open(directory.path(), options).unwrap()
    };
    drop(open(Column::BlockRoots));
    let mut archive = open(Column::Blocks);
    let roots = directory.path().join(Column::BlockRoots.dir_name());
    writer(&roots, Column::BlockRoots, false).put(Slot(3), &[1; 32]).unwrap();
    archive.writer(Column::Blocks).unwrap().put(Slot(5), b"a block").unwrap();
    drop(archive);
    let manifest = Manifest::read(directory.path()).unwrap().unwrap();
    let highest = |column| manifest.column(column).highest;
    assert_eq!((highest(Column::Blocks), highest(Column::BlockRoots)), (Some(Slot(5)), None));
}
