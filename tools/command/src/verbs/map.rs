//! `coldstore map`

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;
use clap::Args;
use coldstore::{Column, Error, FileId, Manifest, PreadView, Reader, ReaderOptions, Slot};
use coldstore_history::occupancy::{SlotState, lowest_slot};
use serde_json::{Value, json};

use crate::arguments::{column_parser, parse_slot, slot_range};
use crate::chain::Chain;
use crate::disk;
use crate::failure::{self, Answer, Usage};
use crate::layers::Layers;
use crate::map::terminal::Terminal;
use crate::map::{Axis, ColumnMap, Counts, SlotRange, svg};
use crate::notes;
use crate::open;
use crate::output::{self, Output};

/// Draw which slots are present, skipped, pruned, missing, damaged or unreadable
///
/// Reads the offset tables and the block roots, no other data: other damage is found by `verify`. A
/// slot without a block counts as skipped if bbr repeats the root of the slot before it, else as
/// missing. In bbr and bsr every slot is expected, in bss and bsd none: of their records the layers are
/// counted.
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The archive's directory
    archive: PathBuf,
    /// The column (default: all columns of the archive)
    #[arg(value_parser = column_parser())]
    column: Option<Column>,
    /// Write the map as SVG to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON: counts by file, and all ranges of missing or damaged slots
    #[arg(long, conflicts_with = "svg")]
    json: bool,
    /// The first slot of the map
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot of the map
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    to: Option<Slot>,
}

/// Maximum number of rows on a terminal.
const TERMINAL_ROWS: u64 = 24;
/// Maximum width of a row's labels: file, slot, era, date, and separators.
const LABEL_COLUMNS: u64 = 36;
const SVG_CELLS: u64 = 64;
const SVG_ROWS: u64 = 64;
/// With more files than this, several files share a row.
const SVG_FILES: u64 = 4096;

struct Opened {
    column: Column,
    view: PreadView,
    pruned_before: Option<Slot>,
}

impl Map {
    pub(crate) fn run(self) -> Result<Answer> {
        slot_range(self.from, self.to).map_err(Usage)?;
        notes::tell_lacking(&self.archive)?;
        let manifest = Manifest::read(&self.archive)?.unwrap_or_default();
        let (columns, mut failed) = self.open_columns(&manifest)?;
        let chain = Chain::of(&self.archive).unwrap_or_else(|error| {
            output::tell(&failure::sentence(&error));
            failed += 1;
            Chain::default()
        });
        let roots = self.roots()?;
        let mut out = Output::stdout();
        let mut unreadable = 0;
        let layers = Layers::of(&self.archive, &manifest, &chain, chain.known_preset())?;
        let mut draw = |axis: Option<&Axis>| {
            let maps = draw(&columns, roots.as_ref(), manifest.first_slot, layers.as_ref(), axis)?;
            unreadable = maps.iter().map(|map| map.totals.of(SlotState::Unreadable)).sum();
            anyhow::Ok(maps)
        };
        // Pruned and lost slots are shown from the archive's first slot.
        let is_pruned = columns.iter().any(|opened| opened.pruned_before.is_some());
        let begin = manifest.first_slot.or(is_pruned.then_some(Slot(0)));
        let shown = slots(&columns, roots.as_ref(), begin, (self.from, self.to))?;
        if self.json {
            let axis = shown.map(|(first, last)| Axis::new(first, last, 1, 1));
            let maps = draw(axis.as_ref())?;
            out.json_line(&object(&maps, axis.as_ref(), &chain))?;
        } else if let Some(path) = &self.svg {
            let (first, last) = shown.unwrap_or((Slot(0), Slot(0)));
            let axis = Axis::new(first, last, SVG_CELLS, SVG_ROWS).by_files(SVG_FILES);
            let maps = draw(Some(&axis))?;
            let picture = svg::draw(&maps, &axis, &chain);
            if path == Path::new("-") {
                out.write_all(picture.as_bytes())?;
            } else {
                disk::write(path, picture.as_bytes())?;
            }
        } else if let Some((first, last)) = shown {
            let axis = Axis::new(first, last, cells_per_row(), TERMINAL_ROWS);
            let maps = draw(Some(&axis))?;
            let terminal = Terminal { axis: &axis, chain: &chain, in_color: in_color() };
            terminal.draw(&maps, &mut out)?;
        } else {
            writeln!(out, "there is no slot to show")?;
        }
        out.flush()?;
        failure::none_failed(failed, "column", "read")?;
        failure::none_failed(unreadable, "slot", "looked at")
    }

