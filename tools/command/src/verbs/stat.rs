//! `coldstore stat`

mod records;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coldstore::stat::{PutAside, put_aside};
use coldstore::{Column, Compression, Manifest, MappedArchive, SLOTS_PER_FILE, Slot};
use serde_json::{Value, json};

use self::records::{
    ColumnStat, EraStat, RecordQuestions, RecordSize, RecordStat, each_record, stat_column,
    stat_records,
};
use crate::absence::is_of_states;
use crate::chain::{Chain, preset_of};
use crate::failure::{self, Answer};
use crate::layers::Layers;
use crate::notes;
use crate::open;
use crate::output::{self, Output, Table};

/// Print records, gaps, bytes and compression of each column
///
/// Bytes per era and the largest records come from the offset tables. The compression ratio is measured
/// on a few hundred evenly spaced records. Where states are stored in layers, the records and bytes of
/// each layer are listed, with the bytes of a year at that rate.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The archive's directory
    archive: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Number of largest records listed, and size of the sample for the ratio.
const ASKED: RecordQuestions = RecordQuestions { largest: 5, sample: 512 };

/// The counts of one column.
struct Counted {
    column: Column,
    stat: ColumnStat,
    records: RecordStat,
    slots_per_era: u64,
    pruned_before: Option<Slot>,
    put_aside: Vec<PutAside>,
}

impl Stat {
    pub(crate) fn run(self) -> Result<Answer> {
        notes::tell_lacking(&self.archive)?;
        notes::tell_unknown(&self.archive)?;
        let archive = open::archive(&self.archive)?;
        let manifest = Manifest::read(&self.archive)?.unwrap_or_default();
        let network = Chain::recorded(&manifest);
        // If the chain is unknown, assumes the usual length of an era: that of a file.
        let chain = Chain::of(&self.archive)?;
        let slots_per_era = chain.slots_per_era.unwrap_or(SLOTS_PER_FILE);
        let (mut columns, mut failed) = (Vec::new(), 0);
        for column in open::present_columns(&self.archive)? {
            match stat_of(&archive, column, slots_per_era) {
                Ok(mut counted) => {
                    counted.put_aside = put_aside(self.archive.join(column.dir_name()))?;
                    let pruned_before = manifest.column(column).pruned_before;
                    columns.push(Counted { pruned_before, ..counted });
                }
                Err(error) => {
                    failure::tell(column, error);
                    failed += 1;
                }
            }
        }
        let layers = layers_of(&archive, &manifest, &chain, &columns)?;
        let mut out = Output::stdout();
        if self.json {
            let mut object = json!({
                "config_name": network.config_name,
                "genesis_validators_root": network.genesis_validators_root,
                "slots_per_era": network.slots_per_era,
                // The slot of the newest state, as long as nothing proves it.
                "unproved_state": manifest.unproved_state.map(|slot| slot.0),
                "totals": totals(&columns).object(),
            });
            if let Some(layers) = &layers {
                object["states"] = layers.object();
            }
            object["columns"] = columns.iter().map(object_of).collect();
            out.json_line(&object)?;
        } else {
            if network != Chain::default() {
                writeln!(out, "{}", output::wrap(&format!("network {network}")))?;
            }
            table(&columns).print(&mut out)?;
            if !columns.is_empty() {
                let of_eras = format!("\nby eras of {slots_per_era} slots, bytes of data files\n");
                out.write_all(of_eras.as_bytes())?;
                growth_table(&columns).print(&mut out)?;
                writeln!(out)?;
                settings_table(&columns).print(&mut out)?;
            }
            if let Some(layers) = &layers {
                out.write_all(b"\nstates by layer; a year is extrapolated from the average\n")?;
                layers.table().print(&mut out)?;
            }
            for Counted { column, pruned_before, .. } in &columns {
                if let Some(before) = pruned_before {
                    writeln!(out, "{column}: pruned: everything before slot {before} was removed")?;
                }
            }
            for (column, aside) in
                columns.iter().flat_map(|of| of.put_aside.iter().map(|a| (of.column, a)))
            {
                let line = format!("{column}: {}: {}", aside.file.display(), aside.in_words());
                writeln!(out, "{}", output::wrap(&line))?;
            }
            if let Some(line) = notes::unproved_state(&manifest) {
                writeln!(out, "{}", output::wrap(&line))?;
            }
        }
        out.flush()?;
        failure::none_failed(failed, "column", "read")
    }
}

