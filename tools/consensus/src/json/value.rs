//! The text of one value.

use std::io::{self, Write};

use crate::hash::{
    Malformed, bitlist_len, check_count, check_padding, count_of, element_spans, too_short,
    variable_span,
};
use crate::ssz::{Field, Kind, OFFSET_BYTES, Type, fixed_part_len};

/// The text is passed on in pieces of about this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Why a value is not written.
#[derive(Debug)]
pub(super) enum Fault {
    Out(io::Error),
    Malformed(Malformed),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Out(error)
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Out(error) => error,
            Fault::Malformed(malformed) => Self::new(io::ErrorKind::InvalidData, malformed),
        }
    }
}

impl Fault {
    /// Prepends a field to the place.
    pub(super) fn inside(self, name: &str) -> Self {
        match self {
            Self::Malformed(malformed) => Self::Malformed(malformed.inside(name)),
            out => out,
        }
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// JSON on its way to the output.
#[derive(Debug)]
pub(super) struct Text<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Text<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(2 * PIECE_BYTES) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }

    pub(super) fn into_out(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// Names need no escapes.
    pub(super) fn name(&mut self, is_first: bool, name: &str) {
        self.raw(if is_first { "{\"" } else { ",\"" });
        self.raw(name);
        self.raw("\":");
    }

    pub(super) fn value(&mut self, of: &Type, bytes: &[u8]) -> Result<()> {
        if let Some(wanted) = of.fixed_len
            && wanted != bytes.len()
        {
            let found = format!("{} bytes", bytes.len());
            return Err(Malformed::new(format!("{wanted} bytes"), found).into());
        }
        match of.kind {
            Kind::Uint => self.number(bytes),
            Kind::Boolean => self.raw(match bytes {
                [0] => "false",
                [1] => "true",
                _ => return Err(Malformed::new("a boolean", format!("{bytes:?}")).into()),
            }),
            Kind::Bytes => self.hex(bytes),
            Kind::ByteList { limit } => {
                check_count(bytes.len() as u64, limit)?;
                self.hex(bytes);
            }
            Kind::Bitvector { bits } => {
                check_padding(bits, bytes)?;
                self.hex(bytes);
            }
            Kind::Bitlist { limit } => {
                check_count(bitlist_len(bytes)?, limit)?;
                self.hex(bytes);
            }
            Kind::Vector { element } => self.elements(element, bytes, u64::MAX)?,
            Kind::List { element, limit } => self.elements(element, bytes, limit)?,
            Kind::Container(fields) => self.container(fields, bytes)?,
        }
        if self.buffer.len() >= PIECE_BYTES {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn elements(&mut self, element: &Type, bytes: &[u8], limit: u64) -> Result<()> {
        let mut before = "[";
        if let Some(element_len) = element.fixed_len {
            check_count(count_of(bytes.len() as u64, element_len)?, limit)?;
            for bytes in bytes.chunks_exact(element_len) {
                self.raw(std::mem::replace(&mut before, ","));
                self.value(element, bytes)?;
            }
        } else {
            for bytes in element_spans(bytes, limit)? {
                self.raw(std::mem::replace(&mut before, ","));
                self.value(element, bytes?)?;
            }
        }
        self.raw(if before == "[" { "[]" } else { "]" });
        Ok(())
    }

    fn container(&mut self, fields: &[Field], bytes: &[u8]) -> Result<()> {
        let mut fixed_at = 0;
        // The variable part is consumed from its start, without gaps.
        let mut variable_at = fixed_part_len(fields);
        for (index, field) in fields.iter().enumerate() {
            self.name(index == 0, field.name);
            let span = match field.of.fixed_len {
                Some(byte_len) => fixed_at..fixed_at + byte_len,
                None => {
                    let end = variable_span(fields, index, fixed_at, variable_at, bytes);
                    let end = end.map_err(|malformed| malformed.inside(field.name))?;
                    std::mem::replace(&mut variable_at, end)..end
                }
            };
            fixed_at += field.of.fixed_len.unwrap_or(OFFSET_BYTES);
            let bytes = bytes.get(span).ok_or_else(|| too_short(fields, bytes))?;
            self.value(field.of, bytes).map_err(|fault| fault.inside(field.name))?;
        }
        self.raw("}");
        Ok(())
    }

    fn hex(&mut self, bytes: &[u8]) {
        self.raw("\"0x");
        let start = self.buffer.len();
        self.buffer.resize(start + 2 * bytes.len(), 0);
        const_hex::encode_to_slice(bytes, &mut self.buffer[start..])
            .expect("two digits for each byte");
        self.raw("\"");
    }

    /// A number of up to 32 bytes.
    fn number(&mut self, bytes: &[u8]) {
        self.raw("\"");
        if bytes.len() <= size_of::<u64>() {
            let number = little_endian(bytes);
            let _ = write!(self.buffer, "{number}");
        } else {
            self.long_number(bytes);
        }
        self.raw("\"");
    }

    /// A number of more than 8 bytes, by long division.
    fn long_number(&mut self, bytes: &[u8]) {
        const DIGITS: usize = 19;
        const DIVISOR: u128 = 10_000_000_000_000_000_000;
        let mut words: Vec<u64> = bytes.chunks(size_of::<u64>()).map(little_endian).collect();
        // Groups of digits, the last first.
        let mut groups = Vec::new();
        while groups.is_empty() || words.iter().any(|word| *word != 0) {
            let mut rest = 0;
            for word in words.iter_mut().rev() {
                let dividend = rest << 64 | u128::from(*word);
                // Fits, because the rest is less than the divisor.
                *word = u64::try_from(dividend / DIVISOR).unwrap_or(u64::MAX);
                rest = dividend % DIVISOR;
            }
            groups.push(rest);
        }
        let mut width = 0;
        for group in groups.into_iter().rev() {
            let _ = write!(self.buffer, "{group:0width$}");
            width = DIGITS;
        }
    }
}

/// A number of up to 8 bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
