//! `coldstore stat`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coldstore::stat::{ColumnStat, stat_column};
use coldstore::{Archive, Column};
use serde::Serialize;

use crate::archive_toml::ArchiveToml;
use crate::failure::{self, Answer};
use crate::networks::Root;
use crate::open;
use crate::output::{self, Decimal, Output, Table};

/// Say what each column holds
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The archive's directory
    archive: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ArchiveObject {
    config_name: Option<String>,
    genesis_validators_root: Option<Root>,
    slots_per_era: Option<Decimal>,
    columns: Vec<ColumnObject>,
}

#[derive(Serialize)]
struct ColumnObject {
    column: &'static str,
    name: &'static str,
    highest_slot: Option<Decimal>,
    lowest_slot: Option<Decimal>,
    records: Decimal,
    gaps: Decimal,
    files: Decimal,
    data_bytes: Decimal,
    offset_bytes: Decimal,
    record_type: String,
    compression: String,
    max_value_bytes: Decimal,
    conf_version: &'static str,
    backfill: BackfillObject,
}

#[derive(Serialize)]
struct BackfillObject {
    allowed: bool,
    file_id: Option<Decimal>,
    committed_length: Option<Decimal>,
}

impl Stat {
    pub(crate) fn run(self) -> Result<Answer> {
        let archive = open::archive(&self.archive)?;
        let (mut columns, mut failed) = (Vec::new(), 0);
        for column in open::present_columns(&self.archive)? {
            match stat_of(&archive, column) {
                Ok(stat) => columns.push((column, stat)),
                Err(error) => {
                    failure::tell(column, error);
                    failed += 1;
                }
            }
        }
        let network = ArchiveToml::read(&self.archive)?;
        let mut out = Output::stdout();
        if self.json {
            let columns = columns.iter().map(|(column, stat)| object(*column, stat)).collect();
            out.json_line(&ArchiveObject {
                config_name: network.as_ref().and_then(|network| network.config_name.clone()),
                genesis_validators_root: network
                    .as_ref()
                    .map(|known| known.genesis_validators_root),
                slots_per_era: network.and_then(|network| network.slots_per_era).map(Decimal),
                columns,
            })?;
        } else {
            if let Some(network) = network {
                writeln!(out, "network {network}")?;
            }
            table(&columns).print(&mut out)?;
        }
        out.flush()?;
        failure::none_failed(failed, "column", "read")
    }
}

fn stat_of(archive: &Archive, column: Column) -> coldstore::Result<ColumnStat> {
    stat_column(&archive.column(column)?.view())
}

fn object(column: Column, stat: &ColumnStat) -> ColumnObject {
    let conf = &stat.conf;
    let target = conf.backfill_target();
    ColumnObject {
        column: column.dir_name(),
        name: column.long_name(),
        highest_slot: conf.highest.map(|slot| Decimal(slot.0)),
        lowest_slot: stat.lowest.map(|slot| Decimal(slot.0)),
        records: Decimal(stat.records),
        gaps: Decimal(stat.gaps),
        files: Decimal(stat.files),
        data_bytes: Decimal(stat.data_bytes),
        offset_bytes: Decimal(stat.offset_bytes),
        record_type: output::hex(&conf.spec.record_type),
        compression: conf.spec.compression.to_string(),
        max_value_bytes: Decimal(conf.spec.max_value_bytes),
        conf_version: conf.version(),
        backfill: BackfillObject {
            allowed: conf.allows_backfill(),
            file_id: target.map(|target| Decimal(target.file_id.0)),
            committed_length: target.map(|target| Decimal(target.data_len)),
        },
    }
}

fn table(columns: &[(Column, ColumnStat)]) -> Table {
    let mut table = Table::new(&[
        "column",
        "highest",
        "records",
        "gaps",
        "files",
        "data",
        "offsets",
        "compression",
        "backfill",
        "conf",
        "name",
    ]);
    for (column, stat) in columns {
        let conf = &stat.conf;
        let backfill = match (conf.allows_backfill(), conf.backfill_target()) {
            (false, _) => "off".to_owned(),
            (true, None) => "on".to_owned(),
            (true, Some(target)) => format!("on, file {}", target.file_id),
        };
        table.row(vec![
            column.to_string(),
            conf.highest.map_or_else(|| "-".to_owned(), |slot| slot.to_string()),
            stat.records.to_string(),
            stat.gaps.to_string(),
            stat.files.to_string(),
            output::bytes_for_people(stat.data_bytes),
            output::bytes_for_people(stat.offset_bytes),
            conf.spec.compression.to_string(),
            backfill,
            conf.version().to_owned(),
            column.long_name().to_owned(),
        ]);
    }
    table
}
