//! A client's cold store, in the shape of Lighthouse's, over an archive.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use coldstore::{
    ArchivePipeline, ArchiveWriterOptions, Checksums, Column, PipelineOptions, Result, Slot,
};
use coldstore_consensus::Root;
use coldstore_history::roots::{self, Kind};

/// What the client stores: values by column and slot, and for each root its slot.
trait ColdStore: Send + Sync {
    fn get(&self, column: DbColumn, slot: Slot) -> Result<Option<Vec<u8>>>;
    fn contains(&self, column: DbColumn, slot: Slot) -> Result<bool>;
    /// Stores everything that became final, durably. After an error or a crash, put it again.
    fn put_batch(&self, batch: Vec<(DbColumn, Slot, Vec<u8>)>) -> Result<()>;
    /// The records from a slot on. The iterator is the caller's: it borrows nothing of the store.
    fn iter_from(&self, column: DbColumn, from: Slot) -> Result<ColumnIter>;
    fn slot_of_block(&self, block_root: Root) -> Result<Option<Slot>>;
    fn slot_of_state(&self, state_root: Root) -> Result<Option<Slot>>;
    /// Returns when everything put before, by any thread, is durable.
    fn sync(&self) -> Result<()>;
}

type ColumnIter = Box<dyn Iterator<Item = Result<(Slot, Vec<u8>)>> + Send>;

/// The client's names of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DbColumn {
    StateSnapshot,
    StateDiff,
    Block,
    BlockRoots,
    StateRoots,
}

impl DbColumn {
    fn column(self) -> Column {
        match self {
            DbColumn::StateSnapshot => Column::StateSnapshots,
            DbColumn::StateDiff => Column::StateDiffs,
            DbColumn::Block => Column::Blocks,
            DbColumn::BlockRoots => Column::BlockRoots,
            DbColumn::StateRoots => Column::StateRoots,
        }
    }

    fn roots(self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.column() == self.column())
    }
}

struct StaticColdStore {
    archive: ArchivePipeline,
    /// Slots of the roots that were put after the last update of the index.
    recent: RwLock<HashMap<(Column, Root), Slot>>,
}

impl StaticColdStore {
    /// Opens the archive and takes its locks. Backfill, because a client that starts at a checkpoint fills
    /// its history downwards.
    fn open(root: &Path) -> Result<Self> {
        let options = ArchiveWriterOptions::default().checksums(Checksums::On);
        let options = Column::ALL.into_iter().fold(options, ArchiveWriterOptions::backfill);
        let archive = ArchivePipeline::open(root, options, |_| PipelineOptions::default())?;
        Ok(Self { archive, recent: RwLock::default() })
    }

    /// Writes recent roots to the index on disk. For a thread in the background, every few thousand slots.
    fn update_index(&self) -> Result<()> {
        let recent = || self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let indexed: Vec<_> = recent().keys().copied().collect();
        for kind in Kind::ALL {
            let view = self.archive.view(kind.column())?;
            roots::update_kind(self.archive.root(), kind, &view, false, &mut |_| ())?;
        }
        let mut recent = recent();
        for root in indexed {
            recent.remove(&root);
        }
        Ok(())
    }

    fn slot_of(&self, kind: Kind, root: Root) -> Result<Option<Slot>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = recent.get(&(kind.column(), root)) {
            return Ok(Some(*slot));
        }
        drop(recent);
        // Scans the column for a root that is not in the index. If strangers may ask for any root,
        // update the index after opening, and call `slot_by_index` here.
        roots::slot_of(self.archive.root(), kind, &self.archive.view(kind.column())?, &root)
    }
}

impl ColdStore for StaticColdStore {
    fn get(&self, column: DbColumn, slot: Slot) -> Result<Option<Vec<u8>>> {
        self.archive.get(column.column(), slot)
    }

    fn contains(&self, column: DbColumn, slot: Slot) -> Result<bool> {
        self.archive.contains(column.column(), slot)
    }

