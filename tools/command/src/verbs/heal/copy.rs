//! `coldstore heal ARCHIVE COLUMN --from COPY`

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use coldstore::archive::held::is_there;
use coldstore::format::names;
use coldstore::{Checksums, Column, Door, Manifest, WriterOptions, removal, replace_by_copy};
use coldstore_consensus::Preset;
use serde_json::json;

use super::agreement::{Compared, compare};
use crate::chain::{Chain, preset_of};
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output, count};

/// Replaces a column by a copy that agrees with the other columns.
pub(super) fn replace(archive: &Path, column: Column, copy: &Path, json: bool) -> Result<Answer> {
    removal::finish_intents(archive)?;
    let inside = copy.join(column.dir_name());
    let copy = if is_there(&inside.join(names::CONF))? { &*inside } else { copy };
    let view = open::directory(copy, column)?.view();
    let known = Manifest::read(archive)?.unwrap_or_default();
    // The copy may end far above the rest of the archive.
    let door = Door::new(column).genesis_validators_root(known.genesis_validators_root).far(true);
    let options = WriterOptions::create(column.spec()).checksums(Checksums::On).door(door);
    let preset = known_preset(archive, column)?;
    let mut compared = Compared::default();
    let directory = archive.join(column.dir_name());
    let highest = view.highest_written_slot();
    let records = replace_by_copy(&directory, &view, options, |new| {
        compared = compare(archive, column, new, preset.as_ref().ok().copied())?;
        Ok(())
    })
    .with_context(|| format!("{column} from {}", copy.display()))?;
    Manifest::update(archive, |manifest| {
        manifest.raise_highest(column, highest);
        Ok(())
    })?;
    let not_compared = records.saturating_sub(compared.records);
    let mut out = Output::stdout();
    if json {
        out.json_line(&json!({
            "column": column.dir_name(),
            "records": records,
            "highest_slot": highest.map(|slot| slot.0),
            "compared_roots": compared.roots,
            "compared_records": compared.records,
            "not_compared_records": not_compared,
        }))?;
    } else {
        let highest = highest.map_or("empty".to_owned(), |slot| format!("highest slot {slot}"));
        writeln!(out, "{column}: replaced by {records} records; {highest}")?;
    }
    out.flush()?;
    if let Err(why) = &preset {
        output::tell(&format!("nothing was hashed: {why}"));
    }
    output::tell(&match (compared.roots, compared.records) {
        (0, _) => "the archive has nothing to compare them with".to_owned(),
        (roots, records) => format!(
            "{} and {} agree with the other columns",
            count(records, "record"),
            count(roots, "root"),
        ),
    });
    if not_compared > 0 && compared.roots > 0 {
        output::tell(&format!(
            "not compared: {} without a root in the other columns, or of an unknown fork",
            count(not_compared, "record"),
        ));
    }
    if known.column(column).highest > highest {
        output::tell("the copy ends before the old column: import the later eras again");
    }
    Ok(Answer::Yes)
}

/// The preset of the archive's chain, or why it is unknown. A column that cannot be read is an error,
/// unless it may be the one to replace.
fn known_preset(archive: &Path, replaced: Column) -> Result<std::result::Result<Preset, String>> {
    let look = || {
        let opened = open::archive(archive)?;
        preset_of(&Chain::of(archive)?, &opened)
    };
    match look() {
        Err(error) if replaced == Column::StateSnapshots => Ok(Err(format!("{error:#}"))),
        looked => looked,
    }
}
