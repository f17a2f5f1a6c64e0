//! Classifies files that are not `.era` files: an operator fixes an error page from a server differently
//! from a truncated download.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::e2store::{RecordFile, record_type};
use crate::error::{Error, Result};
use crate::format::record::{HEADER_BYTES, RecordHeader};

/// Number of bytes inspected at either end of a file.
const PROBE_BYTES: u64 = 4096;
/// A file modified within this time may still be growing.
const RECENT: Duration = Duration::from_secs(60);

/// A file that cannot be imported.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadFile {
    /// Its path.
    pub path: PathBuf,
    /// What the file seems to be instead.
    looks: Looks,
    /// Whether it was modified within the last minute.
    is_recent: bool,
    /// Why it is not an `.era` file: file, offset, what was wanted and found.
    pub error: Error,
}

/// What a file that is not an `.era` file seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    /// An empty file.
    Empty,
    /// An HTML page, as servers send it in place of a missing file.
    Html,
    /// An XML document, as object stores send it in place of a missing file.
    Xml,
    /// Any other text.
    Text,
    /// A compressed file or archive, with the name of its format. It must be unpacked first.
    Packed(&'static str),
    /// Only zeros at its start: preallocated space that was not filled.
    Zeros,
    /// An `.era` file whose tail is zeros.
    ZerosAtEnd,
    /// A truncated `.era` file.
    CutShort {
        /// Length of the file in bytes.
        byte_len: u64,
        /// Length in bytes that the file needs to complete its last record, if that record is truncated.
        at_least: Option<u64>,
    },
    /// The file cannot be read.
    Unreadable,
    /// None of the others: see the error.
    Damaged,
}

impl BadFile {
    pub(super) fn new(path: PathBuf, error: Error) -> Self {
        let looks = match &error {
            Error::Io { .. } => Looks::Unreadable,
            _ => Looks::of(&path).unwrap_or(Looks::Damaged),
        };
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let is_recent = modified.is_ok_and(|modified| {
            SystemTime::now().duration_since(modified).is_ok_and(|ago| ago < RECENT)
        });
        Self { path, looks, is_recent, error }
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.looks {
            Looks::Unreadable | Looks::Damaged => return self.error.fmt(f),
            looks => write!(f, "{}: {looks}", self.path.display())?,
        }
        let may_grow = matches!(
            self.looks,
            Looks::Empty | Looks::Zeros | Looks::ZerosAtEnd | Looks::CutShort { .. }
        );
        if may_grow && self.is_recent {
            f.write_str(", and written to within the last minute: it may still be growing")?;
        }
        Ok(())
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Looks::Empty => f.write_str("empty"),
            Looks::Html => f.write_str("an HTML page"),
            Looks::Xml => f.write_str("an XML document"),
            Looks::Text => f.write_str("a text"),
            Looks::Packed(by) => write!(f, "{by}: unpack it first"),
            Looks::Zeros => f.write_str("zeros: its space was reserved and not filled"),
            Looks::ZerosAtEnd => f.write_str("zeros at its end: it was not filled up to there"),
            Looks::CutShort { byte_len, at_least: Some(at_least) } => {
                let (divisor, unit) = unit_of(*at_least);
                let [there, wanted] = [byte_len, at_least].map(|bytes| tenths(*bytes, divisor));
                write!(f, "cut short: {there} of at least {wanted} {unit}")
            }
            Looks::CutShort { byte_len, at_least: None } => {
                let (divisor, unit) = unit_of(*byte_len);
                let there = tenths(*byte_len, divisor);
                write!(f, "cut short: {there} {unit}, and no index at its end")
            }
            Looks::Unreadable => f.write_str("unreadable"),
            Looks::Damaged => f.write_str("damaged"),
        }
    }
}

