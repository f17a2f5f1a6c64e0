//! The SSZ bytes of a state for who pulls them.

use std::io::{self, Read};

use super::columns::StateRef;

/// Reads a state as SSZ from its start to its end; in memory is only its fixed part, 3 MB of a mainnet state.
#[derive(Debug)]
pub struct SszReader<'a> {
    fixed: Vec<u8>,
    /// Bytes of the fixed part that were read.
    at: usize,
    part: &'a [u8],
    parts: std::vec::IntoIter<&'a [u8]>,
}

impl<'a> SszReader<'a> {
    pub(super) fn new(state: StateRef<'a>) -> io::Result<Self> {
        let (fixed, parts) = (state.fixed_part()?, state.variable_parts());
        Ok(Self { fixed, at: 0, part: &[], parts: parts.into_iter() })
    }
}

impl Read for SszReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at < self.fixed.len() {
            let read = (&self.fixed[self.at..]).read(out)?;
            self.at += read;
            return Ok(read);
        }
        while self.part.is_empty() {
            match self.parts.next() {
                Some(part) => self.part = part,
                None => return Ok(0),
            }
        }
        self.part.read(out)
    }
}