/// The stored states by layer, of the columns that can be read.
fn layers_of(
    archive: &MappedArchive,
    manifest: &Manifest,
    chain: &Chain,
    columns: &[Counted],
) -> Result<Option<Layers>> {
    let preset = preset_of(chain, archive)?.ok();
    let mut layers = Layers::of(archive.root(), manifest, chain, preset)?;
    if let Some(layers) = &mut layers {
        for column in columns.iter().map(|counted| counted.column) {
            if is_of_states(column) {
                let view = archive.column(column)?.view();
                each_record(&view, |slot, bytes| layers.count(column, slot, bytes))?;
            }
        }
    }
    Ok(layers)
}

fn stat_of(
    archive: &MappedArchive,
    column: Column,
    slots_per_era: u64,
) -> coldstore::Result<Counted> {
    let view = archive.column(column)?.view();
    let era_of = |slot: Slot| match column {
        // The state at an era's end belongs to that era.
        Column::StateSnapshots | Column::StateDiffs => slot.0.div_ceil(slots_per_era),
        _ => slot.0 / slots_per_era + 1,
    };
    let stat = stat_column(&view)?;
    let records = stat_records(&view, stat.records, ASKED, era_of)?;
    Ok(Counted { column, stat, records, slots_per_era, pruned_before: None, put_aside: Vec::new() })
}

impl Counted {
    /// Average over the eras from the first to the last with a record.
    fn average_bytes_per_era(&self) -> u64 {
        let eras = &self.records.eras;
        let Some((first, last)) = eras.first().zip(eras.last()) else { return 0 };
        let bytes: u64 = eras.iter().map(|era| era.data_bytes).sum();
        bytes / (last.era - first.era + 1)
    }

    fn ratio(&self) -> Option<f64> {
        let sample = self.records.sample;
        let is_compressed = self.stat.conf.spec.compression != Compression::None;
        (is_compressed && sample.stored_bytes > 0)
            .then(|| sample.value_bytes as f64 / sample.stored_bytes as f64)
    }

    /// A bar chart of bytes by era.
    fn trend(&self) -> String {
        const WIDTH: u64 = 12;
        let eras = &self.records.eras;
        let Some((first, last)) = eras.first().zip(eras.last()) else { return "-".to_owned() };
        let span = last.era - first.era + 1;
        let width = span.min(WIDTH);
        // Bars may differ by one era, so each shows the average per era.
        let bar_of = |era: u64| u128::from(era) * u128::from(width) / u128::from(span);
        let bars: Vec<u64> = (0..width)
            .map(|bar| {
                let of_bar: Vec<u64> = eras
                    .iter()
                    .filter(|era| bar_of(era.era - first.era) == u128::from(bar))
                    .map(|era| era.data_bytes)
                    .collect();
                of_bar.iter().sum::<u64>() / (of_bar.len() as u64).max(1)
            })
            .collect();
        let most = bars.iter().copied().max().unwrap_or(0).max(1);
        let glyph = |bytes: u64| if bytes == 0 { ' ' } else { output::bar(bytes, most) };
        bars.into_iter().map(glyph).collect()
    }
}

/// Sums over all columns.
struct Totals {
    records: u64,
    files: u64,
    data_bytes: u64,
    offset_bytes: u64,
}

fn totals(columns: &[Counted]) -> Totals {
    let sum = |of: fn(&ColumnStat) -> u64| columns.iter().map(|counted| of(&counted.stat)).sum();
    Totals {
        records: sum(|stat| stat.records),
        files: sum(|stat| stat.files),
        data_bytes: sum(|stat| stat.data_bytes),
        offset_bytes: sum(|stat| stat.offset_bytes),
    }
}

impl Totals {
    fn object(&self) -> Value {
        let Self { records, files, data_bytes, offset_bytes } = self;
        json!({
            "records": records,
            "files": files,
            "data_bytes": data_bytes,
            "offset_bytes": offset_bytes,
            "bytes": data_bytes + offset_bytes,
        })
    }
}