/// The largest unit not above a length, and the unit's size in bytes.
fn unit_of(byte_len: u64) -> (u64, &'static str) {
    [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")]
        .into_iter()
        .find(|(divisor, _)| byte_len >= *divisor)
        .unwrap_or((1, "bytes"))
}

/// `byte_len` in units of `divisor`, with one decimal.
fn tenths(byte_len: u64, divisor: u64) -> String {
    let whole = byte_len.checked_div(divisor).unwrap_or_default();
    if divisor == 1 {
        return whole.to_string();
    }
    let rest = byte_len.checked_rem(divisor).unwrap_or_default();
    let tenth = rest.saturating_mul(10).checked_div(divisor).unwrap_or_default();
    format!("{whole}.{tenth}")
}

impl Looks {
    fn of(path: &Path) -> Result<Self> {
        Self::of_records(&mut RecordFile::open(path.to_path_buf())?)
    }

    fn of_records(file: &mut RecordFile) -> Result<Self> {
        if file.byte_len() == 0 {
            return Ok(Self::Empty);
        }
        let head = probe(file, 0)?;
        if let Some(looks) = Self::of_head(&head) {
            return Ok(looks);
        }
        if !head.starts_with(&record_type::VERSION) {
            return Ok(Self::Damaged);
        }
        match Self::of_walk(file)? {
            Self::Damaged if ends_with_zeros(file)? => Ok(Self::ZerosAtEnd),
            looks => Ok(looks),
        }
    }

    fn of_head(head: &[u8]) -> Option<Self> {
        const PACKED: [(&[u8], &str); 6] = [
            (b"\x1f\x8b", "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\xfd7zXZ", "xz"),
            (b"BZh", "bzip2"),
            (b"PK\x03\x04", "zip"),
            (b"7z\xbc\xaf", "7z"),
        ];
        if head.iter().all(|byte| *byte == 0) {
            return Some(Self::Zeros);
        }
        if let Some((_, by)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Some(Self::Packed(by));
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let starts_with = |prefix: &str| {
            text.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        if ["<!doctype html", "<html", "<head", "<body"].into_iter().any(starts_with) {
            return Some(Self::Html);
        }
        if starts_with("<?xml") {
            // Some pages are XHTML.
            let is_page = text.windows(5).any(|window| window.eq_ignore_ascii_case(b"<html"));
            return Some(if is_page { Self::Html } else { Self::Xml });
        }
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        head.iter().all(is_text).then_some(Self::Text)
    }

    /// Walks the record headers of an `.era` file, as far as they are valid.
    fn of_walk(file: &mut RecordFile) -> Result<Self> {
        let byte_len = file.byte_len();
        let cut = |at_least| Self::CutShort { byte_len, at_least };
        let (mut offset, mut last) = (0_u64, record_type::VERSION);
        while offset < byte_len {
            let after_header = offset.saturating_add(HEADER_BYTES);
            if after_header > byte_len {
                return Ok(cut(Some(after_header)));
            }
            let mut bytes = [0; size_of::<RecordHeader>()];
            file.read_exact_at(offset, &mut bytes, "record header")?;
            let header = RecordHeader::from_bytes(bytes);
            let is_known = [
                record_type::VERSION,
                record_type::BLOCK,
                record_type::STATE,
                record_type::SLOT_INDEX,
            ]
            .contains(&header.record_type);
            if !is_known || header.reserved != [0, 0] {
                return Ok(Self::Damaged);
            }
            (offset, last) =
                (after_header.saturating_add(header.length.get().into()), header.record_type);
        }
        Ok(match last {
            _ if offset > byte_len => cut(Some(offset)),
            record_type::SLOT_INDEX => Self::Damaged,
            _ => cut(None),
        })
    }
}

/// Whether the file ends with more zeros than an index can end with.
fn ends_with_zeros(file: &mut RecordFile) -> Result<bool> {
    const MOST_OF_AN_INDEX: usize = 16;
    let tail = probe(file, file.byte_len().saturating_sub(PROBE_BYTES))?;
    Ok(tail.iter().rev().take_while(|byte| **byte == 0).count() > MOST_OF_AN_INDEX)
}

/// Reads up to [`PROBE_BYTES`] bytes from `offset`.
fn probe(file: &mut RecordFile, offset: u64) -> Result<Vec<u8>> {
    let count = file.byte_len().saturating_sub(offset).min(PROBE_BYTES);
    let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
    file.read_exact_at(offset, &mut bytes, "file")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(bytes: &[u8]) -> Looks {
        Looks::of_records(&mut RecordFile::of_bytes(bytes.to_vec(), "x.era".into())).unwrap()
    }

    const VERSION: &[u8] = b"e2\0\0\0\0\0\0";

    #[test]
    fn a_file_is_told_by_its_first_bytes() {
        for (bytes, wanted) in [
            (&b""[..], Looks::Empty),
            (b"<!DOCTYPE html><html>", Looks::Html),
            (b"\xef\xbb\xbf\r\n <HTML lang=en>", Looks::Html),
            (b"<?xml version=\"1.0\"?><!DOCTYPE html><html>", Looks::Html),
            (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>", Looks::Xml),
            (b"404: not found\n", Looks::Text),
            (b"\x1f\x8b\x08\0", Looks::Packed("gzip")),
            (b"\x28\xb5\x2f\xfd\0", Looks::Packed("zstd")),
            (&[0; 9000], Looks::Zeros),
            (&[0xff; 9000], Looks::Damaged),
            (b"e3\0\0\0\0\0\0", Looks::Damaged),
        ] {
            assert_eq!(looks(bytes), wanted, "{:?}", &bytes[..bytes.len().min(40)]);
        }
    }

    #[test]
    fn a_file_that_ends_early_is_told_by_the_record_that_is_cut() {
        let block = [VERSION, b"\x01\0\x10\0\0\0\0\0", &[7; 16]].concat();
        for (byte_len, at_least) in
            [(9, Some(16)), (15, Some(16)), (16, Some(32)), (31, Some(32)), (32, None), (8, None)]
        {
            let wanted = Looks::CutShort { byte_len: byte_len as u64, at_least };
            assert_eq!(looks(&block[..byte_len]), wanted, "{byte_len}");
        }
        assert_eq!(looks(&[&block[..], &[0; 17]].concat()), Looks::ZerosAtEnd);
        assert_eq!(looks(&[&block[..], b"i2\x01\0\0\0\0\0\x01"].concat()), Looks::Damaged);
        assert_eq!(looks(&[&block[..], b"\x09\0\xff\0\0\0\0\0"].concat()), Looks::Damaged);
    }

    #[test]
    fn lengths_are_told_in_one_unit() {
        let cut = |byte_len, at_least| Looks::CutShort { byte_len, at_least }.to_string();
        assert_eq!(cut(3_149_000, Some(7_000_001)), "cut short: 3.1 of at least 7.0 MB");
        assert_eq!(cut(900, Some(2_500)), "cut short: 0.9 of at least 2.5 kB");
        assert_eq!(cut(9, Some(16)), "cut short: 9 of at least 16 bytes");
        assert_eq!(cut(2_000_000_000, None), "cut short: 2.0 GB, and no index at its end");
    }
}
