//! A state by its fields: what differs from a stored state is owned, the rest stays where that one is mapped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::{
    FieldKind, Fork, Malformed, Preset, StateFault, StateField, StateFields, StatePrefix,
};

/// Length of an encoded `Validator`.
pub const VALIDATOR_BYTES: usize = 121;
/// An encoded `Validator`.
pub type ValidatorBytes = [u8; VALIDATOR_BYTES];

/// Maximum length of a piece that is written.
const PIECE_BYTES: usize = 1 << 20;
/// Shorter parts are gathered into a piece; longer ones are written from where they are.
const GATHERED_BYTES: usize = 1 << 15;
/// Length of the pieces of a state of unknown layout.
pub(crate) const UNKNOWN_PIECE_BYTES: usize = 1 << 23;
const SLOT_AT: usize = 40;
const EFFECTIVE_BALANCE_AT: usize = 80;

pub(crate) const VALIDATORS_FIELD: &str = "validators";
/// The lists with an element per validator, of this many bytes.
pub(crate) const PER_VALIDATOR: [(&str, usize); 4] = [
    ("balances", 8),
    ("previous_epoch_participation", 1),
    ("current_epoch_participation", 1),
    ("inactivity_scores", 8),
];

/// Where the bytes of a field are.
#[derive(Clone, Debug)]
pub(crate) enum FieldBytes {
    /// In the stored state.
    Base(Range<usize>),
    /// Here.
    Own(Arc<Vec<u8>>),
}

/// The registry of a state: that of the stored state, with changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validators {
    /// Where the list is in the stored state.
    pub(crate) base: Range<usize>,
    /// Entries of that list that changed, ascending by index.
    pub(crate) changed: Arc<Vec<(u32, ValidatorBytes)>>,
    /// The entries after that list.
    pub(crate) appended: Arc<Vec<u8>>,
}

impl Validators {
    pub(crate) fn len(&self) -> usize {
        (self.base.len() + self.appended.len()) / VALIDATOR_BYTES
    }
}

/// A decoded state on a stored one; meaningful together with that state's bytes: [`StateRef`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Columns {
    preset: Preset,
    /// `None` for an unknown layout: the fields are then the state's pieces of 8 MiB.
    layout: Option<StateFields>,
    slot: Slot,
    /// By place in the layout; that of the validators is an empty range.
    fields: Vec<FieldBytes>,
    validators: Validators,
}

/// A state: its columns, and the stored state on which they are.
#[derive(Clone, Copy, Debug)]
pub struct StateRef<'a> {
    /// The SSZ bytes of the stored state.
    pub base: &'a [u8],
    /// What the state is on it.
    pub columns: &'a Columns,
}

impl Columns {
    /// The columns of the stored state itself. A layout of no known fork is accepted.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not a state.
    pub fn of_raw(preset: Preset, ssz: &[u8]) -> Result<Self, Malformed> {
        let slot = slot_of(preset, ssz)?;
        let layout = match StateFields::of_ssz(preset, ssz) {
            Ok(layout) => layout,
            Err(StateFault::UnknownLayout(_)) => {
                return Ok(Self::of_pieces(preset, slot, base_pieces(ssz.len())));
            }
            Err(StateFault::Malformed(malformed)) => return Err(malformed),
            // Nothing is read.
            Err(StateFault::Source(error)) => {
                return Err(Malformed::new("a state", error.to_string()));
            }
        };
        let spans = layout.spans(ssz)?;
        let mut validators = Validators::default();
        let fields = layout.iter().zip(spans).map(|(field, span)| {
            if field.name == VALIDATORS_FIELD {
                validators.base = span;
                return FieldBytes::Base(0..0);
            }
            FieldBytes::Base(span)
        });
        let fields = fields.collect();
        Self::new(layout, slot, fields, validators)
    }

