//! Applies diffs.

use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::{FieldKind, Preset, StateField, StateFields};

use super::super::columns::{
    Columns, FieldBytes, PER_VALIDATOR, StateRef, VALIDATOR_BYTES, VALIDATORS_FIELD,
};
use super::duties::DutyCache;
use super::exceptions::Unpacker;
use super::fault::{Decoded, Wrong};
use super::header::{Header, SMALL_FIELDS, Section};
use super::packed::Cursor;
use super::registry::{Changes, Overlay};
use super::roots::RootsOf;
use super::small::{SLOT_FIELD, is_small};
use super::stack::{self, Stack};
use super::{
    DiffContext, DiffFault, DiffValue, Kind, generic, lists, registry, roots, slot, small,
};

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
    let mut overlay = Overlay::default();
    let own = DutyCache::default();
    let duties = context.duties.unwrap_or(&own);
    for diff in path {
        // 1. A diff whose lists are not in chunks needs those of the state before it.
        let sections = stack::sections_of(diff, &mut unpacker)?;
        if stack.is_empty() || sections.is_none() || stack.is_other(diff) {
            overlay.flush(columns.validators_mut());
        }
        if sections.is_none() || stack.is_other(diff) {
            columns = unwound(std::mem::take(&mut stack), base, columns, diff, duties)?;
        }
        let state = StateRef { base, columns: &columns };
        check_base(preset, state, diff, context).map_err(|wrong| diff.fault(None, wrong))?;
        if diff.kind() == Kind::Generic {
            columns = generic::apply(state, diff)?;
            continue;
        }
        // 2. What depends on the whole state before it.
        let applying = Applying::new(state, diff, context, sections.is_some())?;
        let changes = applying.changes(state, &overlay)?;
        // 3. Those lists wait until all are applied.
        if let Some(sections) = sections {
            stack.push(diff, sections, state, &changes);
        }
        // 4. Those of a slot are edited in place, by the others of the state before it.
        let lists = slot::apply(base, &mut columns, diff, duties, &mut unpacker)?;
        // 5. Field by field, which are edited in place.
        columns = applying.apply(base, columns, &changes, &mut overlay)?;
        for (field, list) in lists {
            columns.set_field(field, FieldBytes::Own(Arc::new(list)));
        }
    }
    overlay.flush(columns.validators_mut());
    stack.unwind(base, columns)
}

