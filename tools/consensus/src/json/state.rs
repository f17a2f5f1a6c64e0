//! A whole state.

use std::io::{self, Write};

use super::ValueInPieces;
use super::value::{Fault, Text};
use crate::containers::{Layouts, PAYLOAD_HEADER_FIELD, StateLayout};
use crate::hash::{Malformed, offset_at};
use crate::preset::Preset;
use crate::ssz::OFFSET_BYTES;
use crate::state::{StatePrefix, roots_end, settled, variable_lens};

/// Writes a state as JSON while its SSZ bytes are written to this.
///
/// Its fork is that of the bytes' layout. Errors of [`Write`] are those of the output, and
/// [`io::ErrorKind::InvalidData`] with a [`Malformed`] inside for bytes that are not a state of a known fork.
#[derive(Debug)]
pub struct StateJson<W: Write> {
    preset: Preset,
    text: Text<W>,
    /// The fixed part, as far as it has come.
    fixed: Vec<u8>,
    /// Layouts still possible; none before the length of the fixed part is known.
    layouts: Vec<&'static StateLayout>,
    /// The next field to write, and its offset in the fixed part.
    next: (usize, usize),
    /// The variable fields with their lengths; the last one ends with the state.
    variable: std::vec::IntoIter<(usize, Option<u64>)>,
    /// The variable field being read, and the number of bytes still to come.
    current: Option<(ValueInPieces, u64)>,
}

impl<W: Write> StateJson<W> {
    /// The JSON of a state with this preset.
    pub fn new(preset: Preset, out: W) -> Self {
        Self {
            preset,
            text: Text::new(out),
            fixed: Vec::new(),
            layouts: Vec::new(),
            next: (0, 0),
            variable: Vec::new().into_iter(),
            current: None,
        }
    }

    /// Ends the state, flushes, and returns the output.
    ///
    /// # Errors
    /// As those of [`Write`]; also if bytes are missing.
    pub fn finish(mut self) -> io::Result<W> {
        self.end()?;
        self.text.into_out()
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.layouts.is_empty() || self.current.is_none() {
            let wanted = format!("a state of {} bytes or more", self.fixed_len()?);
            return Err(Malformed::new(wanted, format!("{} bytes", self.fixed.len())).into());
        }
        if let Some((_, left)) = self.current.as_ref()
            && self.variable.len() > 0
        {
            let malformed = Malformed::new(format!("{left} bytes more"), "the end");
            return Err(Fault::from(malformed).inside(self.name()));
        }
        self.end_field()?;
        self.text.raw("}");
        Ok(())
    }

    /// Number of bytes of the fixed part, or, as long as that is unknown, of the prefix that tells it.
    fn fixed_len(&self) -> Result<usize, Malformed> {
        let prefix = StatePrefix::byte_len(self.preset);
        if self.fixed.len() < prefix {
            return Ok(prefix);
        }
        offset_at(&self.fixed, roots_end(self.preset)).map(|fixed_len| fixed_len.max(prefix))
    }

    /// Takes bytes of the fixed part; returns the others.
    fn push_fixed<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let fixed_len = self.fixed_len()?;
        let (fixed, others) = bytes.split_at(bytes.len().min(fixed_len - self.fixed.len()));
        self.fixed.extend_from_slice(fixed);
        if self.fixed.len() == StatePrefix::byte_len(self.preset) {
            let fixed_len = self.fixed_len()?;
            let states = Layouts::of(self.preset).states.iter();
            let layouts = states.filter(|layout| layout.fixed_len == fixed_len);
            self.layouts = layouts.collect();
            if self.layouts.is_empty() {
                let preset = self.preset;
                let wanted =
                    format!("a fixed part as long as that of a fork in the {preset} preset");
                return Err(Malformed::new(wanted, format!("{fixed_len} bytes")).into());
            }
        }
        if self.layouts.first().is_some_and(|layout| layout.fixed_len == self.fixed.len()) {
            self.variable = variable_lens(self.layouts[0].fields, &self.fixed)?.into_iter();
            self.begin_field()?;
        }
        Ok(others)
    }

    fn name(&self) -> &'static str {
        self.layouts[0].fields.get(self.next.0).map_or("", |field| field.name)
    }

    /// Writes the fixed fields up to the next variable one, and begins that. Variable fields without a byte end
    /// at once.
    fn begin_field(&mut self) -> Result<(), Fault> {
        loop {
            let variable = self.variable.next();
            let fields = self.layouts[0].fields;
            let end = variable.map_or(fields.len(), |(index, _)| index);
            for field in &fields[self.next.0..end] {
                let byte_len = field.of.fixed_len.unwrap_or_default();
                let bytes = &self.fixed[self.next.1..][..byte_len];
                self.text.name(self.next == (0, 0), field.name);
                let written = self.text.value(field.of, bytes);
                written.map_err(|fault| fault.inside(field.name))?;
                self.next.1 += byte_len;
            }
            self.next.0 = end;
            let Some((_, byte_len)) = variable else { return Ok(()) };
            self.text.name(self.next == (0, 0), fields[end].name);
            let possible = self.layouts.iter().map(|layout| layout.fields[end].of);
            let longest = possible.max_by_key(|of| of.max_len).unwrap_or(fields[end].of);
            let value = ValueInPieces::new(longest);
            self.current = Some((value, byte_len.unwrap_or(u64::MAX)));
            if byte_len != Some(0) {
                return Ok(());
            }
            self.end_value()?;
        }
    }

    /// Ends the variable field that is being read.
    fn end_value(&mut self) -> Result<(), Fault> {
        let Some((mut value, _)) = self.current.take() else { return Ok(()) };
        let index = self.next.0;
        if self.name() == PAYLOAD_HEADER_FIELD {
            let settled = settled(&self.layouts, index, &value.part);
            let layout = settled.map_err(|malformed| malformed.inside(PAYLOAD_HEADER_FIELD))?;
            self.layouts = vec![layout];
            value.of = layout.fields[index].of;
        }
        value.end(&mut self.text).map_err(|fault| fault.inside(self.name()))?;
        self.next = (index + 1, self.next.1 + OFFSET_BYTES);
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), Fault> {
        self.end_value()?;
        self.begin_field()
    }
}

impl<W: Write> Write for StateJson<W> {
    fn write(&mut self, ssz: &[u8]) -> io::Result<usize> {
        let mut bytes = ssz;
        while !bytes.is_empty() {
            let name = if self.layouts.is_empty() { "" } else { self.name() };
            let Some((value, left)) = &mut self.current else {
                bytes = self.push_fixed(bytes)?;
                continue;
            };
            let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            let (of_field, others) = bytes.split_at(here);
            value.push(of_field, &mut self.text).map_err(|fault| fault.inside(name))?;
            *left -= here as u64;
            bytes = others;
            if *left == 0 {
                self.end_field()?;
            }
        }
        Ok(ssz.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}