    /// Reads a state of `byte_len` bytes. Fields and validators that the stored state `base` has as well are
    /// not kept, so about 45 MB of a mainnet state are, if the two are some days apart.
    ///
    /// # Errors
    /// [`StateFault::Source`] if the source fails, [`StateFault::Malformed`] if the bytes of either are not a state.
    pub fn from_stream(
        preset: Preset,
        base: &[u8],
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Self, StateFault> {
        super::intake::read(preset, base, byte_len, source)
    }

    /// Columns of a known layout.
    ///
    /// Refuses lists with an element per validator that have another length.
    pub(crate) fn new(
        layout: StateFields,
        slot: Slot,
        fields: Vec<FieldBytes>,
        validators: Validators,
    ) -> Result<Self, Malformed> {
        let columns =
            Self { preset: layout.preset(), layout: Some(layout), slot, fields, validators };
        let count = columns.validator_count();
        for (name, element_len) in PER_VALIDATOR {
            let Some(place) = layout.place(name) else { continue };
            let found = columns.fields[place].len();
            if found != count * element_len {
                let wanted = format!("{name}: {count} elements, one for each validator");
                return Err(Malformed::new(wanted, (found / element_len).to_string()));
            }
        }
        Ok(columns)
    }

    /// Columns of an unknown layout.
    pub(crate) fn of_pieces(preset: Preset, slot: Slot, pieces: Vec<FieldBytes>) -> Self {
        Self { preset, layout: None, slot, fields: pieces, validators: Validators::default() }
    }

    /// The preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The state's fork; `None` for an unknown layout.
    #[must_use]
    pub fn fork(&self) -> Option<Fork> {
        self.layout.map(|layout| layout.fork())
    }

    /// Number of validators; 0 for an unknown layout.
    #[must_use]
    pub fn validator_count(&self) -> usize {
        self.validators.len()
    }

    /// Bytes of memory that it owns, shared with its clones.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = |field: &FieldBytes| match field {
            FieldBytes::Base(_) => 0,
            FieldBytes::Own(bytes) => bytes.capacity(),
        };
        let changed = self.validators.changed.capacity() * size_of::<(u32, ValidatorBytes)>();
        let fields: usize = self.fields.iter().map(own).sum();
        fields + changed + self.validators.appended.capacity()
    }

    /// Where the bytes of its fields are, by name; without the validators.
    pub(crate) fn into_fields(self) -> HashMap<&'static str, FieldBytes> {
        let names = self.layout.into_iter().flat_map(|layout| layout.iter());
        names.map(|field| field.name).zip(self.fields).collect()
    }

    pub(crate) fn layout(&self) -> Option<StateFields> {
        self.layout
    }

    pub(crate) fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The fields that are not decoded yet.
    pub(crate) fn unread_fields(&self) -> Vec<&'static str> {
        let names = self.layout.into_iter().flat_map(|layout| layout.iter());
        let fields = names.zip(&self.fields).filter(|(_, bytes)| bytes.is_unread());
        fields.map(|(field, _)| field.name).collect()
    }

    /// Takes the bytes of a field out; nothing may read the field then. Not of the validators.
    pub(crate) fn take_field(&mut self, name: &str) -> Option<FieldBytes> {
        let place = self.layout?.place(name).filter(|_| name != VALIDATORS_FIELD)?;
        Some(std::mem::replace(&mut self.fields[place], FieldBytes::Base(0..0)))
    }

    pub(crate) fn validators_mut(&mut self) -> &mut Validators {
        &mut self.validators
    }

    /// Replaces a field, by bytes of the same length.
    pub(crate) fn set_field(&mut self, name: &str, bytes: FieldBytes) {
        if let Some(place) = self.layout.and_then(|layout| layout.place(name)) {
            debug_assert_eq!(self.fields[place].len(), bytes.len());
            self.fields[place] = bytes;
        }
    }

    /// Where the bytes of a field are; not of the validators.
    pub(crate) fn place_of(&self, name: &str) -> Option<&FieldBytes> {
        let place = self.layout?.place(name)?;
        self.fields.get(place).filter(|_| name != VALIDATORS_FIELD)
    }
}

impl FieldBytes {
    /// Bytes that are not decoded yet: while some are, nothing reads them but their length.
    pub(crate) fn unread(byte_len: usize) -> Self {
        Self::Base(usize::MAX - byte_len..usize::MAX)
    }

