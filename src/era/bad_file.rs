//! Classifies files that are not `.era` files: an operator fixes an error page from a server differently
//! from a truncated download.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::e2store::{RecordFile, record_type};
use crate::error::{Error, Result};
use crate::format::record::{HEADER_BYTES, RecordHeader};

/// Number of bytes inspected at either end of a file.
const PROBE_BYTES: u64 = 4096;
/// A file modified within this time may still be growing.
const RECENT: Duration = Duration::from_secs(60);

/// A file that cannot be imported. Displayed, it says what the file seems to be instead.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadFile {
    /// Its path.
    pub path: PathBuf,
    /// Why it is not an `.era` file: file, offset, what was wanted and found.
    pub error: Error,
    looks: Looks,
    /// Whether it was modified within the last minute.
    is_recent: bool,
}

/// What a file that is not an `.era` file seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looks {
    /// Not a part of an `.era` file.
    Other(&'static str),
    /// An incomplete `.era` file, or a file before its first byte arrived.
    Incomplete(String),
    /// None of these, or unreadable: see the error.
    Damaged,
}

impl BadFile {
    pub(super) fn new(path: PathBuf, error: Error) -> Self {
        let looks = match &error {
            Error::Io { .. } => Ok(Looks::Damaged),
            _ => RecordFile::open(path.clone()).and_then(|mut file| Looks::of(&mut file)),
        };
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let is_recent = modified.is_ok_and(|modified| {
            SystemTime::now().duration_since(modified).is_ok_and(|ago| ago < RECENT)
        });
        Self { path, error, looks: looks.unwrap_or(Looks::Damaged), is_recent }
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.looks {
            Looks::Damaged => self.error.fmt(f),
            Looks::Other(what) => write!(f, "{path}: {what}"),
            Looks::Incomplete(what) if self.is_recent => write!(
                f,
                "{path}: {what}, and modified within the last minute: it may still be growing"
            ),
            Looks::Incomplete(what) => write!(f, "{path}: {what}"),
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
    fn of(file: &mut RecordFile) -> Result<Self> {
        let head = probe(file, 0)?;
        let looks = Self::of_head(&head);
        if looks != Self::Damaged || !head.starts_with(&record_type::VERSION) {
            return Ok(looks);
        }
        match Self::of_records(file)? {
            Self::Damaged if ends_with_zeros(file)? => Ok(Self::Incomplete(
                "zeros at its end: space that was reserved and not filled".into(),
            )),
            looks => Ok(looks),
        }
    }

    fn of_head(head: &[u8]) -> Self {
        const PACKED: [(&[u8], &str); 6] = [
            (b"\x1f\x8b", "gzip: unpack it first"),
            (b"\x28\xb5\x2f\xfd", "zstd: unpack it first"),
            (b"\xfd7zXZ", "xz: unpack it first"),
            (b"BZh", "bzip2: unpack it first"),
            (b"PK\x03\x04", "zip: unpack it first"),
            (b"7z\xbc\xaf", "7z: unpack it first"),
        ];
        if head.is_empty() {
            return Self::Incomplete("empty".into());
        }
        if head.iter().all(|byte| *byte == 0) {
            return Self::Incomplete("zeros: space that was reserved and not filled".into());
        }
        if let Some((_, what)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Other(what);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let starts_with = |prefix: &str| {
            text.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let is_xml = starts_with("<?xml");
        // Some pages are XHTML.
        let is_page = is_xml && text.windows(5).any(|window| window.eq_ignore_ascii_case(b"<html"));
        if is_page || ["<!doctype html", "<html", "<head", "<body"].into_iter().any(starts_with) {
            return Self::Other("an HTML page");
        }
        if is_xml {
            return Self::Other("an XML document");
        }
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        if head.iter().all(is_text) { Self::Other("a text file") } else { Self::Damaged }
    }

    /// Walks the record headers of an `.era` file, as far as they are valid.
    fn of_records(file: &mut RecordFile) -> Result<Self> {
        const KNOWN: [[u8; 2]; 4] =
            [record_type::VERSION, record_type::BLOCK, record_type::STATE, record_type::SLOT_INDEX];
        let byte_len = file.byte_len;
        let (mut offset, mut last) = (0_u64, record_type::VERSION);
        while offset < byte_len {
            let after_header = offset.saturating_add(HEADER_BYTES);
            if after_header > byte_len {
                return Ok(Self::truncated(byte_len, after_header));
            }
            let mut bytes = [0; size_of::<RecordHeader>()];
            file.read_exact_at(offset, &mut bytes, "record header")?;
            let header = RecordHeader::from_bytes(bytes);
            if !KNOWN.contains(&header.record_type) || header.reserved != [0, 0] {
                return Ok(Self::Damaged);
            }
            offset = after_header.saturating_add(header.length.get().into());
            last = header.record_type;
        }
        if offset > byte_len {
            return Ok(Self::truncated(byte_len, offset));
        }
        if last == record_type::SLOT_INDEX {
            return Ok(Self::Damaged);
        }
        let (divisor, unit) = unit_of(byte_len);
        let there = tenths(byte_len, divisor);
        Ok(Self::Incomplete(format!("truncated: {there} {unit}, and no index at its end")))
    }

    /// A file whose last record ends at `end`.
    fn truncated(byte_len: u64, end: u64) -> Self {
        let (divisor, unit) = unit_of(end);
        let [there, wanted] = [byte_len, end].map(|bytes| tenths(bytes, divisor));
        Self::Incomplete(format!("truncated: {there} of at least {wanted} {unit}"))
    }
}

/// Whether the file ends with more zeros than an index can end with.
fn ends_with_zeros(file: &mut RecordFile) -> Result<bool> {
    const MOST_OF_AN_INDEX: usize = 16;
    let tail = probe(file, file.byte_len.saturating_sub(PROBE_BYTES))?;
    Ok(tail.iter().rev().take_while(|byte| **byte == 0).count() > MOST_OF_AN_INDEX)
}

/// Reads up to [`PROBE_BYTES`] bytes from `offset`.
fn probe(file: &mut RecordFile, offset: u64) -> Result<Vec<u8>> {
    let count = file.byte_len.saturating_sub(offset).min(PROBE_BYTES);
    let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
    file.read_exact_at(offset, &mut bytes, "file")?;
    Ok(bytes)
}
