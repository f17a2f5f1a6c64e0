//! The lines of `verify` about columns.

use coldstore::verify::Summary;
use coldstore::{Column, Manifest};

/// The summary of a column: records checked, findings, and what remains unknown.
pub(super) fn of_column(column: Column, summary: &Summary, damages: u64) -> String {
    let Summary { records, files, with_checksum, unread_records, unreadable, undecided, .. } =
        *summary;
    let mut line = format!("{column}: {}", count(records, "record", "records"));
    line += &format!(" in {}, ", count(files, "file", "files"));
    line += &if damages == 0 { "no damage".to_owned() } else { format!("{damages} damage") };
    if with_checksum > 0 {
        line += &format!("; {with_checksum} compared with their checksums");
        if summary.not_compared() > 0 {
            line += &format!(", {} not", summary.not_compared());
        }
    }
    if unreadable > 0 {
        let places = count(unreadable, "place", "places");
        let records = count(unread_records, "record", "records");
        line += &format!("; {places} cannot be read, in {records}");
    }
    if undecided > 0 {
        let places = count(undecided, "place", "places");
        line += &format!("; {places} where nothing tells whether a record was lost");
    }
    line
}

/// Warns that only checksums show whether a record is unchanged.
pub(super) fn without_sums(columns: &[&str]) -> Option<String> {
    let columns = columns.join(", ");
    (!columns.is_empty()).then(|| {
        format!("there was nothing to compare the records of {columns} with: no checksums are kept")
    })
}

/// Warns that the newest state is unproved and may be replaced.
pub(in crate::verbs) fn unproved_state(manifest: &Manifest) -> Option<String> {
    manifest.unproved_state.map(|slot| {
        format!(
            "the state of slot {slot} is not proved yet: the next era proves it, or a trusted state \
             root"
        )
    })
}

fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        more => format!("{more} {many}"),
    }
}