    fn is_unread(&self) -> bool {
        matches!(self, Self::Base(span) if span.end == usize::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            FieldBytes::Base(span) => span.len(),
            FieldBytes::Own(bytes) => bytes.len(),
        }
    }

    /// The bytes to be edited: a copy, unless nobody else has them.
    pub(crate) fn into_vec(self, base: &[u8]) -> Vec<u8> {
        match self {
            FieldBytes::Base(span) => base.get(span).unwrap_or_default().to_vec(),
            FieldBytes::Own(bytes) => Arc::unwrap_or_clone(bytes),
        }
    }

    pub(crate) fn bytes<'a>(&'a self, base: &'a [u8]) -> &'a [u8] {
        match self {
            FieldBytes::Base(span) => base.get(span.clone()).unwrap_or_default(),
            FieldBytes::Own(bytes) => bytes,
        }
    }
}

impl<'a> StateRef<'a> {
    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.columns.slot
    }

    /// The state's fork; `None` for an unknown layout.
    #[must_use]
    pub fn fork(&self) -> Option<Fork> {
        self.columns.fork()
    }

    /// The names of the fields in order; none for an unknown layout.
    pub fn field_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.columns.layout.into_iter().flat_map(|layout| layout.iter()).map(|field| field.name)
    }

    /// The SSZ bytes of a field. Those of the validators are copied: prefer [`Self::validators`].
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        if name == VALIDATORS_FIELD {
            self.columns.layout?;
            let mut list = Vec::with_capacity(self.validator_count() * VALIDATOR_BYTES);
            self.validators(0..self.validator_count()).for_each(|one| list.extend_from_slice(one));
            return Some(Cow::Owned(list));
        }
        self.bytes_of(name).map(Cow::Borrowed)
    }

    /// The SSZ bytes of a field other than the validators.
    pub(crate) fn bytes_of(&self, name: &str) -> Option<&'a [u8]> {
        self.columns.place_of(name).map(|place| place.bytes(self.base))
    }

    /// Length of a field in bytes.
    #[must_use]
    pub fn field_len(&self, name: &str) -> Option<usize> {
        if name == VALIDATORS_FIELD {
            self.columns.layout?;
            return Some(self.validator_count() * VALIDATOR_BYTES);
        }
        self.columns.place_of(name).map(FieldBytes::len)
    }

    /// Number of validators; 0 for an unknown layout.
    #[must_use]
    pub fn validator_count(&self) -> usize {
        self.columns.validator_count()
    }

    /// An encoded validator.
    #[must_use]
    pub fn validator(&self, index: usize) -> Option<ValidatorBytes> {
        self.validators(index..index.saturating_add(1)).next().copied()
    }

    /// The encoded validators of a range, as far as there are such.
    pub fn validators(
        &self,
        range: Range<usize>,
    ) -> impl Iterator<Item = &'a ValidatorBytes> + use<'a> {
        let validators = &self.columns.validators;
        let base = self.base_validators();
        let (appended, _) = validators.appended.as_chunks::<VALIDATOR_BYTES>();
        let end = range.end.min(base.len() + appended.len());
        let first =
            validators.changed.partition_point(|(index, _)| (*index as usize) < range.start);
        let mut changed = validators.changed[first..].iter().peekable();
        (range.start..end).map(move |index| {
            match changed.next_if(|(changed, _)| *changed as usize == index) {
                Some((_, validator)) => validator,
                None => base.get(index).unwrap_or_else(|| &appended[index - base.len()]),
            }
        })
    }

    /// Calls `visit` with the encoded validators of a range, in order: several times as fast as [`Self::validators`],
    /// since neighbours are in one slice.
    pub(crate) fn each_validator(
        &self,
        range: Range<usize>,
        mut visit: impl FnMut(&'a ValidatorBytes),
    ) {
        let validators = &self.columns.validators;
        let base = self.base_validators();
        let (appended, _) = validators.appended.as_chunks::<VALIDATOR_BYTES>();
        let (end, mut next) = (range.end.min(base.len()), range.start);
        let first =
            validators.changed.partition_point(|(index, _)| (*index as usize) < range.start);
        for (index, validator) in &validators.changed[first..] {
            let index = *index as usize;
            if index >= end {
                break;
            }
            base[next..index].iter().for_each(&mut visit);
            visit(validator);
            next = index + 1;
        }
        base.get(next..end).unwrap_or_default().iter().for_each(&mut visit);
        let behind = [range.start, range.end].map(|index| index.saturating_sub(base.len()));
        let behind = behind[0].min(appended.len())..behind[1].min(appended.len());
        appended[behind].iter().for_each(visit);
    }

    /// The validators of the stored state.
    pub(crate) fn base_validators(&self) -> &'a [ValidatorBytes] {
        self.base.get(self.columns.validators.base.clone()).unwrap_or_default().as_chunks().0
    }

    /// The balance of a validator in Gwei.
    #[must_use]
    pub fn balance(&self, index: usize) -> Option<u64> {
        let (balances, _) = self.bytes_of("balances")?.as_chunks();
        balances.get(index).copied().map(u64::from_le_bytes)
    }

    /// The effective balance of a validator in Gwei.
    #[must_use]
    pub fn effective_balance(&self, index: usize) -> Option<u64> {
        self.validator(index).map(|validator| effective_balance_of(&validator))
    }

    /// Length of the encoded state in bytes.
    #[must_use]
    pub fn ssz_len(&self) -> u64 {
        let columns = self.columns;
        let Some(layout) = columns.layout else {
            return columns.fields.iter().map(|piece| piece.len() as u64).sum();
        };
        let variable = layout.iter().filter(|field| field.fixed_len().is_none());
        let lens = variable.filter_map(|field| self.field_len(field.name));
        layout.fixed_part_len() as u64 + lens.map(|byte_len| byte_len as u64).sum::<u64>()
    }

    /// Writes the state as SSZ, in pieces of at most a MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut put = Pieces { gathered: Vec::with_capacity(PIECE_BYTES), out };
        put.bytes(&self.fixed_part()?)?;
        self.variable_parts().into_iter().try_for_each(|part| put.bytes(part))?;
        put.flush()
    }

    /// The first part of the encoded state: the fields of fixed length, and the offsets of the others. Empty for an
    /// unknown layout.
    pub(super) fn fixed_part(&self) -> io::Result<Vec<u8>> {
        let Some(layout) = self.columns.layout else { return Ok(Vec::new()) };
        let mut fixed = Vec::with_capacity(layout.fixed_part_len());
        let mut offset = layout.fixed_part_len() as u64;
        for (field, place) in layout.iter().zip(&self.columns.fields) {
            if field.fixed_len().is_some() {
                fixed.extend_from_slice(place.bytes(self.base));
            } else {
                let too_long = || io::Error::other("a state is shorter than 4 GiB");
                let encoded = u32::try_from(offset).map_err(|_| too_long())?;
                fixed.extend_from_slice(&encoded.to_le_bytes());
                offset += self.field_len(field.name).unwrap_or_default() as u64;
            }
        }
        Ok(fixed)
    }

    /// What follows the fixed part, in order. The stored state's validators between two changed ones are one part.
    pub(super) fn variable_parts(&self) -> Vec<&'a [u8]> {
        let fields = &self.columns.fields;
        let Some(layout) = self.columns.layout else {
            return fields.iter().map(|piece| piece.bytes(self.base)).collect();
        };
        let mut parts = Vec::new();
        for (field, place) in layout.iter().zip(fields).filter(|(field, _)| is_variable(field)) {
            match field.name {
                VALIDATORS_FIELD => self.push_validators(&mut parts),
                _ => parts.push(place.bytes(self.base)),
            }
        }
        parts
    }

    fn push_validators(&self, parts: &mut Vec<&'a [u8]>) {
        let validators = &self.columns.validators;
        let base = self.base_validators();
        let mut next = 0;
        for (index, validator) in validators.changed.iter() {
            let index = *index as usize;
            parts.push(base.get(next..index).unwrap_or_default().as_flattened());
            parts.push(validator);
            next = index + 1;
        }
        parts.push(base.get(next..).unwrap_or_default().as_flattened());
        parts.push(&validators.appended);
    }

    /// A part of the encoded state, as far as the state reaches.
    pub(crate) fn ssz_in(&self, range: Range<usize>) -> Vec<u8> {
        let mut window = Window { skip: range.start, byte_len: range.len(), bytes: Vec::new() };
        // Nothing fails while it is written to memory.
        let written = self.write_ssz(&mut window);
        debug_assert!(written.is_ok());
        window.bytes
    }
}

