//! Compares two values without holding either in memory.

use std::io::{self, Read};

use crate::column::Compression;
use crate::read::decode;
use crate::write::named_file::NamedFile;

/// A reader of a record's payload.
pub(super) struct StoredReader<'a> {
    pub(super) data: &'a NamedFile,
    pub(super) offset: u64,
    pub(super) end: u64,
}

impl Read for StoredReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        self.data.read_exact_at(&mut buffer[..count], self.offset).map_err(io::Error::other)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The error of a comparison: one of the two streams failed.
pub(super) enum Uncomparable {
    Held(io::Error),
    Given(io::Error),
}

/// Whether two streams yield the same bytes.
pub(super) fn compare(
    mut held: &mut dyn Read,
    mut given: &mut dyn Read,
) -> Result<bool, Uncomparable> {
    const PIECE: u64 = 64 << 10;
    let (mut of_held, mut of_given) = (Vec::new(), Vec::new());
    loop {
        of_held.clear();
        of_given.clear();
        (&mut held).take(PIECE).read_to_end(&mut of_held).map_err(Uncomparable::Held)?;
        (&mut given).take(PIECE).read_to_end(&mut of_given).map_err(Uncomparable::Given)?;
        if of_held != of_given {
            return Ok(false);
        }
        if of_held.is_empty() {
            return Ok(true);
        }
    }
}

/// Whether two payloads in stored form decode to the same value.
pub(super) fn same_value(left: &[u8], right: &[u8], compression: Compression) -> bool {
    let mut held = decode::decoder(left, compression);
    let mut given = decode::decoder(right, compression);
    left == right || matches!(compare(&mut *held, &mut *given), Ok(true))
}
