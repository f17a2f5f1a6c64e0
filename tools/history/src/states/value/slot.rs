//! The lists with an element per validator in a diff on the state of the slot before: encodings 8 and 9.

use coldstore::Slot;
use coldstore_consensus::Preset;

use super::super::columns::{Columns, StateRef};
use super::committees::{Attesters, apply_flags, encode_flags};
use super::duties::DutyCache;
use super::exceptions::Unpacker;
use super::fault::{Decoded, Wrong};
use super::slot_balances::{apply_balances, encode_balances};
use super::{DiffFault, DiffValue, Kind};

/// Encodings of these lists.
pub(crate) const FLAGS: u8 = 8;
pub(crate) const BALANCES: u8 = 9;

const BALANCES_FIELD: &str = "balances";
const PREVIOUS_FIELD: &str = "previous_epoch_participation";
const CURRENT_FIELD: &str = "current_epoch_participation";

/// Whether a section of a diff is applied to the list of the slot before, in place.
pub(crate) fn is_in_place(kind: Kind, field: &str, encoding: u8) -> bool {
    let is_of_field = match field {
        CURRENT_FIELD | PREVIOUS_FIELD => encoding == FLAGS,
        BALANCES_FIELD => encoding == BALANCES,
        _ => false,
    };
    kind == Kind::Slot && is_of_field
}

/// Whether a state is the one of the slot after another state, in the same epoch and of the same fork.
pub(crate) fn is_next(base: StateRef<'_>, next: StateRef<'_>) -> bool {
    let is_same_fork = base.fork().is_some() && base.fork() == next.fork();
    is_same_fork
        && check_slots(next.columns.preset(), base.slot(), next.slot()).is_ok()
        && base.validator_count() <= next.validator_count()
}

/// Refuses a base that is not the slot before, in the same epoch.
pub(crate) fn check_slots(preset: Preset, base: Slot, next: Slot) -> Decoded<()> {
    let is_first = next.0.is_multiple_of(preset.slots_per_epoch());
    if base.0 + 1 == next.0 && !is_first {
        return Ok(());
    }
    let wanted = "for a diff of a slot, a base of the slot before in the same epoch";
    Err(Wrong::new(wanted, format_args!("a base of slot {base}")))
}

/// The section of a list, and its encoding; `None` if the list is the base's.
pub(crate) fn put(
    field: &str,
    base: StateRef<'_>,
    next: StateRef<'_>,
    duties: &DutyCache,
) -> Decoded<Option<(u8, Vec<u8>)>> {
    let [old, new] = [base, next].map(|state| state.bytes_of(field).unwrap_or_default());
    let section = match field {
        BALANCES_FIELD => {
            let (old, new) = (old.as_chunks().0, new.as_chunks().0);
            encode_balances(old, &changed(old, new), &duties.sync_members(base)?)
        }
        PREVIOUS_FIELD | CURRENT_FIELD if old != new => {
            let previous = base.bytes_of(PREVIOUS_FIELD).unwrap_or_default();
            let committees = duties.committees(base, epoch_of(field, base))?;
            let attesters = Attesters {
                committees: &committees,
                slots_per_epoch: base.columns.preset().slots_per_epoch(),
                previous: (field == CURRENT_FIELD).then_some(previous),
            };
            encode_flags(old, new, attesters)
        }
        _ => None,
    };
    let encoding = if field == BALANCES_FIELD { BALANCES } else { FLAGS };
    Ok(section.map(|section| (encoding, section)))
}

/// The epoch of a state.
pub(crate) fn epoch_of_slot(state: StateRef<'_>) -> u64 {
    state.slot().0 / state.columns.preset().slots_per_epoch()
}

/// The epoch of a list of flags.
fn epoch_of(field: &str, state: StateRef<'_>) -> u64 {
    let current = epoch_of_slot(state);
    if field == CURRENT_FIELD { current } else { current.saturating_sub(1) }
}

/// The balances that differ, by ascending index.
fn changed(old: &[[u8; 8]], new: &[[u8; 8]]) -> Vec<(u32, u64)> {
    /// Balances that are compared at once.
    const GROUP: usize = 256;
    let mut changed = Vec::new();
    for (start, new) in (0..).step_by(GROUP).zip(new.chunks(GROUP)) {
        let old = old.get(start..old.len().min(start + new.len())).unwrap_or_default();
        if old == new {
            continue;
        }
        for (place, new) in new.iter().enumerate() {
            if old.get(place).unwrap_or(&[0; 8]) != new {
                changed.push((
                    u32::try_from(start + place).unwrap_or(u32::MAX),
                    u64::from_le_bytes(*new),
                ));
            }
        }
    }
    changed
}

/// A list of the next state.
type List = (&'static str, Vec<u8>);

/// Applies the lists of a diff, which are taken out of `columns`, those of the slot before: they are copied only if
/// they are shared.
pub(crate) fn apply(
    base: &[u8],
    columns: &mut Columns,
    diff: &DiffValue<'_>,
    duties: &DutyCache,
    unpacker: &mut Unpacker,
) -> Result<Vec<List>, DiffFault> {
    let mut lists = Vec::new();
    // The flags of the current epoch are predicted from those of the previous one in the base.
    for field in [CURRENT_FIELD, PREVIOUS_FIELD, BALANCES_FIELD] {
        let section = diff.sections.iter().find(|section| section.field == field);
        let is_own = |encoding| is_in_place(diff.kind(), field, encoding);
        let Some(section) = section.filter(|of| is_own(of.encoding)) else {
            continue;
        };
        let validators = diff.header.validators as usize;
        let applied = section.bytes().and_then(|bytes| {
            apply_field(field, bytes, base, columns, validators, duties, unpacker)
        });
        lists.push((field, applied.map_err(|wrong| diff.fault(Some(field), wrong))?));
    }
    Ok(lists)
}

fn apply_field(
    field: &'static str,
    section: &[u8],
    base: &[u8],
    columns: &mut Columns,
    validators: usize,
    duties: &DutyCache,
    unpacker: &mut Unpacker,
) -> Decoded<Vec<u8>> {
    let state = StateRef { base, columns };
    if field == BALANCES_FIELD {
        let members = duties.sync_members(state)?;
        let mut list = taken(columns, field, base, validators * size_of::<u64>())?;
        apply_balances(section, &members, list.as_chunks_mut().0, unpacker)?;
        return Ok(list);
    }
    let slots_per_epoch = state.columns.preset().slots_per_epoch();
    let committees = duties.committees(state, epoch_of(field, state))?;
    let mut list = taken(columns, field, base, validators)?;
    let previous = StateRef { base, columns }.bytes_of(PREVIOUS_FIELD).unwrap_or_default();
    let previous = (field == CURRENT_FIELD).then_some(previous);
    let attesters = Attesters { committees: &committees, slots_per_epoch, previous };
    apply_flags(section, attesters, &mut list, unpacker)?;
    Ok(list)
}

/// A list of the slot before, continued with zeros for validators that the block adds.
fn taken(columns: &mut Columns, field: &str, base: &[u8], byte_len: usize) -> Decoded<Vec<u8>> {
    let list = columns.take_field(field);
    let list = list.ok_or_else(|| Wrong::new("a base with the field", "one without"))?;
    let mut list = list.into_vec(base);
    list.resize(byte_len, 0);
    Ok(list)
}