/// Applies all that waits before a diff. If that is of a slot, its epoch's committees are computed meanwhile, which
/// takes as long.
fn unwound(
    stack: Stack<'_>,
    base: &[u8],
    columns: Columns,
    diff: &DiffValue<'_>,
    duties: &DutyCache,
) -> Result<Columns, DiffFault> {
    if stack.is_empty() || diff.kind() != Kind::Slot {
        return stack.unwind(base, columns);
    }
    let without_lists = columns.clone();
    std::thread::scope(|scope| {
        let state = StateRef { base, columns: &without_lists };
        // Only what is kept matters; an error comes again when the committees are needed.
        let early = move || drop(duties.committees(state, slot::epoch_of_slot(state)));
        let spawned = std::thread::Builder::new().spawn_scoped(scope, early);
        let columns = stack.unwind(base, columns);
        drop(spawned);
        columns
    })
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
        let wanted = format!("a state of the {preset} preset");
        return Err(Wrong::new(wanted, diff.preset()));
    }
    if state.slot() != base_slot {
        let found = format!("that of slot {}", state.slot());
        return Err(Wrong::new("the base's state", found));
    }
    if diff.kind() != Kind::Generic && state.validator_count() != base_validators as usize {
        let wanted = format!("a base of {base_validators} validators");
        return Err(Wrong::new(wanted, state.validator_count()));
    }
    if diff.kind() == Kind::Slot {
        slot::check_slots(preset, base_slot, diff.slot())?;
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
    diff: &'a DiffValue<'v>,
    context: DiffContext<'a>,
    layout: StateFields,
    small: Vec<(&'static str, Vec<u8>)>,
    /// Lengths of the new state's fields.
    lens: Vec<usize>,
    /// Whether the lists with an element per validator are in chunks, which are applied later.
    in_chunks: bool,
}

impl<'a, 'v> Applying<'a, 'v> {
    /// Checks what the diff says of the fields and their lengths, before anything is allocated for them.
    fn new(
        state: StateRef<'_>,
        diff: &'a DiffValue<'v>,
        context: DiffContext<'a>,
        in_chunks: bool,
    ) -> Result<Self, DiffFault> {
        let header = &diff.header;
        let Some(fork) = header.fork else {
            return Err(diff.fault(None, Wrong::new("a known fork", "none")));
        };
        let layout = StateFields::of(header.preset, fork);
        let (small, lens) = (Vec::new(), Vec::with_capacity(layout.len()));
        let mut applying = Self { diff, context, layout, small, lens, in_chunks };
        applying.small = match applying.section(SMALL_FIELDS) {
            None => Vec::new(),
            Some(section) => read_whole(section, |encoding, cursor| match encoding {
                12 => small::read(cursor, layout),
                _ => Err(unknown(encoding)),
            })
            .map_err(|wrong| diff.fault(Some(SMALL_FIELDS), wrong))?,
        };
        for section in &diff.sections {
            let is_own = |field: StateField| field.name == section.field && !is_small(&field);
            if section.field != SMALL_FIELDS && !layout.iter().any(is_own) {
                let wanted = format!("a field with a section in a {fork} state");
                return Err(diff.fault(Some(section.field), Wrong::new(wanted, section.field)));
            }
        }
        let mut total = layout.fixed_part_len() as u64;
        for field in layout.iter() {
            let byte_len = applying.byte_len(state, &field);
            let byte_len = byte_len.map_err(|wrong| diff.fault(Some(field.name), wrong))?;
            applying.lens.push(byte_len);
            if field.fixed_len().is_none() {
                total = total.saturating_add(byte_len as u64);
            }
        }
        match diff.ssz_len() {
            wanted if wanted == total => Ok(applying),
            wanted => {
                let wanted = format!("fields of {wanted} bytes together");
                Err(diff.fault(None, Wrong::new(wanted, total)))
            }
        }
    }

    fn section(&self, name: &str) -> Option<&'a Section<'v>> {
        self.diff.sections.iter().find(|section| section.field == name)
    }

    /// The length of a field of the new state.
    fn byte_len(&self, state: StateRef<'_>, field: &StateField) -> Decoded<usize> {
        let count = self.diff.header.validators as usize;
        let per_validator = PER_VALIDATOR.into_iter().find(|(name, _)| *name == field.name);
        if field.name == VALIDATORS_FIELD {
            return Ok(count * VALIDATOR_BYTES);
        }
        if let Some((_, element_len)) = per_validator {
            return Ok(count * element_len);
        }
        if let Some(byte_len) = field.fixed_len() {
            return Ok(byte_len);
        }
        match self.section(field.name) {
            Some(section) => variable_len(field, section.bytes()?),
            None => state.field_len(field.name).ok_or_else(lacking),
        }
    }

    /// The changed validators.
    fn changes(&self, state: StateRef<'_>, overlay: &Overlay) -> Result<Changes, DiffFault> {
        let count = self.diff.header.validators as usize;
        let changes = match self.section(VALIDATORS_FIELD) {
            Some(section) => read_whole(section, |encoding, cursor| match encoding {
                4 => registry::read(cursor, state, overlay, count),
                _ => Err(unknown(encoding)),
            }),
            None if count == state.validator_count() && state.fork().is_some() => {
                Ok(Changes::default())
            }
            None => {
                let wanted = format!("a section for {count} validators");
                Err(Wrong::new(wanted, "none"))
            }
        };
        changes.map_err(|wrong| self.diff.fault(Some(VALIDATORS_FIELD), wrong))
    }

    /// The new state's columns, of those of the base.
    fn apply(
        &self,
        base: &[u8],
        mut columns: Columns,
        changes: &Changes,
        overlay: &mut Overlay,
    ) -> Result<Columns, DiffFault> {
        let mut validators = std::mem::take(columns.validators_mut());
        overlay.add(&mut validators, changes);
        let mut fields = Vec::with_capacity(self.layout.len());
        for (place, (field, byte_len)) in self.layout.iter().zip(&self.lens).enumerate() {
            let fault = |wrong| self.diff.fault(Some(field.name), wrong);
            if field.name == VALIDATORS_FIELD {
                fields.push(FieldBytes::Base(0..0));
                continue;
            }
            let made = self.field(&field, *byte_len, base, &mut columns).map_err(fault)?;
            if let FieldKind::Variable { .. } = field.kind {
                self.layout.check_content(place, made.bytes(base)).map_err(|malformed| {
                    let (wanted, found) = malformed.wanted_and_found();
                    fault(Wrong::new(wanted, found))
                })?;
            }
            fields.push(made);
        }
        let columns = Columns::new(self.layout, self.diff.slot(), fields, validators);
        columns.map_err(|malformed| {
            let (wanted, found) = malformed.wanted_and_found();
            self.diff.fault(None, Wrong::new(wanted, found))
        })
    }

    /// A field of `byte_len` bytes, of that of the base, which is taken out of the columns.
    fn field(
        &self,
        field: &StateField,
        byte_len: usize,
        base: &[u8],
        columns: &mut Columns,
    ) -> Decoded<FieldBytes> {
        let own = |bytes: Vec<u8>| FieldBytes::Own(Arc::new(bytes));
        if field.name == SLOT_FIELD {
            return Ok(own(self.diff.slot().0.to_le_bytes().to_vec()));
        }
        if let Some((_, bytes)) = self.small.iter().find(|(name, _)| *name == field.name) {
            return Ok(own(bytes.clone()));
        }
        let old = columns.take_field(field.name);
        let Some(section) = self.section(field.name) else {
            // A list with an element for each validator is then continued with zeros, from its start if need be.
            let is_continued = stack::is_per_validator(field.name);
            let old = old.or(is_continued.then_some(FieldBytes::Base(0..0)));
            return self.without_section(field, byte_len, base, old.ok_or_else(lacking)?);
        };
        let is_in_place = slot::is_in_place(self.diff.kind(), field.name, section.encoding);
        if is_in_place || self.in_chunks && stack::is_per_validator(field.name) {
            return Ok(FieldBytes::unread(byte_len));
        }
        let bytes = read_whole(section, |encoding, cursor| {
            if is_of_variable_len(field) {
                cursor.varint()?;
            }
            let base = (base, old, columns.slot());
            self.decode(field, byte_len, encoding, cursor, base)
        })?;
        Ok(own(bytes))
    }

    /// The base's field, of this length in the new state.
    fn without_section(
        &self,
        field: &StateField,
        byte_len: usize,
        base: &[u8],
        old: FieldBytes,
    ) -> Decoded<FieldBytes> {
        if old.len() == byte_len {
            return Ok(old);
        }
        if !stack::is_per_validator(field.name) || old.len() > byte_len {
            let wanted = format!("a section for a field of {byte_len} bytes");
            return Err(Wrong::new(
                wanted,
                format_args!("none, and {} bytes in the base", old.len()),
            ));
        }
        if self.in_chunks {
            return Ok(FieldBytes::unread(byte_len));
        }
        let mut bytes = old.into_vec(base);
        bytes.resize(byte_len, 0);
        Ok(FieldBytes::Own(Arc::new(bytes)))
    }

    fn decode(
        &self,
        field: &StateField,
        byte_len: usize,
        encoding: u8,
        section: &mut Cursor<'_>,
        (base, old, base_slot): (&[u8], Option<FieldBytes>, Slot),
    ) -> Decoded<Vec<u8>> {
        let element_len = match field.kind {
            FieldKind::Vector { element_len, .. } | FieldKind::List { element_len, .. } => {
                Some(element_len)
            }
            FieldKind::Value { .. } | FieldKind::Variable { .. } => None,
        };
        let is_known = old.is_some();
        let old = old.unwrap_or(FieldBytes::Base(0..0));
        match (encoding, element_len, RootsOf::of_field(field.name)) {
            (0, ..) => Ok(section.packed(byte_len)?.into_owned()),
            (1, Some(element_len), _) => {
                lists::runs(section, old.into_vec(base), byte_len, element_len)
            }
            (2, Some(8), _) => lists::numbers(section, old.into_vec(base), byte_len),
            (3, Some(element_len), _) => {
                lists::queue(section, old.into_vec(base), byte_len, element_len)
            }
            (10, ..) => generic::pieces(section, old.bytes(base), byte_len),
            (13, _, Some(of)) if is_known && old.len() == byte_len => {
                let vector = (base_slot, old.into_vec(base));
                roots::read(section, of, self.context.roots, vector, self.diff.slot())
            }
            (encoding, ..) => Err(unknown(encoding)),
        }
    }
}

fn lacking() -> Wrong {
    Wrong::new("a section, since the base has no such field", "none")
}

/// Whether the section of a field begins with its length.
pub(crate) fn is_of_variable_len(field: &StateField) -> bool {
    field.fixed_len().is_none() && PER_VALIDATOR.iter().all(|(name, _)| *name != field.name)
}

/// The length at the start of the section of a field of variable length.
fn variable_len(field: &StateField, section: &[u8]) -> Decoded<usize> {
    let (byte_len, _) = super::packed::varint_at(section)?;
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
    Ok(byte_len)
}

/// Reads a section to its end.
pub(crate) fn read_whole<T>(
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