    /// Opens the columns. Returns the readable ones and the number of failures.
    fn open_columns(&self, manifest: &Manifest) -> Result<(Vec<Opened>, u64)> {
        let asked = match self.column {
            Some(column) => vec![column],
            None => open::present_columns(&self.archive)?,
        };
        let (mut columns, mut failed) = (Vec::new(), 0);
        for column in asked {
            match self.open(column) {
                Ok(view) => {
                    let pruned_before = manifest.column(column).pruned_before;
                    columns.push(Opened { column, view, pruned_before });
                }
                Err(error) => {
                    failure::tell(column, error);
                    failed += 1;
                }
            }
        }
        Ok((columns, failed))
    }

    /// Opens the block roots as a separate reader, because each reader caches the file it looks at. If
    /// they are missing or damaged, skipped slots are not recognized.
    fn roots(&self) -> Result<Option<PreadView>> {
        Ok(Error::if_sound(self.open(Column::BlockRoots))?)
    }

    /// Opens a column unmapped: a bad sector under a mapping would end the process.
    fn open(&self, column: Column) -> coldstore::Result<PreadView> {
        let directory = self.archive.join(column.dir_name());
        let options = ReaderOptions::default().expect(column.spec());
        Ok(Reader::open(directory, options)?.view())
    }
}

/// The slots to show: the requested range, or all slots from the archive's beginning.
fn slots(
    columns: &[Opened],
    roots: Option<&PreadView>,
    begin: Option<Slot>,
    (from, to): (Option<Slot>, Option<Slot>),
) -> Result<Option<(Slot, Slot)>> {
    // Slots before the first block and after the last may have been skipped, or their blocks lost.
    let roots = roots.filter(|_| columns.iter().any(|opened| opened.column == Column::Blocks));
    let views = || columns.iter().map(|opened| &opened.view).chain(roots);
    let mut lowest = begin;
    for view in views() {
        lowest = lowest.into_iter().chain(lowest_slot(view)?).min();
    }
    let Some(highest) = views().filter_map(PreadView::highest_written_slot).max() else {
        return Ok(None);
    };
    let first = from.or(lowest).unwrap_or(Slot(0));
    let last = to.map_or(highest, |to| to.min(highest));
    Ok((first <= last).then_some((first, last)))
}

/// Draws the columns in parallel, one thread each.
fn draw(
    columns: &[Opened],
    roots: Option<&PreadView>,
    begin: Option<Slot>,
    layers: Option<&Layers>,
    axis: Option<&Axis>,
) -> Result<Vec<ColumnMap>> {
    let Some(axis) = axis else { return Ok(Vec::new()) };
    thread::scope(|scope| {
        let drawn: Vec<_> = columns
            .iter()
            .map(|opened| {
                scope.spawn(move || {
                    let Opened { column, view, pruned_before } = opened;
                    let ends = (begin, *pruned_before);
                    ColumnMap::draw(*column, view, roots, ends, layers.cloned(), axis)
                })
            })
            .collect();
        let join = |drawn: thread::ScopedJoinHandle<'_, Result<ColumnMap>>| {
            drawn.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        drawn.into_iter().map(join).collect()
    })
}

/// A power of two that leaves room for the labels.
fn cells_per_row() -> u64 {
    let room = (output::width() as u64).saturating_sub(LABEL_COLUMNS).clamp(16, 128);
    1 << room.ilog2()
}

/// Follows <https://no-color.org>.
fn in_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn object(maps: &[ColumnMap], axis: Option<&Axis>, chain: &Chain) -> Value {
    json!({
        "config_name": chain.config_name,
        "genesis_validators_root": chain.genesis_validators_root,
        "slots_per_era": chain.slots_per_era,
        "first_slot": axis.map(|axis| axis.first.0),
        "last_slot": axis.map(|axis| axis.last.0),
        "columns": maps.iter().map(column_object).collect::<Vec<_>>(),
    })
}

fn column_object(map: &ColumnMap) -> Value {
    let file = |(file_id, counts): &(FileId, Counts)| {
        let mut file = json!({
            "file_id": file_id.0,
            "first_slot": file_id.first_slot().0,
            "last_slot": file_id.last_slot().0,
        });
        add_counts(&mut file, counts);
        file
    };
    let finding = |finding: &SlotRange| {
        json!({
            "state": finding.state.to_string(),
            "first_slot": finding.first.0,
            "last_slot": finding.last.0,
            "why": finding.why,
        })
    };
    let mut object = json!({
        "column": map.column.dir_name(),
        "name": map.column.long_name(),
        "lowest_slot": map.lowest.map(|slot| slot.0),
        "highest_slot": map.highest.map(|slot| slot.0),
    });
    add_counts(&mut object, &map.totals);
    if let Some(layers) = &map.layers {
        object["layers"] = layers.records();
    }
    object["files"] = map.files.iter().map(file).collect();
    object["findings"] = map.findings.iter().map(finding).collect();
    object
}

/// Adds the number of slots in each state.
fn add_counts(object: &mut Value, counts: &Counts) {
    for state in SlotState::ALL {
        object[state.to_string()] = counts.of(state).into();
    }
}
