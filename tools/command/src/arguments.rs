//! Arguments that several verbs share, and their parsers.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use coldstore::{ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Slot};

/// Arguments of a verb for one column.
#[derive(Debug, Args)]
pub(crate) struct ColumnOf {
    /// The archive's directory
    pub(crate) archive: PathBuf,
    /// The column's name
    #[arg(value_parser = column_parser())]
    pub(crate) column: Column,
}

/// Options of the verbs that write values.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DoorOptions {
    /// Accept values in any encoding, and roots with gaps. By default blocks and states must be the SSZ
    /// of the consensus specification for their slot, roots must have 32 bytes and follow each other
    /// without gaps, and empty values are refused
    #[arg(long)]
    pub(crate) raw: bool,
    /// Accept slots more than one era above the archive's highest
    #[arg(long)]
    pub(crate) far: bool,
}

impl DoorOptions {
    /// How an archive is opened for writing: with checksums.
    pub(crate) fn archive_options(self) -> ArchiveWriterOptions {
        ArchiveWriterOptions::default().checksums(Checksums::On).raw(self.raw).far(self.far)
    }

    /// Opens one column of an archive for writing.
    pub(crate) fn open(self, of: &ColumnOf, backfill: bool) -> coldstore::Result<ArchiveWriter> {
        let options = self.archive_options().column(of.column);
        let options = if backfill { options.backfill(of.column) } else { options };
        ArchiveWriter::open(&of.archive, options)
    }
}

/// Parses a column's name; completion scripts list the names.
pub(crate) fn column_parser() -> impl TypedValueParser<Value = Column> {
    let names = Column::ALL.into_iter().map(|column| {
        PossibleValue::new(column.dir_name()).alias(column.long_name()).help(column.long_name())
    });
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Column>())
}

/// Parses a slot.
pub(crate) fn parse_slot(text: &str) -> Result<Slot, String> {
    let slot: Slot = text.parse().map_err(|error| format!("a slot is a number: {error}"))?;
    if slot > Slot::MAX { Err(format!("the largest slot is {}", Slot::MAX)) } else { Ok(slot) }
}

/// `A` or `A..B`, both inclusive.
pub(crate) fn parse_eras(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| {
        text.parse().map_err(|error| format!("an era, or two with .. between them: {error}"))
    };
    ascending("era", number(first)?, number(last)?)
}

/// The range from `from` to `to`, both inclusive; a missing end is unbounded.
pub(crate) fn slot_range(
    from: Option<Slot>,
    to: Option<Slot>,
) -> Result<RangeInclusive<Slot>, String> {
    ascending("slot", from.unwrap_or(Slot(0)), to.unwrap_or(Slot::MAX))
}

/// Checks the order of a range's ends. An empty range is refused, because its ends were probably
/// swapped.
pub(crate) fn ascending<T: Copy + PartialOrd + Display>(
    unit: &str,
    from: T,
    to: T,
) -> Result<RangeInclusive<T>, String> {
    if from > to {
        return Err(format!(
            "the range is empty: its first {unit}, {from}, is above its last, {to}"
        ));
    }
    Ok(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_u64_is_not_a_slot() {
        assert_eq!(parse_slot("18446744073709551614"), Ok(Slot::MAX));
        assert!(parse_slot("18446744073709551615").is_err());
        assert!(parse_slot("-1").is_err());
    }

    #[test]
    fn the_ends_of_a_range_are_in_order() {
        assert_eq!(slot_range(None, None), Ok(Slot(0)..=Slot::MAX));
        assert_eq!(slot_range(Some(Slot(7)), Some(Slot(7))), Ok(Slot(7)..=Slot(7)));
        let wrong = slot_range(Some(Slot(9)), Some(Slot(2))).unwrap_err();
        assert_eq!(wrong, "the range is empty: its first slot, 9, is above its last, 2");
    }

    #[test]
    fn eras_are_one_or_a_range() {
        assert_eq!(parse_eras("7"), Ok(7..=7));
        assert_eq!(parse_eras("0..9"), Ok(0..=9));
        for wrong in ["", "..", "1..", "..2", "1..=2", "x", "-1", "9..0"] {
            assert!(parse_eras(wrong).is_err(), "{wrong}");
        }
    }
}
