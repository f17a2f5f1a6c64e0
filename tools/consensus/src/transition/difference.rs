//! The first difference between a state and an encoded one, by field.

use std::fmt::Arguments;
use std::io::{self, Write};

use super::block::Value;
use super::state::BeaconState;
use crate::hash::Malformed;
use crate::ssz::{Field, Kind, Type};
use crate::state::StateFields;

/// Bytes of a longer value that are shown.
const SHOWN_BYTES: usize = 32;

/// The first difference between a state and the one that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDifference {
    /// The path of fields and indices to the value, such as `validators[3].effective_balance`.
    pub field: String,
    /// The wanted value, or the length of the wanted list.
    pub wanted: String,
    /// The state's own.
    pub found: String,
}

impl BeaconState<'_> {
    /// Compares the state with an encoded one, byte for byte, without encoding the whole state in memory.
    /// Returns the first difference, in the order of the state's fields.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes cannot be a state of this fork.
    pub fn first_difference(&self, wanted: &[u8]) -> Result<Option<StateDifference>, Malformed> {
        let layout = self.layout();
        let spans = StateFields::of(self.rules.preset, self.fork_name).spans(wanted)?;
        let mut piece = Vec::new();
        for (field, span) in layout.fields.iter().zip(spans) {
            let wanted = &wanted[span];
            let mut compared = Compared { rest: wanted, is_equal: true };
            self.encode_whole(field, &mut piece, &mut compared);
            if !compared.is_equal || !compared.rest.is_empty() {
                let mut found = Vec::new();
                self.encode_whole(field, &mut piece, &mut found);
                return Ok(Some(within(format_args!("{}", field.name), field.of, wanted, &found)));
            }
        }
        Ok(None)
    }

    /// Encodes a field to something in memory.
    fn encode_whole(&self, field: &Field, piece: &mut Vec<u8>, out: &mut dyn Write) {
        piece.clear();
        let written = self.encode(field, piece, out).and_then(|()| out.write_all(piece));
        debug_assert!(written.is_ok());
    }
}

/// Compares what is written.
struct Compared<'w> {
    rest: &'w [u8],
    is_equal: bool,
}

impl Write for Compared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.rest.split_at_checked(bytes.len()) {
            Some((wanted, rest)) if wanted == bytes => self.rest = rest,
            _ => self.is_equal = false,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first difference between two values of a type, which are not equal.
fn difference(of: &'static Type, wanted: &[u8], found: &[u8]) -> StateDifference {
    let here = |wanted, found| StateDifference { field: String::new(), wanted, found };
    match of.kind {
        Kind::Container(fields) => {
            let part = |bytes, name| Value::new(of, bytes).field(name).bytes;
            let differs = |field: &&Field| part(wanted, field.name) != part(found, field.name);
            if let Some(Field { name, of }) = fields.iter().find(differs) {
                return within(format_args!(".{name}"), of, part(wanted, name), part(found, name));
            }
        }
        Kind::List { element, .. } | Kind::Vector { element } => {
            if let Some(element_len) = element.fixed_len {
                let (wanted, found) = (wanted.chunks(element_len), found.chunks(element_len));
                let counts = [wanted.len(), found.len()];
                let pairs = wanted.zip(found).enumerate();
                let different = |(_, (wanted, found)): &(_, (&[u8], &[u8]))| wanted != found;
                if let Some((index, (wanted, found))) = pairs.into_iter().find(different) {
                    return within(format_args!("[{index}]"), element, wanted, found);
                }
                let [wanted, found] = counts.map(|count| format!("length {count}"));
                return here(wanted, found);
            }
        }
        _ => {}
    }
    here(shown(of, wanted), shown(of, found))
}

/// The difference between two parts of a value.
fn within(place: Arguments<'_>, of: &'static Type, wanted: &[u8], found: &[u8]) -> StateDifference {
    let mut difference = difference(of, wanted, found);
    difference.field.insert_str(0, &place.to_string());
    difference
}

/// A value as text: a number, or the start of its bytes in hex.
fn shown(of: &Type, bytes: &[u8]) -> String {
    if matches!(of.kind, Kind::Uint | Kind::Boolean) && bytes.len() <= 8 {
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        return u64::from_le_bytes(number).to_string();
    }
    match bytes.get(..SHOWN_BYTES) {
        Some(start) if bytes.len() > SHOWN_BYTES => {
            format!("{}… ({} bytes)", const_hex::encode_prefixed(start), bytes.len())
        }
        _ => const_hex::encode_prefixed(bytes),
    }
}
