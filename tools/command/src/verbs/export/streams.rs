//! Exports slot streams of columns, or of a range of their slots.

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use coldstore::{Column, Manifest, Slot, View};
use coldstore_client::slot_stream;
use coldstore_history::atomic_file;
use serde_json::json;

use crate::failure::{Answer, Usage};
use crate::open;
use crate::out_file::{OutFile, Outcome};
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::signals;

pub(super) fn export(
    archive: &Path,
    out: &Path,
    columns: Vec<Column>,
    slots: &RangeInclusive<Slot>,
    json: bool,
) -> Result<Answer> {
    let columns = if columns.is_empty() { open::present_columns(archive)? } else { columns };
    let opened = open::archive(archive)?;
    let manifest = Manifest::read(archive)?.unwrap_or_default();
    for column in &columns {
        let pruned = manifest.column(*column).pruned_before;
        if let Some(before) = pruned.filter(|before| slots.start() < before) {
            output::tell(&format!("{column}: everything before slot {before} was pruned"));
        }
    }
    let stop = signals::stop_flag()?;
    if out == Path::new("-") {
        let [column] = columns[..] else {
            return Err(Usage("--out - takes one --column".to_owned()).into());
        };
        if json {
            return Err(Usage("--json does not go with --out -".to_owned()).into());
        }
        let view = opened.column(column)?.view();
        let mut stdout = Output::for_bytes("> FILE")?;
        write_stream(&view, slots, &mut stdout, &mut |_| Ok(()))?;
        stdout.flush()?;
        return Ok(Answer::Yes);
    }
    atomic_file::create_dir(out)?;
    let mut files = Vec::new();
    for column in columns {
        let view = opened.column(column)?.view();
        let path = out.join(format!("{column}.e2s"));
        let progress = Progress::of_bytes(&format!("export {column}"), None);
        let mut file = OutFile::begin(&path)?;
        let mut watch = |bytes| {
            progress.set_position(bytes);
            stopped(&stop)
        };
        let (records, bytes) = write_stream(&view, slots, &mut file, &mut watch)
            .with_context(|| column.to_string())?;
        let outcome = match file.finish()? {
            Outcome::Written => "written",
            Outcome::Present => "present",
        };
        drop(progress);
        output::tell(&format!(
            "{}: {records} records, {}, {outcome}",
            path.display(),
            output::bytes_for_people(bytes)
        ));
        files.push(json!({
            "column": column.dir_name(),
            "file": path.display().to_string(),
            "outcome": outcome,
            "records": records,
            "bytes": bytes,
        }));
    }
    if json {
        output::print_json(&json!({ "files": files }))?;
    }
    Ok(Answer::Yes)
}

fn stopped(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("the export was stopped");
    }
    Ok(())
}

/// Writes a stream, and returns the number of records and bytes. Stops with an error at the first
/// unreadable record, because a partial stream is not a copy of a column.
fn write_stream(
    view: &View,
    slots: &RangeInclusive<Slot>,
    out: &mut impl Write,
    watch: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<(u64, u64)> {
    slot_stream::write_start(out)?;
    let (mut records, mut bytes) = (0, slot_stream::WORD_BYTES as u64);
    let record_type = view.conf().spec.record_type;
    for record in view.range(slots.clone()) {
        let record = record?;
        let slot = record.slot();
        let value = record.value().with_context(|| format!("slot {slot}"))?;
        slot_stream::write_item(out, record_type, slot, &value)?;
        records += 1;
        bytes += 3 * slot_stream::WORD_BYTES as u64 + value.len() as u64;
        watch(bytes)?;
    }
    Ok((records, bytes))
}
