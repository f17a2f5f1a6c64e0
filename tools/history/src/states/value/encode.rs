//! Makes diffs.

use coldstore_consensus::{FieldKind, StateField, StateFields};

use super::super::columns::StateRef;
use super::apply::is_of_variable_len;
use super::chunk::{EncodedColumns, encode_columns};
use super::duties::DutyCache;
use super::fault::{Decoded, Wrong};
use super::header::{FIELDS, Header, SMALL_FIELDS, Sections, WHOLE};
use super::packed::put_count;
use super::roots::RootsOf;
use super::small::{SLOT_FIELD, is_small};
use super::stack::{self, is_per_validator};
use super::{DiffContext, DiffFault, Kind, generic, lists, registry, roots, slot, small};

/// A field of this many bytes is encoded in every possible way, to find the shortest.
const TRIED_BYTES: usize = 1 << 16;

/// Encodes a state on an earlier one of the same preset.
///
/// # Errors
/// [`DiffFault`] if the earlier state is none, or `bsr` has no root of it.
pub fn encode_diff(
    base: StateRef<'_>,
    next: StateRef<'_>,
    context: DiffContext<'_>,
) -> Result<Vec<u8>, DiffFault> {
    let kind = Kind::Columns;
    diff(kind, base, next, context).map_err(|wrong| wrong.at(next.slot(), Some(base.slot()), None))
}

/// Encodes a state on that of the slot before. Within an epoch, it is known who attests when, so that it takes a
/// tenth of what [`encode_diff`] makes of it; across epochs or forks it is the same.
///
/// # Errors
/// As [`encode_diff`].
pub fn encode_slot(
    base: StateRef<'_>,
    next: StateRef<'_>,
    context: DiffContext<'_>,
) -> Result<Vec<u8>, DiffFault> {
    let kind = if slot::is_next(base, next) { Kind::Slot } else { Kind::Columns };
    diff(kind, base, next, context).map_err(|wrong| wrong.at(next.slot(), Some(base.slot()), None))
}

fn diff(
    kind: Kind,
    base: StateRef<'_>,
    next: StateRef<'_>,
    context: DiffContext<'_>,
) -> Decoded<Vec<u8>> {
    let (preset, base_slot) = (next.columns.preset(), base.slot());
    if base_slot >= next.slot() || base.columns.preset() != preset {
        let wanted = format!("an earlier state of the {preset} preset");
        let found = format!("slot {base_slot}, {}", base.columns.preset());
        return Err(Wrong::new(wanted, found));
    }
    let tag = context.roots.state_root(base_slot);
    let tag = tag.map_err(|error| Wrong::new("the base's root in bsr", error))?;
    let tag = tag.ok_or_else(|| Wrong::new("the base's root in bsr", "none"))?;
    let count = |state: StateRef<'_>| u32::try_from(state.validator_count()).unwrap_or(u32::MAX);
    let mut header = Header {
        kind,
        fork: next.fork(),
        preset,
        slot: next.slot(),
        base_slot,
        base_tag: std::array::from_fn(|index| tag.0[index]),
        ssz_len: next.ssz_len(),
        base_validators: count(base),
        validators: count(next),
        chunk_log2: context.chunk_log2,
    };
    header.check_len(base.ssz_len())?;
    let mut sections = Sections::default();
    match (base.columns.layout(), next.columns.layout()) {
        (Some(_), Some(layout)) if header.check().is_ok() => {
            fields(kind, base, next, layout, context, &mut sections)?;
        }
        _ => {
            (header.kind, header.fork) = (Kind::Generic, None);
            (header.base_validators, header.validators) = (0, 0);
            header.check()?;
            sections.put(WHOLE, 10, &whole(base, next));
        }
    }
    Ok(header.write(&sections))
}

