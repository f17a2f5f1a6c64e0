//! Classifies files that are not `.era` files: an operator fixes an error page from a server differently
//! from a truncated download.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use coldstore::Error;
use coldstore::era::BadFile;
use coldstore::format::record::{HEADER_BYTES, RecordHeader};

/// Number of bytes inspected at either end of a file.
const PROBE_BYTES: u64 = 4096;
/// A file modified within this time may still be growing.
const RECENT: Duration = Duration::from_secs(60);

const VERSION: [u8; 2] = *b"e2";
const SLOT_INDEX: [u8; 2] = *b"i2";
/// The types of records in `.era` files: versions, blocks, states and indices.
const KNOWN: [[u8; 2]; 4] = [VERSION, [1, 0], [2, 0], SLOT_INDEX];

/// Displays what a bad file seems to be, or else its error.
pub(super) struct Described<'a>(pub(super) &'a BadFile);

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

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadFile { path, error, .. } = self.0;
        let looks = match error {
            Error::Io { .. } => Looks::Damaged,
            _ => looks_of(path).unwrap_or(Looks::Damaged),
        };
        match looks {
            Looks::Damaged => return error.fmt(f),
            Looks::Other(what) => write!(f, "{}: {what}", path.display())?,
            Looks::Incomplete(what) => {
                write!(f, "{}: {what}", path.display())?;
                if is_recent(path) {
                    f.write_str(", and modified within the last minute: it may still be growing")?;
                }
            }
        }
        Ok(())
    }
}

fn looks_of(path: &Path) -> io::Result<Looks> {
    let file = File::open(path)?;
    Looks::of(&file, file.metadata()?.len())
}

fn is_recent(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now().duration_since(modified).is_ok_and(|ago| ago < RECENT)
    })
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
    match divisor {
        1 => byte_len.to_string(),
        _ => format!("{}.{}", byte_len / divisor, byte_len % divisor * 10 / divisor),
    }
}

impl Looks {
    fn of(file: &File, byte_len: u64) -> io::Result<Self> {
        let head = probe(file, 0, byte_len)?;
        let looks = Self::of_head(&head);
        if looks != Self::Damaged || !head.starts_with(&VERSION) {
            return Ok(looks);
        }
        match Self::of_records(file, byte_len)? {
            Self::Damaged if ends_with_zeros(file, byte_len)? => Ok(Self::Incomplete(
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
    fn of_records(file: &File, byte_len: u64) -> io::Result<Self> {
        let (mut offset, mut last) = (0_u64, VERSION);
        while offset < byte_len {
            let after_header = offset + HEADER_BYTES;
            if after_header > byte_len {
                return Ok(Self::truncated(byte_len, after_header));
            }
            let mut bytes = [0; size_of::<RecordHeader>()];
            file.read_exact_at(&mut bytes, offset)?;
            let header = RecordHeader::from_bytes(bytes);
            if !KNOWN.contains(&header.record_type) || header.reserved != [0, 0] {
                return Ok(Self::Damaged);
            }
            offset = after_header + u64::from(header.length.get());
            last = header.record_type;
        }
        if offset > byte_len {
            return Ok(Self::truncated(byte_len, offset));
        }
        if last == SLOT_INDEX {
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
fn ends_with_zeros(file: &File, byte_len: u64) -> io::Result<bool> {
    const MOST_OF_AN_INDEX: usize = 16;
    let tail = probe(file, byte_len.saturating_sub(PROBE_BYTES), byte_len)?;
    Ok(tail.iter().rev().take_while(|byte| **byte == 0).count() > MOST_OF_AN_INDEX)
}

/// Reads up to [`PROBE_BYTES`] bytes from `offset`.
fn probe(file: &File, offset: u64, byte_len: u64) -> io::Result<Vec<u8>> {
    let count = byte_len.saturating_sub(offset).min(PROBE_BYTES);
    let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests make files by hand")]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What a file of these bytes seems to be; empty if its error says it.
    fn looks(bytes: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        match Looks::of(&file, bytes.len() as u64).unwrap() {
            Looks::Other(what) => what.to_owned(),
            Looks::Incomplete(what) => what,
            Looks::Damaged => String::new(),
        }
    }

    const VERSION_RECORD: &[u8] = b"e2\0\0\0\0\0\0";

    #[test]
    fn a_file_is_recognized_by_its_first_bytes() {
        for (bytes, wanted) in [
            (&b""[..], "empty"),
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b"\xef\xbb\xbf\r\n <HTML lang=en>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><!DOCTYPE html><html>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>", "an XML document"),
            (b"404: not found\n", "a text file"),
            (b"\x1f\x8b\x08\0", "gzip: unpack it first"),
            (b"\x28\xb5\x2f\xfd\0", "zstd: unpack it first"),
            (&[0; 9000], "zeros: space that was reserved and not filled"),
            (&[0xff; 9000], ""),
            (b"e3\0\0\0\0\0\0", ""),
        ] {
            assert_eq!(looks(bytes), wanted, "{:?}", &bytes[..bytes.len().min(40)]);
        }
    }

    #[test]
    fn a_file_that_ends_early_is_recognized_by_its_truncated_record() {
        let block = [VERSION_RECORD, b"\x01\0\x10\0\0\0\0\0", &[7; 16]].concat();
        for (byte_len, wanted) in [
            (9, "truncated: 9 of at least 16 bytes"),
            (15, "truncated: 15 of at least 16 bytes"),
            (16, "truncated: 16 of at least 32 bytes"),
            (31, "truncated: 31 of at least 32 bytes"),
            (32, "truncated: 32 bytes, and no index at its end"),
            (8, "truncated: 8 bytes, and no index at its end"),
        ] {
            assert_eq!(looks(&block[..byte_len]), wanted);
        }
        let zeros = looks(&[&block[..], &[0; 17]].concat());
        assert_eq!(zeros, "zeros at its end: space that was reserved and not filled");
        assert_eq!(looks(&[&block[..], b"i2\x01\0\0\0\0\0\x01"].concat()), "");
        assert_eq!(looks(&[&block[..], b"\x09\0\xff\0\0\0\0\0"].concat()), "");
    }

    #[test]
    fn both_lengths_have_the_same_unit() {
        let truncated = |byte_len, end| Looks::truncated(byte_len, end);
        let looks = |text: &str| Looks::Incomplete(text.to_owned());
        assert_eq!(truncated(3_149_000, 7_000_001), looks("truncated: 3.1 of at least 7.0 MB"));
        assert_eq!(truncated(900, 2_500), looks("truncated: 0.9 of at least 2.5 kB"));
    }

    #[test]
    fn a_recent_truncated_file_may_still_be_growing() {
        use coldstore::era::{ImportError, ImportPlan};

        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.era");
        std::fs::write(&path, VERSION_RECORD).unwrap();
        let error = ImportPlan::scan(&[&path]).unwrap_err();
        let ImportError::BadFiles { files } = error else { panic!("{error}") };
        let what = "truncated: 8 bytes, and no index at its end";
        let growing = "and modified within the last minute: it may still be growing";
        let path = path.display();
        assert_eq!(Described(&files[0]).to_string(), format!("{path}: {what}, {growing}"));
    }
}
