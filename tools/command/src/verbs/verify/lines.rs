//! The lines of `verify` about columns.

use coldstore::Column;
use coldstore::verify::Summary;

use crate::output::count;

/// The summary of a column: records checked, findings, and what remains unknown.
pub(super) fn of_column(column: Column, summary: &Summary, damages: u64) -> String {
    let Summary { records, files, with_checksum, unread_records, unreadable, undecided, .. } =
        *summary;
    let mut line = format!("{column}: {}", count(records, "record"));
    line += &format!(" in {}, ", count(files, "file"));
    line += &if damages == 0 { "no damage".to_owned() } else { format!("{damages} damage") };
    if with_checksum > 0 {
        line += &format!("; {with_checksum} compared with their checksums");
        if summary.not_compared() > 0 {
            line += &format!(", {} not", summary.not_compared());
        }
    }
    if unreadable > 0 {
        let places = count(unreadable, "place");
        let records = count(unread_records, "record");
        line += &format!("; {places} cannot be read, in {records}");
    }
    if undecided > 0 {
        let places = count(undecided, "place");
        line += &format!("; {places} where a record may have been lost");
    }
    line
}

/// Warns that only checksums show whether a record is unchanged.
pub(super) fn without_sums(columns: &[&str]) -> Option<String> {
    let columns = columns.join(", ");
    (!columns.is_empty())
        .then(|| format!("the records of {columns} were not compared: no checksums are kept"))
}