fn growth_table(columns: &[Counted]) -> Table {
    let mut table =
        Table::new(&["column", "eras", "average", "last", "trend", "ratio", "largest", "at slot"]);
    for counted in columns {
        let RecordStat { eras, largest, .. } = &counted.records;
        let none = || "-".to_owned();
        let last = eras.last().map(|era| output::bytes_for_people(era.data_bytes));
        let largest = largest.first();
        table.row(vec![
            counted.column.to_string(),
            eras.len().to_string(),
            output::bytes_for_people(counted.average_bytes_per_era()),
            last.unwrap_or_else(none),
            counted.trend(),
            counted.ratio().map_or_else(none, |ratio| format!("{ratio:.2}")),
            largest.map_or_else(none, |size| output::bytes_for_people(size.stored_bytes)),
            largest.map_or_else(none, |size| size.slot.to_string()),
        ]);
    }
    table
}

fn object_of(counted: &Counted) -> Value {
    let Counted { column, stat, records, .. } = counted;
    let conf = &stat.conf;
    let target = conf.backfill_target();
    let era = |era: &EraStat| {
        let EraStat { era, records, data_bytes } = era;
        json!({ "era": era, "records": records, "data_bytes": data_bytes })
    };
    let record =
        |size: &RecordSize| json!({ "slot": size.slot.0, "stored_length": size.stored_bytes });
    let aside = |aside: &PutAside| {
        let file = aside.file.display().to_string();
        json!({ "file": file, "bytes": aside.byte_len, "what": aside.in_words() })
    };
    let mut object = json!({
        "column": column.dir_name(),
        "name": column.long_name(),
        "highest_slot": conf.highest.map(|slot| slot.0),
        "lowest_slot": stat.lowest.map(|slot| slot.0),
        "pruned_before": counted.pruned_before.map(|slot| slot.0),
        "records": stat.records,
        "gaps": stat.gaps,
        "files": stat.files,
        "data_bytes": stat.data_bytes,
        "offset_bytes": stat.offset_bytes,
        "record_type": const_hex::encode_prefixed(conf.spec.record_type),
        "compression": conf.spec.compression.to_string(),
        "max_value_bytes": conf.spec.max_value_bytes,
        "conf_version": conf.version(),
        "backfill": {
            "allowed": conf.allows_backfill(),
            "file_id": target.map(|target| target.file_id.0),
            "committed_length": target.map(|target| target.data_len),
        },
        "growth": {
            "slots_per_era": counted.slots_per_era,
            "average_bytes_per_era": counted.average_bytes_per_era(),
            "eras": records.eras.iter().map(era).collect::<Vec<_>>(),
        },
        // Bytes of values per stored byte; null if the column is uncompressed or empty.
        "compression_ratio": counted.ratio(),
        "compression_sample": records.sample.records,
        "largest_records": records.largest.iter().map(record).collect::<Vec<_>>(),
    });
    if !counted.put_aside.is_empty() {
        object["put_aside"] = counted.put_aside.iter().map(aside).collect();
    }
    object
}

fn table(columns: &[Counted]) -> Table {
    let mut table =
        Table::new(&["column", "highest", "records", "gaps", "files", "data", "offsets"]);
    for Counted { column, stat, .. } in columns {
        table.row(vec![
            column.to_string(),
            stat.conf.highest.map_or_else(|| "-".to_owned(), |slot| slot.to_string()),
            stat.records.to_string(),
            stat.gaps.to_string(),
            stat.files.to_string(),
            output::bytes_for_people(stat.data_bytes),
            output::bytes_for_people(stat.offset_bytes),
        ]);
    }
    if columns.len() > 1 {
        let sum = totals(columns);
        table.row(vec![
            "total".to_owned(),
            String::new(),
            sum.records.to_string(),
            String::new(),
            sum.files.to_string(),
            output::bytes_for_people(sum.data_bytes),
            output::bytes_for_people(sum.offset_bytes),
        ]);
    }
    table
}

fn settings_table(columns: &[Counted]) -> Table {
    let mut table = Table::new(&["column", "name", "compression", "backfill", "conf"]);
    for Counted { column, stat, .. } in columns {
        let conf = &stat.conf;
        let backfill = match (conf.allows_backfill(), conf.backfill_target()) {
            (false, _) => "off".to_owned(),
            (true, None) => "on".to_owned(),
            (true, Some(target)) => format!("on, file {}", target.file_id),
        };
        table.row(vec![
            column.to_string(),
            column.long_name().to_owned(),
            conf.spec.compression.to_string(),
            backfill,
            conf.version().to_owned(),
        ]);
    }
    table
}