/// The sections of the fields that differ.
fn fields(
    kind: Kind,
    base: StateRef<'_>,
    next: StateRef<'_>,
    layout: StateFields,
    context: DiffContext<'_>,
    sections: &mut Sections,
) -> Decoded<()> {
    let all: Vec<StateField> = layout.iter().collect();
    let differing = |field: &StateField| {
        let (old, new) = (base.bytes_of(field.name), next.bytes_of(field.name)?);
        (!old.is_some_and(|old| is_same(old, new))).then_some((field.name, new))
    };
    let in_small = all.iter().filter(|field| is_small(field) && field.name != SLOT_FIELD);
    let in_small: Vec<(&str, &[u8])> = in_small.filter_map(differing).collect();
    if !in_small.is_empty() {
        sections.put(SMALL_FIELDS, 12, &small::put(&in_small));
    }
    let lists = match kind {
        Kind::Slot => EncodedColumns::default(),
        _ => lists_of_validators(base, next, context),
    };
    let own = DutyCache::default();
    let duties = context.duties.unwrap_or(&own);
    for name in FIELDS {
        let Some(field) = all.iter().find(|field| field.name == name && !is_small(field)) else {
            continue;
        };
        if field.name == "validators" {
            if let Some(section) = registry::put(base, next) {
                sections.put(name, 4, &section);
            }
        } else if kind == Kind::Slot && name != "inactivity_scores" && is_per_validator(name) {
            if let Some((encoding, section)) = slot::put(name, base, next, duties)? {
                sections.put(name, encoding, &section);
            }
        } else if kind != Kind::Slot && is_per_validator(name) {
            if let Some((encoding, section)) = lists.section(name) {
                sections.put(name, encoding, section);
            }
        } else if let Some((_, new)) = differing(field) {
            let (encoding, encoded) = field_section(field, base, next, context);
            let mut section = Vec::new();
            if is_of_variable_len(field) {
                put_count(&mut section, new.len());
            }
            section.extend(encoded);
            sections.put(name, encoding, &section);
        }
    }
    Ok(())
}

/// The lists with an element per validator.
fn lists_of_validators(
    base: StateRef<'_>,
    next: StateRef<'_>,
    context: DiffContext<'_>,
) -> EncodedColumns {
    let mut increments = Vec::with_capacity(base.validator_count());
    stack::load_increments(base, 0..base.validator_count(), &mut increments);
    let (base_lists, next_lists) =
        (stack::slices_of(base, &increments), stack::slices_of(next, &[]));
    let leak_divisor = stack::leak_divisor(base, next);
    encode_columns(context.chunk_log2, &base_lists, &next_lists, leak_divisor)
}

/// The shortest section of a field that differs.
fn field_section(
    field: &StateField,
    base: StateRef<'_>,
    next: StateRef<'_>,
    context: DiffContext<'_>,
) -> (u8, Vec<u8>) {
    let old = base.bytes_of(field.name).unwrap_or_default();
    let new = next.bytes_of(field.name).unwrap_or_default();
    if let Some(of) = RootsOf::of_field(field.name)
        && let states = [(base.slot(), old), (next.slot(), new)]
        && old.len() == new.len()
        && let Some(section) = roots::put(of, context.roots, states)
    {
        return (13, section);
    }
    let try_all = new.len() <= TRIED_BYTES;
    let mut tried = Vec::new();
    match field.kind {
        FieldKind::Vector { element_len, .. } => {
            tried.push((1, lists::put_runs(old, new, element_len)));
            if element_len == 8 {
                tried.push((2, lists::put_numbers(old, new)));
            }
            if try_all {
                tried.push((3, lists::put_queue(old, new, element_len)));
            }
        }
        FieldKind::List { element_len: 8, .. } => tried.push((2, lists::put_numbers(old, new))),
        FieldKind::List { element_len, .. } if element_len > 1 => {
            tried.push((3, lists::put_queue(old, new, element_len)));
        }
        FieldKind::List { .. } | FieldKind::Value { .. } | FieldKind::Variable { .. } => {}
    }
    // Where a rule leaves more than a quarter, the rule may not fit.
    let best = tried.iter().map(|(_, section)| section.len()).min();
    if try_all || best.is_none_or(|best| best > new.len() / 4) {
        tried.push((0, generic::put_whole(new)));
        tried.push((10, generic::put_pieces(old, new)));
    }
    let shortest = tried.into_iter().min_by_key(|(_, section)| section.len());
    shortest.unwrap_or_default()
}

/// The whole state in pieces.
fn whole(base: StateRef<'_>, next: StateRef<'_>) -> Vec<u8> {
    let mut section = Vec::new();
    let ssz_len = usize::try_from(next.ssz_len()).unwrap_or(usize::MAX);
    for start in (0..ssz_len).step_by(super::super::columns::UNKNOWN_PIECE_BYTES) {
        let span = start..start + super::super::columns::UNKNOWN_PIECE_BYTES;
        let (old, new) = (base.ssz_in(span.clone()), next.ssz_in(span));
        super::packed::put_packed_after(&mut section, &old, &new);
    }
    section
}

/// Whether two fields have the same bytes; those of one place in memory are not compared.
fn is_same(old: &[u8], new: &[u8]) -> bool {
    std::ptr::eq(old, new) || old == new
}
