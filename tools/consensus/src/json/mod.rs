//! States and their fields as JSON, in the encoding of the beacon API: numbers as decimal strings, bytes and
//! bits as `0x` hex, fields by their names in the order of the container.
//!
//! SSZ bytes come in by [`Write`], in pieces of any length, and leave as text at once: a state of hundreds of
//! megabytes takes its fixed part (3 MB on mainnet), an element and a buffer of memory. The bytes are
//! untrusted: whatever is not the canonical encoding of a value is refused.

mod state;
mod value;

use std::io::{self, Write};

use self::value::{Fault, Text};
use crate::containers::Layouts;
use crate::fork::Fork;
use crate::hash::{Malformed, check_count};
use crate::preset::Preset;
use crate::ssz::{Kind, Type};

pub use self::state::StateJson;

/// Writes one field of a state as JSON while its SSZ bytes are written to this.
///
/// Errors of [`Write`] are those of the output, and [`io::ErrorKind::InvalidData`] with a [`Malformed`] inside
/// for bytes that are not a value of the field's type.
#[derive(Debug)]
pub struct FieldJson<W: Write> {
    name: &'static str,
    text: Text<W>,
    value: ValueInPieces,
}

impl<W: Write> FieldJson<W> {
    /// A field by its name in the specification; `None` if states of the fork have no such field.
    pub fn new(preset: Preset, fork: Fork, name: &str, out: W) -> Option<Self> {
        let layout = Layouts::of(preset).states.iter().find(|layout| layout.fork == fork)?;
        let field = layout.fields.iter().find(|field| field.name == name)?;
        let value = ValueInPieces::new(field.of);
        Some(Self { name: field.name, text: Text::new(out), value })
    }

    /// Ends the value, flushes, and returns the output.
    ///
    /// # Errors
    /// As those of [`Write`]; also if bytes are missing.
    pub fn finish(mut self) -> io::Result<W> {
        let ended = self.value.end(&mut self.text);
        ended.map_err(|fault| fault.inside(self.name))?;
        self.text.into_out()
    }
}

impl<W: Write> Write for FieldJson<W> {
    fn write(&mut self, ssz: &[u8]) -> io::Result<usize> {
        let pushed = self.value.push(ssz, &mut self.text);
        pushed.map_err(|fault| fault.inside(self.name))?;
        Ok(ssz.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}

/// A value whose bytes come in pieces. The elements of a list are written as they become complete; another value
/// is kept until its end.
#[derive(Debug)]
struct ValueInPieces {
    of: &'static Type,
    /// The bytes of an incomplete element, or of the value.
    part: Vec<u8>,
    /// Number of elements written.
    count: u64,
}

impl ValueInPieces {
    fn new(of: &'static Type) -> Self {
        Self { of, part: Vec::new(), count: 0 }
    }

    /// The element of a list that is written element by element, its length, and the limit of their number.
    fn element(&self) -> Option<(&'static Type, usize, u64)> {
        let Kind::List { element, limit } = self.of.kind else { return None };
        element.fixed_len.map(|byte_len| (element, byte_len, limit))
    }

    fn push<W: Write>(&mut self, mut bytes: &[u8], text: &mut Text<W>) -> Result<(), Fault> {
        let Some((element, element_len, limit)) = self.element() else {
            if (self.part.len() + bytes.len()) as u64 > self.of.max_len {
                let wanted = format!("at most {} bytes", self.of.max_len);
                return Err(Malformed::new(wanted, "more").into());
            }
            self.part.extend_from_slice(bytes);
            return Ok(());
        };
        if !self.part.is_empty() {
            let missing = (element_len - self.part.len()).min(bytes.len());
            self.part.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.part.len() < element_len {
                return Ok(());
            }
            let part = std::mem::take(&mut self.part);
            self.one(element, &part, limit, text)?;
            self.part = part;
            self.part.clear();
        }
        let elements = bytes.chunks_exact(element_len);
        self.part.extend_from_slice(elements.remainder());
        for bytes in elements {
            self.one(element, bytes, limit, text)?;
        }
        Ok(())
    }

    fn one<W: Write>(
        &mut self,
        element: &Type,
        bytes: &[u8],
        limit: u64,
        text: &mut Text<W>,
    ) -> Result<(), Fault> {
        check_count(self.count + 1, limit)?;
        text.raw(if self.count == 0 { "[" } else { "," });
        self.count += 1;
        text.value(element, bytes)
    }

    fn end<W: Write>(&mut self, text: &mut Text<W>) -> Result<(), Fault> {
        let Some((_, element_len, _)) = self.element() else {
            return text.value(self.of, &self.part);
        };
        if !self.part.is_empty() {
            let wanted = format!("whole elements of {element_len} bytes");
            let found = format!("{} bytes after {} of them", self.part.len(), self.count);
            return Err(Malformed::new(wanted, found).into());
        }
        text.raw(if self.count == 0 { "[]" } else { "]" });
        Ok(())
    }
}