/// `effective_balance` of an encoded validator.
pub(crate) fn effective_balance_of(validator: &ValidatorBytes) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| validator[EFFECTIVE_BALANCE_AT + index]))
}

fn is_variable(field: &StateField) -> bool {
    matches!(field.kind, FieldKind::List { .. } | FieldKind::Variable { .. })
}

pub(super) fn slot_of(preset: Preset, start: &[u8]) -> Result<Slot, Malformed> {
    let wanted = StatePrefix::byte_len(preset);
    match start.get(SLOT_AT..).and_then(|rest| rest.first_chunk()) {
        Some(slot) if start.len() >= wanted => Ok(Slot(u64::from_le_bytes(*slot))),
        _ => {
            let wanted = format!("a state of at least {wanted} bytes");
            Err(Malformed::new(wanted, format!("{} bytes", start.len())))
        }
    }
}

/// The pieces of a state of unknown layout that is the stored one.
fn base_pieces(byte_len: usize) -> Vec<FieldBytes> {
    let starts = (0..byte_len).step_by(UNKNOWN_PIECE_BYTES);
    starts.map(|start| FieldBytes::Base(start..byte_len.min(start + UNKNOWN_PIECE_BYTES))).collect()
}

/// Writes a state in pieces.
struct Pieces<'o> {
    gathered: Vec<u8>,
    out: &'o mut dyn Write,
}

