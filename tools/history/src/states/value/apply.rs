//! Applies diffs.

use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::{FieldKind, Preset, StateField, StateFields};

use super::super::columns::{
    Columns, FieldBytes, PER_VALIDATOR, StateRef, UNKNOWN_PIECE_BYTES, Validators,
};
use super::exceptions::Unpacker;
use super::fault::{Decoded, Wrong};
use super::header::{Header, SMALL_FIELDS, Section, WHOLE};
use super::packed::Cursor;
use super::roots::RootsOf;
use super::small::{SLOT_FIELD, is_small};
use super::stack::{self, Stack};
use super::{DiffContext, DiffFault, DiffValue, Kind, generic, lists, registry, roots, small};

/// Applies a chain of diffs: the first is on `base_columns`, each other on the one before.
///
/// `base` is the stored state on which `base_columns` are.
///
/// # Errors
/// [`DiffFault`] names the first diff that cannot be applied.
pub fn apply_path(
    preset: Preset,
    base: &[u8],
    base_columns: &Columns,
    path: &[DiffValue<'_>],
    context: DiffContext<'_>,
) -> Result<Columns, DiffFault> {
    let mut columns = base_columns.clone();
    let (mut stack, mut unpacker) = (Stack::default(), Unpacker::new());
    for diff in path {
        // 1. A diff whose lists are not in chunks needs those of the state before it.
        let sections = stack::sections_of(diff, &mut unpacker)?;
        if sections.is_none() || stack.is_other(diff) {
            columns = std::mem::take(&mut stack).unwind(base, columns)?;
        }
        // 2. All but the lists with an element per validator.
        let state = StateRef { base, columns: &columns };
        check_base(preset, state, diff, context).map_err(|wrong| diff.fault(None, wrong))?;
        let next = match diff.kind() {
            Kind::Generic => apply_generic(state, diff)?,
            Kind::Columns | Kind::Slot => {
                Applying::new(state, diff, context, sections.is_some())?.all()?
            }
        };
        let found = StateRef { base, columns: &next }.ssz_len();
        if found != diff.ssz_len() {
            let wanted = format_args!("a state of {} bytes", diff.ssz_len());
            return Err(diff.fault(None, Wrong::new(wanted, found)));
        }
        // 3. Those lists wait until all are applied.
        if let Some(sections) = sections {
            let changed = changed_validators(diff, state)?;
            let states = [state, StateRef { base, columns: &next }];
            stack.push(diff, sections, states, &changed);
        }
        columns = next;
    }
    stack.unwind(base, columns)
}

/// The validators of the base that a diff changes.
fn changed_validators(diff: &DiffValue<'_>, base: StateRef<'_>) -> Result<Vec<u32>, DiffFault> {
    let section = diff.sections.iter().find(|section| section.field == "validators");
    let changed = section.map(|section| registry::changed_in(section.bytes()?, base));
    let changed = changed.transpose().map_err(|wrong| diff.fault(Some("validators"), wrong))?;
    Ok(changed.unwrap_or_default())
}

/// Refuses a base other than the diff's.
fn check_base(
    preset: Preset,
    state: StateRef<'_>,
    diff: &DiffValue<'_>,
    context: DiffContext<'_>,
) -> Decoded<()> {
    let Header { base_slot, base_tag, base_validators, .. } = diff.header;
    if diff.preset() != preset {
        let wanted = format_args!("a state of the {preset} preset");
        return Err(Wrong::new(wanted, diff.preset()));
    }
    if state.slot() != base_slot {
        let found = format_args!("that of slot {}", state.slot());
        return Err(Wrong::new("the base's state", found));
    }
    if diff.kind() != Kind::Generic && state.validator_count() != base_validators as usize {
        let wanted = format_args!("a base of {base_validators} validators");
        return Err(Wrong::new(wanted, state.validator_count()));
    }
    diff.header.check_len(state.ssz_len())?;
    let root = context.roots.state_root(base_slot);
    let root = root.map_err(|error| Wrong::new("the base's root in bsr", error))?;
    match root {
        Some(root) if !root.0.starts_with(&base_tag) => Err(Wrong::new(
            format_args!("a base with a root that begins with {}", const_hex::encode(base_tag)),
            format_args!("{root} in bsr"),
        )),
        _ => Ok(()),
    }
}

/// A diff by fields that is being applied.
struct Applying<'a, 'v> {
    state: StateRef<'a>,
    diff: &'a DiffValue<'v>,
    context: DiffContext<'a>,
    layout: StateFields,
    small: Vec<(&'static str, Vec<u8>)>,
    /// Whether the lists with an element per validator are in chunks, which are applied later.
    in_chunks: bool,
}

impl<'a, 'v> Applying<'a, 'v> {
    fn new(
        state: StateRef<'a>,
        diff: &'a DiffValue<'v>,
        context: DiffContext<'a>,
        in_chunks: bool,
    ) -> Result<Self, DiffFault> {
        let header = &diff.header;
        let fault = |field, wrong| diff.fault(field, wrong);
        let Some(fork) = header.fork else {
            return Err(fault(None, Wrong::new("a known fork", "none")));
        };
        let layout = StateFields::of(header.preset, fork);
        let small = Vec::new();
        let mut applying = Self { state, diff, context, layout, small, in_chunks };
        applying.small = match applying.section(SMALL_FIELDS) {
            None => Vec::new(),
            Some(section) => read_whole(section, |encoding, cursor| match encoding {
                12 => small::read(cursor, layout),
                _ => Err(unknown(encoding)),
            })
            .map_err(|wrong| fault(Some(SMALL_FIELDS), wrong))?,
        };
        for section in &diff.sections {
            let is_own = |field: StateField| field.name == section.field && !is_small(&field);
            if section.field != SMALL_FIELDS && !layout.iter().any(is_own) {
                let wanted = format_args!("a field with a section in a {fork} state");
                return Err(fault(Some(section.field), Wrong::new(wanted, section.field)));
            }
        }
        Ok(applying)
    }

    fn section(&self, name: &str) -> Option<&'a Section<'v>> {
        self.diff.sections.iter().find(|section| section.field == name)
    }

    /// All fields of the new state.
    fn all(&self) -> Result<Columns, DiffFault> {
        self.check_lens()?;
        let mut fields = Vec::with_capacity(self.layout.len());
        let mut validators = Validators::default();
        for field in self.layout.iter() {
            let fault = |wrong| self.diff.fault(Some(field.name), wrong);
            if field.name == "validators" {
                validators = self.validators().map_err(fault)?;
                fields.push(FieldBytes::Base(0..0));
                continue;
            }
            fields.push(self.field(&field).map_err(fault)?);
        }
        let columns = Columns::new(self.layout, self.diff.slot(), fields, validators);
        columns.map_err(|malformed| {
            let (wanted, found) = malformed.wanted_and_found();
            self.diff.fault(None, Wrong::new(wanted, found))
        })
    }

    /// Refuses lengths that do not add up to the state's, before anything is allocated for them.
    fn check_lens(&self) -> Result<(), DiffFault> {
        let mut total = self.layout.fixed_part_len() as u64;
        for field in self.layout.iter().filter(|field| field.fixed_len().is_none()) {
            let byte_len = self.byte_len(&field);
            let byte_len = byte_len.map_err(|wrong| self.diff.fault(Some(field.name), wrong))?;
            total = total.saturating_add(byte_len as u64);
        }
        match self.diff.ssz_len() {
            wanted if wanted == total => Ok(()),
            wanted => {
                let wanted = format_args!("fields of {wanted} bytes together");
                Err(self.diff.fault(None, Wrong::new(wanted, total)))
            }
        }
    }

    /// The length of a field of the new state.
    fn byte_len(&self, field: &StateField) -> Decoded<usize> {
        let count = self.diff.header.validators as usize;
        let per_validator = PER_VALIDATOR.into_iter().find(|(name, _)| *name == field.name);
        if field.name == "validators" {
            return Ok(count * super::super::columns::VALIDATOR_BYTES);
        }
        if let Some((_, element_len)) = per_validator {
            return Ok(count * element_len);
        }
        if let Some(byte_len) = field.fixed_len() {
            return Ok(byte_len);
        }
        match self.section(field.name) {
            Some(section) => Ok(variable_len(field, section.bytes()?)?.0),
            None => self.base_bytes(field).map(<[u8]>::len),
        }
    }

    /// The base's bytes of a field that has no section.
    fn base_bytes(&self, field: &StateField) -> Decoded<&'a [u8]> {
        let lacks = || Wrong::new("a section, since the base has no such field", "none");
        self.state.bytes_of(field.name).ok_or_else(lacks)
    }

    fn field(&self, field: &StateField) -> Decoded<FieldBytes> {
        let own = |bytes: Vec<u8>| FieldBytes::Own(Arc::new(bytes));
        if field.name == SLOT_FIELD {
            return Ok(own(self.diff.slot().0.to_le_bytes().to_vec()));
        }
        if let Some((_, bytes)) = self.small.iter().find(|(name, _)| *name == field.name) {
            return Ok(own(bytes.clone()));
        }
        let byte_len = self.byte_len(field)?;
        let Some(section) = self.section(field.name) else {
            return self.without_section(field, byte_len);
        };
        if self.in_chunks && stack::is_per_validator(field.name) {
            return Ok(FieldBytes::unread(byte_len));
        }
        let bytes = read_whole(section, |encoding, cursor| {
            if is_of_variable_len(field) {
                cursor.varint()?;
            }
            self.decode(field, byte_len, encoding, cursor)
        })?;
        Ok(own(bytes))
    }

    /// The base's field, of this length in the new state.
    fn without_section(&self, field: &StateField, byte_len: usize) -> Decoded<FieldBytes> {
        let same = self.base_bytes(field)?;
        let place = self.state.columns.place_of(field.name);
        match place {
            Some(place) if place.len() == byte_len => Ok(place.clone()),
            Some(place) if stack::is_per_validator(field.name) && place.len() < byte_len => {
                if self.in_chunks {
                    return Ok(FieldBytes::unread(byte_len));
                }
                let mut bytes = same.to_vec();
                bytes.resize(byte_len, 0);
                Ok(FieldBytes::Own(Arc::new(bytes)))
            }
            _ => {
                let wanted = format_args!("a section for a field of {byte_len} bytes");
                Err(Wrong::new(wanted, format_args!("none, and {} bytes in the base", same.len())))
            }
        }
    }

    fn decode(
        &self,
        field: &StateField,
        byte_len: usize,
        encoding: u8,
        section: &mut Cursor<'_>,
    ) -> Decoded<Vec<u8>> {
        let base = self.state.bytes_of(field.name).unwrap_or_default();
        let element_len = match field.kind {
            FieldKind::Vector { element_len, .. } | FieldKind::List { element_len, .. } => {
                Some(element_len)
            }
            FieldKind::Value { .. } | FieldKind::Variable { .. } => None,
        };
        match (encoding, element_len, RootsOf::of_field(field.name)) {
            (0, ..) => Ok(section.packed(byte_len)?.into_owned()),
            (1, Some(element_len), _) => lists::runs(section, base, byte_len, element_len),
            (2, Some(8), _) => lists::numbers(section, base, byte_len),
            (3, Some(element_len), _) => lists::queue(section, base, byte_len, element_len),
            (10, ..) => generic::pieces(section, base, byte_len),
            (13, _, Some(of)) if base.len() == byte_len => {
                let base = (self.state.slot(), base);
                roots::read(section, of, self.context.roots, base, self.diff.slot())
            }
            (encoding, ..) => Err(unknown(encoding)),
        }
    }

    fn validators(&self) -> Decoded<Validators> {
        let count = self.diff.header.validators as usize;
        match self.section("validators") {
            Some(section) => read_whole(section, |encoding, cursor| match encoding {
                4 => registry::read(cursor, self.state, count),
                _ => Err(unknown(encoding)),
            }),
            None if count == self.state.validator_count() && self.state.fork().is_some() => {
                Ok(self.state.columns.validators().clone())
            }
            None => {
                let wanted = format_args!("a section for {count} validators");
                Err(Wrong::new(wanted, "none"))
            }
        }
    }
}

/// Whether the section of a field begins with its length.
pub(crate) fn is_of_variable_len(field: &StateField) -> bool {
    field.fixed_len().is_none() && PER_VALIDATOR.iter().all(|(name, _)| *name != field.name)
}

/// The length at the start of the section of a field of variable length.
fn variable_len(field: &StateField, section: &[u8]) -> Decoded<(usize, usize)> {
    let (byte_len, encoded_len) = super::packed::varint_at(section)?;
    let most = match field.kind {
        FieldKind::List { element_len, limit } => limit.saturating_mul(element_len as u64),
        FieldKind::Variable { max_len } => max_len,
        FieldKind::Value { .. } | FieldKind::Vector { .. } => 0,
    };
    if byte_len > most.min(u64::from(u32::MAX)) {
        return Err(Wrong::new(format_args!("at most {most} bytes"), byte_len));
    }
    let byte_len = usize::try_from(byte_len).unwrap_or(usize::MAX);
    if let FieldKind::List { element_len, .. } = field.kind {
        lists::check_elements(byte_len, element_len)?;
    }
    Ok((byte_len, encoded_len))
}

/// Reads a section to its end.
fn read_whole<T>(
    section: &Section<'_>,
    read: impl FnOnce(u8, &mut Cursor<'_>) -> Decoded<T>,
) -> Decoded<T> {
    let mut cursor = Cursor::new(section.bytes()?);
    let value = read(section.encoding, &mut cursor)?;
    cursor.end()?;
    Ok(value)
}

fn unknown(encoding: u8) -> Wrong {
    Wrong::new("an encoding that this version knows for the field", encoding)
}

/// Applies a diff of a state in pieces.
fn apply_generic(state: StateRef<'_>, diff: &DiffValue<'_>) -> Result<Columns, DiffFault> {
    let pieces = match &diff.sections[..] {
        [section] if section.field == WHOLE && section.encoding == 10 => {
            read_whole(section, |_, cursor| pieces(state, diff.ssz_len(), cursor))
        }
        _ => Err(Wrong::new("one section, of the whole state", "others")),
    };
    let pieces = pieces.map_err(|wrong| diff.fault(Some(WHOLE), wrong))?;
    let columns = of_pieces(state.columns.preset(), state.base, pieces, diff.slot());
    columns.map_err(|wrong| diff.fault(Some(WHOLE), wrong))
}

fn pieces(state: StateRef<'_>, ssz_len: u64, section: &mut Cursor<'_>) -> Decoded<Vec<FieldBytes>> {
    let ssz_len = usize::try_from(ssz_len).unwrap_or(usize::MAX);
    let mut pieces = Vec::new();
    for start in (0..ssz_len).step_by(UNKNOWN_PIECE_BYTES) {
        let span = start..ssz_len.min(start + UNKNOWN_PIECE_BYTES);
        let before = state.ssz_in(start..start + UNKNOWN_PIECE_BYTES);
        let piece = section.packed_after(&before, span.len())?;
        pieces.push(match state.base.get(span.clone()) {
            Some(stored) if *stored == *piece => FieldBytes::Base(span),
            _ => FieldBytes::Own(Arc::new(piece.into_owned())),
        });
    }
    Ok(pieces)
}

/// The columns of a state in pieces. If its layout is known, as when only the registry got shorter, it is read as
/// any other.
fn of_pieces(preset: Preset, base: &[u8], pieces: Vec<FieldBytes>, slot: Slot) -> Decoded<Columns> {
    let columns = Columns::of_pieces(preset, slot, pieces);
    let state = StateRef { base, columns: &columns };
    let start = state.ssz_in(0..coldstore_consensus::StatePrefix::byte_len(preset));
    let wrong = |(wanted, found): (String, String)| Wrong::new(wanted, found);
    let found = super::super::columns::slot_of(preset, &start);
    let found = found.map_err(|malformed| wrong(malformed.wanted_and_found()))?;
    if found != slot {
        return Err(Wrong::new(format_args!("a state of slot {slot}"), found));
    }
    if StateFields::candidates(preset, &start).is_err() {
        return Ok(columns);
    }
    let mut ssz = Vec::new();
    let written = state.write_ssz(&mut ssz);
    let read = written
        .map_err(coldstore_consensus::StateFault::from)
        .and_then(|()| Columns::from_stream(preset, base, ssz.len() as u64, &mut &ssz[..]));
    read.map_err(|fault| Wrong::new("a state", fault))
}
