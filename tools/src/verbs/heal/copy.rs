//! `coldstore heal ARCHIVE COLUMN --from COPY`

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use coldstore::format::names;
use coldstore::{
    Checksums, Column, Door, Error, Manifest, Slot, View, WriterOptions, removal, replace_by_copy,
};
use serde::Serialize;

use crate::failure::Answer;
use crate::open;
use crate::output::{self, Decimal, Output, hex};

/// Bytes of a signed block up to its message: an offset and a signature.
const MESSAGE: usize = 100;
/// Where in the message the roots lie, behind slot and proposer.
const PARENT_ROOT: usize = MESSAGE + 16;
const STATE_ROOT: usize = PARENT_ROOT + 32;

#[derive(Serialize)]
struct ReplacedObject {
    column: &'static str,
    records: Decimal,
    highest_slot: Option<Decimal>,
    /// Roots in blocks that were compared with the columns of roots.
    compared_roots: Decimal,
}

/// Replaces a column by a copy that agrees with the others.
pub(super) fn replace(archive: &Path, column: Column, copy: &Path, json: bool) -> Result<Answer> {
    removal::finish_intents(archive)?;
    let inside = copy.join(column.dir_name());
    let copy = if inside.join(names::CONF).exists() { &*inside } else { copy };
    let view = open::directory(copy, column)?.view();
    let known = Manifest::read(archive)?.unwrap_or_default();
    // Any distance from what is left of the archive.
    let door = Door::new(column).genesis_validators_root(known.genesis_validators_root).far(true);
    let options = WriterOptions::create(column.spec()).checksums(Checksums::On).door(door);
    let mut compared = 0;
    let directory = archive.join(column.dir_name());
    let mended = replace_by_copy(&directory, &view, options, |new| {
        compared = check(archive, column, new)?;
        Ok(())
    })
    .with_context(|| format!("{column} from {}", copy.display()))?;
    Manifest::update(archive, |manifest| {
        manifest.raise_highest(column, mended.highest);
        Ok(())
    })?;
    let mut out = Output::stdout();
    if json {
        out.json_line(&ReplacedObject {
            column: column.dir_name(),
            records: Decimal(mended.records),
            highest_slot: mended.highest.map(|slot| Decimal(slot.0)),
            compared_roots: Decimal(compared),
        })?;
    } else {
        let highest =
            mended.highest.map_or("empty".to_owned(), |slot| format!("highest slot {slot}"));
        writeln!(out, "{column}: replaced by {} records; {highest}", mended.records)?;
    }
    out.flush()?;
    output::tell(&match compared {
        0 => "there was nothing in the archive to compare them with".to_owned(),
        roots => format!("{roots} roots in blocks agree with the columns of roots"),
    });
    if known.column(column).highest > mended.highest {
        output::tell("the copy ends before the column did: import the eras after it again");
    }
    Ok(Answer::Yes)
}

/// Compares the parent root and the state root in every block with the columns of roots, one of the
/// three being the new one. Says how many were compared.
fn check(archive: &Path, column: Column, new: &Path) -> coldstore::Result<u64> {
    let view_of = |of: Column| -> coldstore::Result<Option<View>> {
        let directory = if of == column { new.to_owned() } else { archive.join(of.dir_name()) };
        match open::directory(&directory, of) {
            Ok(reader) => Ok(Some(reader.view())),
            Err(Error::NoSuchColumn { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    if !matches!(column, Column::Blocks | Column::BlockRoots | Column::StateRoots) {
        return Ok(0);
    }
    let Some(blocks) = view_of(Column::Blocks)? else { return Ok(0) };
    let (block_roots, state_roots) = (view_of(Column::BlockRoots)?, view_of(Column::StateRoots)?);
    let mut compared = 0;
    for record in blocks.range(..) {
        let record = record?;
        let (slot, block) = (record.slot(), record.value()?);
        let mut compare = |of: Column, view: &Option<View>, at: Option<Slot>, offset: usize| {
            let (Some(view), Some(at)) = (view, at) else { return Ok(()) };
            let (Some(held), Some(told)) = (view.get_stored(at)?, block.get(offset..offset + 32))
            else {
                return Ok(());
            };
            compared += 1;
            if held == told {
                return Ok(());
            }
            let wanted =
                format!("{} in {of} at slot {at}, as in the block of slot {slot}", hex(told));
            Err(Error::corrupt(new, None, "copy", wanted, hex(held)))
        };
        // A skipped slot repeats the root before it.
        compare(Column::BlockRoots, &block_roots, slot.previous(), PARENT_ROOT)?;
        compare(Column::StateRoots, &state_roots, Some(slot), STATE_ROOT)?;
    }
    Ok(compared)
}
