//! The columns of a state in memory, in which only what changed is written.

use std::mem;
use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::transition::{BeaconState, ChangedElements, FlatField, StateChanges};
use coldstore_consensus::{Malformed, StateFields};

use super::columns::{
    Columns, FieldBytes, StateRef, VALIDATOR_BYTES, VALIDATORS_FIELD, ValidatorBytes, Validators,
};

/// Follows a state: its columns as it was at the last update, and at the one before.
///
/// The older columns become the next newest: what changed in both steps is written to them, so that a slot costs
/// no copy of the balances.
#[derive(Debug)]
pub(crate) struct Mirror<'a> {
    /// The raw state on which the columns are.
    base: &'a [u8],
    latest: Columns,
    /// With what changed from there to the latest. `None` before the first update.
    older: Option<(Columns, StateChanges)>,
}

impl<'a> Mirror<'a> {
    /// Follows a state that has these columns on the raw state `base`.
    pub(crate) fn new(base: &'a [u8], columns: Columns, state: &mut BeaconState<'_>) -> Self {
        // Changes are followed from here on.
        state.take_changes();
        Self { base, latest: columns, older: None }
    }

    pub(crate) fn latest(&self) -> StateRef<'_> {
        StateRef { base: self.base, columns: &self.latest }
    }

    /// The state before the latest, and what changed since.
    pub(crate) fn older(&self) -> Option<(StateRef<'_>, &StateChanges)> {
        let (columns, changes) = self.older.as_ref()?;
        Some((StateRef { base: self.base, columns }, changes))
    }

    /// Brings the columns up to date.
    pub(crate) fn update(&mut self, state: &mut BeaconState<'_>) -> Result<(), Malformed> {
        let changes = state.take_changes();
        let next = match self.older.take() {
            Some((older, between)) => self.written(older, state, [Some(&between), Some(&changes)]),
            None => self.written(self.latest.clone(), state, [None, Some(&changes)]),
        };
        let older = mem::replace(&mut self.latest, next?);
        self.older = Some((older, changes));
        Ok(())
    }

    /// The columns of the state, written into older ones. `steps` are what changed from these to the latest, and
    /// from the latest to the state.
    fn written(
        &self,
        older: Columns,
        state: &BeaconState<'_>,
        steps: [Option<&StateChanges>; 2],
    ) -> Result<Columns, Malformed> {
        let layout = StateFields::of(self.latest.preset(), state.fork());
        let mut older = older.into_fields();
        let validators = self.validators(state, steps[1]);
        let fields = layout.iter().map(|field| {
            if field.name == VALIDATORS_FIELD {
                return FieldBytes::Base(0..0);
            }
            let latest = self.latest.place_of(field.name);
            match state.flat_field(field.name) {
                Some(flat) => {
                    let steps = steps.map(|step| step.and_then(|changes| changes.of(field.name)));
                    self.flat(flat, older.remove(field.name), latest, steps)
                }
                None => self.small(field.name, latest, state),
            }
        });
        let fields = fields.collect();
        Columns::new(layout, Slot(state.slot()), fields, validators)
    }

    /// A field without marks: the latest one if its bytes are the same.
    fn small(
        &self,
        name: &str,
        latest: Option<&FieldBytes>,
        state: &BeaconState<'_>,
    ) -> FieldBytes {
        let mut encoded = Vec::with_capacity(latest.map_or(0, FieldBytes::len));
        state.write_field(name, &mut encoded);
        self.shared(encoded, latest)
    }

    /// The latest bytes if they are the same.
    fn shared(&self, encoded: Vec<u8>, latest: Option<&FieldBytes>) -> FieldBytes {
        match latest {
            Some(latest) if latest.bytes(self.base) == encoded => latest.clone(),
            _ => FieldBytes::Own(Arc::new(encoded)),
        }
    }

    fn flat(
        &self,
        flat: FlatField<'_>,
        older: Option<FieldBytes>,
        latest: Option<&FieldBytes>,
        steps: [Option<&ChangedElements>; 2],
    ) -> FieldBytes {
        let (count, byte_len) = (flat.len(), flat.len() * flat.element_len());
        let Some((latest, ChangedElements::Groups { groups, .. })) = latest.zip(steps[1]) else {
            let mut encoded = vec![0; byte_len];
            flat.write(0..count, &mut encoded);
            return self.shared(encoded, latest);
        };
        if groups.is_empty() && latest.len() == byte_len {
            return latest.clone();
        }
        let (mut bytes, first) = match (older, steps[0]) {
            (Some(FieldBytes::Own(bytes)), Some(ChangedElements::Groups { .. })) => (bytes, 0),
            _ => (Arc::new(latest.bytes(self.base).to_vec()), 1),
        };
        let encoded = Arc::make_mut(&mut bytes);
        encoded.resize(byte_len, 0);
        for elements in steps[first..].iter().flatten().flat_map(|step| step.ranges(count)) {
            flat.write(elements, encoded);
        }
        FieldBytes::Own(bytes)
    }

    fn validators(&self, state: &BeaconState<'_>, changes: Option<&StateChanges>) -> Validators {
        let latest = self.latest.validators();
        let base = self.latest().base_validators();
        let changed = changes.and_then(|changes| changes.of(VALIDATORS_FIELD));
        let changed = changed.unwrap_or(&ChangedElements::All);
        let (mut updates, mut validators) = (Vec::new(), latest.clone());
        for index in changed.ranges(state.validator_count()).flatten() {
            let validator = state.encoded_validator(index);
            match index.checked_sub(base.len()) {
                Some(place) => {
                    let appended = Arc::make_mut(&mut validators.appended);
                    let end = (place + 1) * VALIDATOR_BYTES;
                    appended.resize(appended.len().max(end), 0);
                    appended[end - VALIDATOR_BYTES..end].copy_from_slice(&validator);
                }
                // Fewer than 2^32.
                None => updates.extend(u32::try_from(index).map(|index| (index, validator))),
            }
        }
        if !updates.is_empty() {
            validators.changed = Arc::new(merged(&latest.changed, updates, base));
        }
        validators
    }
}

/// The changed validators, with updates; without those that are as in the base again.
fn merged(
    changed: &[(u32, ValidatorBytes)],
    updates: Vec<(u32, ValidatorBytes)>,
    base: &[ValidatorBytes],
) -> Vec<(u32, ValidatorBytes)> {
    let mut merged = Vec::with_capacity(changed.len() + updates.len());
    let mut changed = changed.iter().peekable();
    for (index, validator) in updates {
        while let Some(before) = changed.next_if(|(other, _)| *other < index) {
            merged.push(*before);
        }
        changed.next_if(|(other, _)| *other == index);
        if base.get(index as usize) != Some(&validator) {
            merged.push((index, validator));
        }
    }
    merged.extend(changed);
    merged
}

/// Whether a state in memory is this one.
pub(crate) fn is_equal(state: &BeaconState<'_>, stored: StateRef<'_>) -> bool {
    let mut encoded = Vec::new();
    let mut is_equal = |name: &str| {
        if name == VALIDATORS_FIELD {
            let mut validators = stored.validators(0..usize::MAX).enumerate();
            return state.validator_count() == stored.validator_count()
                && validators.all(|(index, found)| state.encoded_validator(index) == *found);
        }
        encoded.clear();
        state.write_field(name, &mut encoded) && stored.bytes_of(name) == Some(&encoded[..])
    };
    let fields = StateFields::of(stored.columns.preset(), state.fork());
    stored.fork() == Some(state.fork()) && fields.iter().all(|field| is_equal(field.name))
}