    /// Columns commit one by one: the values first, side by side, and then the roots. A slot with a root is
    /// complete.
    fn put_batch(&self, batch: Vec<(DbColumn, Slot, Vec<u8>)>) -> Result<()> {
        let mut columns: BTreeMap<DbColumn, BTreeMap<Slot, Vec<u8>>> = BTreeMap::new();
        for (column, slot, value) in batch {
            columns.entry(column).or_default().insert(slot, value);
        }
        let roots = columns.split_off(&DbColumn::BlockRoots);
        let mut tickets = Vec::new();
        for (column, items) in columns {
            let items = items.into_iter().collect();
            tickets.extend(self.archive.column(column.column()).submit_bulk(items)?);
        }
        for ticket in tickets {
            ticket.wait()?;
        }
        for (column, items) in roots {
            let Some(kind) = column.roots() else { continue };
            self.archive.put_bulk(kind.column(), items.clone().into_iter().collect())?;
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            for (slot, root) in items {
                // A skipped slot repeats the root of the block before it.
                if let Ok(root) = root.try_into() {
                    let first = recent.entry((kind.column(), Root(root))).or_insert(slot);
                    *first = slot.min(*first);
                }
            }
        }
        Ok(())
    }

    fn iter_from(&self, column: DbColumn, from: Slot) -> Result<ColumnIter> {
        let records = self.archive.range(column.column(), from..)?;
        Ok(Box::new(records.map(|record| record.map(|record| (record.slot(), record.to_vec())))))
    }

    fn slot_of_block(&self, block_root: Root) -> Result<Option<Slot>> {
        self.slot_of(Kind::Block, block_root)
    }

    fn slot_of_state(&self, state_root: Root) -> Result<Option<Slot>> {
        self.slot_of(Kind::State, state_root)
    }

    fn sync(&self) -> Result<()> {
        self.archive.sync()
    }
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = StaticColdStore::open(directory.path())?;
    // The smallest values that the archive's checks accept. Slot 2 is skipped.
    let block = |slot: u64| [&100u32.to_le_bytes()[..], &[0; 96], &slot.to_le_bytes()].concat();
    let state = |slot: u64| [&[0; 40][..], &slot.to_le_bytes()].concat();
    store.put_batch(vec![
        (DbColumn::StateSnapshot, Slot(0), state(0)),
        (DbColumn::StateDiff, Slot(3), b"diff to slot 0".to_vec()),
        (DbColumn::Block, Slot(1), block(1)),
        (DbColumn::Block, Slot(3), block(3)),
        (DbColumn::BlockRoots, Slot(1), vec![1; 32]),
        (DbColumn::BlockRoots, Slot(2), vec![1; 32]),
        (DbColumn::BlockRoots, Slot(3), vec![3; 32]),
        (DbColumn::StateRoots, Slot(3), vec![33; 32]),
    ])?;
    store.sync()?;

    assert_eq!(store.get(DbColumn::Block, Slot(3))?, Some(block(3)));
    assert!(!store.contains(DbColumn::Block, Slot(2))?);
    let blocks = store.iter_from(DbColumn::Block, Slot(0))?;
    let blocks = std::thread::spawn(move || blocks.collect::<Result<Vec<_>>>());
    let blocks = blocks.join().expect("no panic")?;
    assert_eq!(blocks, [(Slot(1), block(1)), (Slot(3), block(3))]);

    // By what was put last, then by the index, then by a scan.
    for is_indexed in [false, true] {
        assert_eq!(store.slot_of_block(Root([1; 32]))?, Some(Slot(1)));
        assert_eq!(store.slot_of_state(Root([33; 32]))?, Some(Slot(3)));
        assert_eq!(store.slot_of_state(Root([1; 32]))?, None);
        assert_eq!(store.recent.read().expect("no panic").is_empty(), is_indexed);
        store.update_index()?;
    }
    Ok(())
}
