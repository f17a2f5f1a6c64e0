//! The lists with an element per validator of several diffs, applied chunk by chunk through all of them: a chunk
//! stays in the processor's cache, and is written once.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use coldstore_consensus::Fork;

use super::super::columns::{Columns, FieldBytes, PER_VALIDATOR, StateRef, effective_balance_of};
use super::balances::increments;
use super::chunk::{ChunkColumns, Chunks, ColumnSections, ColumnSlices, ColumnTables};
use super::exceptions::Unpacker;
use super::registry::Changes;
use super::{DiffFault, DiffValue, Kind};

/// Most threads that apply chunks. Each has columns of a chunk, 1.3 MB.
const MAX_THREADS: usize = 4;

/// Diffs whose lists have not been applied yet.
#[derive(Default)]
pub(crate) struct Stack<'v> {
    /// The state under the first of them.
    base: Option<Columns>,
    layers: Vec<Layer<'v>>,
}

struct Layer<'v> {
    diff: &'v DiffValue<'v>,
    chunks: Chunks,
    sections: ColumnSections<'v>,
    /// New effective balances of validators of the base, by ascending index.
    changed: Vec<(u32, u16)>,
}

/// The lists of a diff, if all of them are in chunks.
pub(crate) fn sections_of<'v>(
    diff: &'v DiffValue<'v>,
    unpacker: &mut Unpacker,
) -> Result<Option<ColumnSections<'v>>, DiffFault> {
    if diff.kind() == Kind::Generic {
        return Ok(None);
    }
    let mut sections = ColumnSections::default();
    for section in diff.sections.iter().filter(|section| is_per_validator(section.field)) {
        let read = section.bytes().and_then(|bytes| {
            sections.read(section.field, section.encoding, bytes, diff.chunks(), unpacker)
        });
        match read.map_err(|wrong| diff.fault(Some(section.field), wrong))? {
            Some(()) => {}
            None => return Ok(None),
        }
    }
    Ok(Some(sections))
}

/// Whether a field has an element for each validator.
pub(crate) fn is_per_validator(field: &str) -> bool {
    PER_VALIDATOR.iter().any(|(name, _)| *name == field)
}

impl<'v> Stack<'v> {
    /// Whether a diff has to wait until the others are applied.
    pub(crate) fn is_other(&self, diff: &DiffValue<'_>) -> bool {
        self.layers.first().is_some_and(|layer| layer.chunks.log2 != diff.chunks().log2)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Adds a diff on `base`, of which the validators changed like that.
    pub(crate) fn push(
        &mut self,
        diff: &'v DiffValue<'v>,
        sections: ColumnSections<'v>,
        base: StateRef<'_>,
        changes: &Changes,
    ) {
        self.base.get_or_insert_with(|| base.columns.clone());
        let (added, _) = changes.added.as_chunks();
        let added = (0u32..).skip(base.validator_count()).zip(added);
        let changed = changes.changed.iter().map(|(index, one)| (*index, one)).chain(added);
        let changed = changed.map(|(index, one)| (index, increments(effective_balance_of(one))));
        let changed = changed.collect();
        self.layers.push(Layer { diff, chunks: diff.chunks(), sections, changed });
    }

    /// Applies all that waits. `columns` are those of the last diff, without these lists.
    pub(crate) fn unwind(self, base: &[u8], mut columns: Columns) -> Result<Columns, DiffFault> {
        let Some(base_columns) = &self.base else { return Ok(columns) };
        let under = StateRef { base, columns: base_columns };
        let wanted = columns.unread_fields();
        if wanted.is_empty() {
            return Ok(columns);
        }
        let mut unpacker = Unpacker::new();
        let mut tables = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let read = layer.sections.tables(&mut unpacker);
            tables.push(read.map_err(|wrong| layer.diff.fault(None, wrong))?);
        }
        let work = Work { under, layers: &self.layers, tables: &tables };
        let lists = work.run(columns.validator_count(), &wanted)?;
        for (name, list) in wanted.into_iter().zip(lists) {
            columns.set_field(name, FieldBytes::Own(Arc::new(list)));
        }
        Ok(columns)
    }
}

/// What the threads that apply chunks share.
struct Work<'w, 'v> {
    under: StateRef<'w>,
    layers: &'w [Layer<'v>],
    tables: &'w [ColumnTables],
}

/// A chunk, and where its part of each wanted list goes.
type Task<'o> = (usize, Vec<&'o mut [u8]>);