impl Pieces<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.gathered.len() + bytes.len().min(GATHERED_BYTES) > PIECE_BYTES {
            self.flush()?;
        }
        if bytes.len() < GATHERED_BYTES {
            self.gathered.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        bytes.chunks(PIECE_BYTES).try_for_each(|piece| self.out.write_all(piece))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(())
    }
}

/// Keeps a part of what is written.
struct Window {
    /// Bytes to come before that part.
    skip: usize,
    byte_len: usize,
    bytes: Vec<u8>,
}

impl Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let rest = &bytes[skipped..];
        let taken = rest.len().min(self.byte_len - self.bytes.len());
        self.bytes.extend_from_slice(&rest[..taken]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_the_validators_of_a_range_give_the_same() {
        let one = |number: u8| [number; VALIDATOR_BYTES];
        let base: Vec<u8> = (0..6).flat_map(one).collect();
        let validators = Validators {
            base: 0..base.len(),
            changed: Arc::new(
                [1u8, 2, 5].map(|index| (u32::from(index), one(10 + index))).to_vec(),
            ),
            appended: Arc::new([one(6), one(7)].concat()),
        };
        let mut columns = Columns::of_pieces(Preset::Minimal, Slot(1), Vec::new());
        *columns.validators_mut() = validators;
        let state = StateRef { base: &base, columns: &columns };
        let wanted = [0, 11, 12, 3, 4, 15, 6, 7];
        for start in 0..10 {
            for end in start..11 {
                let listed: Vec<u8> = state.validators(start..end).map(|one| one[0]).collect();
                let mut visited = Vec::new();
                state.each_validator(start..end, |one| visited.push(one[0]));
                assert_eq!(listed, wanted[start.min(8)..end.min(8)], "{start}..{end}");
                assert_eq!(visited, listed, "{start}..{end}");
            }
        }
        assert_eq!(state.validator(5), Some(one(15)));
        assert_eq!(state.validator(8), None);
    }
}