impl Work<'_, '_> {
    /// The wanted lists of the last state, which has `count` validators.
    fn run(&self, count: usize, wanted: &[&'static str]) -> Result<Vec<Vec<u8>>, DiffFault> {
        let Some(log2) = self.layers.first().map(|layer| layer.chunks.log2) else {
            return Ok(Vec::new());
        };
        let chunks = Chunks { log2, validators: count };
        let mut lists: Vec<Vec<u8>> =
            wanted.iter().map(|name| vec![0; count * element_len(name)]).collect();
        let mut tasks: Vec<Task<'_>> =
            (0..chunks.count()).map(|chunk| (chunk, Vec::new())).collect();
        for (name, list) in wanted.iter().zip(&mut lists) {
            for (task, part) in tasks.iter_mut().zip(list.chunks_mut(element_len(name) << log2)) {
                task.1.push(part);
            }
        }
        let queue = Mutex::new(tasks.into_iter());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(MAX_THREADS).min(chunks.count());
        let run = || self.run_queue(&queue, wanted);
        let results = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, run).ok())
                .collect();
            let mut results = vec![run()];
            for other in others {
                let joined = other.join();
                results.push(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        });
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(lists)
    }

    fn run_queue<'o>(
        &self,
        queue: &Mutex<impl Iterator<Item = Task<'o>>>,
        wanted: &[&'static str],
    ) -> Result<(), DiffFault> {
        let (mut columns, mut unpacker) = (ChunkColumns::default(), Unpacker::new());
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((chunk, parts)) = next else { return Ok(()) };
            self.apply(chunk, &mut columns, &mut unpacker)?;
            for (name, part) in wanted.iter().zip(parts) {
                columns.write(name, part);
            }
        }
    }

    /// Applies all layers to a chunk.
    fn apply(
        &self,
        chunk: usize,
        columns: &mut ChunkColumns,
        unpacker: &mut Unpacker,
    ) -> Result<(), DiffFault> {
        let with_scores = self.tables.iter().any(ColumnTables::needs_scores);
        self.load(chunk, columns, with_scores);
        for (layer, tables) in self.layers.iter().zip(self.tables) {
            let range = layer.chunks.range(chunk);
            if range.is_empty() {
                continue;
            }
            columns.resize(range.len(), with_scores);
            let applied = layer.sections.apply(tables, chunk, columns, unpacker);
            applied.map_err(|(field, wrong)| layer.diff.fault(Some(field), wrong))?;
            let first = layer.changed.partition_point(|(index, _)| (*index as usize) < range.start);
            let in_chunk = layer.changed[first..].iter();
            for (index, increments) in
                in_chunk.take_while(|(index, _)| range.contains(&(*index as usize)))
            {
                columns.increments[*index as usize - range.start] = *increments;
            }
        }
        Ok(())
    }

    /// The chunk in the state under the first layer.
    fn load(&self, chunk: usize, columns: &mut ChunkColumns, with_scores: bool) {
        let Some(layer) = self.layers.first() else { return };
        let chunks = Chunks { validators: self.under.validator_count(), ..layer.chunks };
        let range = chunks.range(chunk);
        let mut slices = slices_of(self.under, &[]);
        if !with_scores {
            slices.scores = &[];
        }
        columns.load(&slices, range.clone());
        load_increments(self.under, range, &mut columns.increments);
    }
}

fn element_len(name: &str) -> usize {
    PER_VALIDATOR.iter().find(|(other, _)| *other == name).map_or(1, |(_, len)| *len)
}

/// The lists of a state.
pub(crate) fn slices_of<'a>(state: StateRef<'a>, increments: &'a [u16]) -> ColumnSlices<'a> {
    let bytes = |name: &str| state.bytes_of(name).unwrap_or_default();
    ColumnSlices {
        increments,
        balances: bytes("balances").as_chunks().0,
        scores: bytes("inactivity_scores").as_chunks().0,
        previous: bytes("previous_epoch_participation"),
        current: bytes("current_epoch_participation"),
    }
}

/// The effective balances of some validators.
pub(crate) fn load_increments(state: StateRef<'_>, range: Range<usize>, out: &mut Vec<u16>) {
    out.clear();
    out.reserve(range.len());
    state.each_validator(range, |one| out.push(increments(effective_balance_of(one))));
}

/// What the penalties of a leak between two states are divided by; 0 if it cannot be known.
pub(crate) fn leak_divisor(base: StateRef<'_>, next: StateRef<'_>) -> u64 {
    /// `INACTIVITY_SCORE_BIAS` of all networks.
    const SCORE_BIAS: u64 = 4;
    let preset = next.columns.preset().values();
    // Later on, the penalties of several epochs add up.
    if next.slot().0 - base.slot().0 > preset.slots_per_epoch {
        return 0;
    }
    SCORE_BIAS
        * match next.fork() {
            None | Some(Fork::Phase0) => 0,
            Some(Fork::Altair) => preset.inactivity_penalty_quotient_altair,
            Some(_) => preset.inactivity_penalty_quotient_bellatrix,
        }
}
