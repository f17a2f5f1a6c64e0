//! The validators: encoding 4 (FORMAT.md, section 4).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::super::columns::{StateRef, VALIDATOR_BYTES, ValidatorBytes, Validators};
use super::fault::{Decoded, Wrong};
use super::packed::{Cursor, put_count, put_gaps, put_packed};

/// The fields of a validator, by their bytes: public key, credentials, effective balance, `slashed`, and four
/// epochs.
const COLUMNS: [Range<usize>; 8] =
    [0..48, 48..80, 80..88, 88..89, 89..97, 97..105, 105..113, 113..121];

/// Encoding 4; `None` if nothing changed. The registry does not get shorter.
pub(crate) fn put(base: StateRef<'_>, next: StateRef<'_>) -> Option<Vec<u8>> {
    let count = base.validator_count();
    let changed = changed(base, next);
    let added: Vec<&ValidatorBytes> = next.validators(count..usize::MAX).collect();
    if changed.is_empty() && added.is_empty() {
        return None;
    }
    let mut section = Vec::new();
    put_count(&mut section, changed.len());
    put_gaps(&mut section, changed.iter().map(|(index, _, _)| *index));
    let masks: Vec<u8> = changed.iter().map(|(_, old, new)| mask_of(old, new)).collect();
    put_packed(&mut section, &masks);
    for (place, column) in COLUMNS.into_iter().enumerate() {
        let set = masks.iter().zip(&changed).filter(|(mask, _)| *mask >> place & 1 == 1);
        let values: Vec<u8> =
            set.flat_map(|(_, (_, _, new))| new[column.clone()].iter().copied()).collect();
        put_packed(&mut section, &values);
    }
    for column in COLUMNS {
        let values: Vec<u8> =
            added.iter().flat_map(|new| new[column.clone()].iter().copied()).collect();
        put_packed(&mut section, &values);
    }
    Some(section)
}

fn mask_of(old: &ValidatorBytes, new: &ValidatorBytes) -> u8 {
    let differs = |column: &Range<usize>| old[column.clone()] != new[column.clone()];
    (0..).zip(&COLUMNS).map(|(place, column)| u8::from(differs(column)) << place).sum()
}

type Changed<'a> = (u32, &'a ValidatorBytes, &'a ValidatorBytes);

/// The validators of the base that are others in the next state. Those that both have from the same stored state
/// are not compared.
fn changed<'a>(base: StateRef<'a>, next: StateRef<'a>) -> Vec<Changed<'a>> {
    let count = base.validator_count().min(next.validator_count());
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let shared = base.base_validators().as_ptr() == next.base_validators().as_ptr();
    let shared_count = base.base_validators().len().min(next.base_validators().len());
    let one = |state: StateRef<'a>, index: u32| {
        state.validators(index as usize..index as usize + 1).next()
    };
    let differing = |index: u32| {
        let (old, new) = (one(base, index)?, one(next, index)?);
        (old != new).then_some((index, old, new))
    };
    if !shared {
        let old = base.validators(0..count as usize);
        let pairs = (0..).zip(old.zip(next.validators(0..count as usize)));
        return pairs
            .filter(|(_, (old, new))| old != new)
            .map(|(index, (old, new))| (index, old, new))
            .collect();
    }
    let lists = [base, next].map(|state| &state.columns.validators().changed);
    let mut indices: Vec<u32> =
        lists.iter().flat_map(|list| list.iter().map(|(index, _)| *index)).collect();
    indices.sort_unstable();
    indices.dedup();
    let behind = u32::try_from(shared_count).unwrap_or(u32::MAX)..count;
    indices.retain(|index| *index < behind.start);
    indices.into_iter().chain(behind).filter_map(differing).collect()
}

/// What a section changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Validators of the base, ascending, as they are now.
    pub(crate) changed: Vec<(u32, ValidatorBytes)>,
    /// Validators behind those of the base.
    pub(crate) added: Vec<u8>,
}

/// Changed validators of a path's states that are not yet in the columns: those of an epoch are few, while those
/// since the stored state may be 18 MB, which are merged once and not for each epoch.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    recent: Vec<(u32, ValidatorBytes)>,
}

impl Overlay {
    fn validator(&self, base: StateRef<'_>, index: u32) -> Option<ValidatorBytes> {
        match self.recent.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => Some(self.recent[place].1),
            Err(_) => base.validator(index as usize),
        }
    }

    /// Adds what a diff changes. The number of validators is right from then on, and all of them after
    /// [`Self::flush`].
    pub(crate) fn add(&mut self, validators: &mut Validators, changes: &Changes) {
        let stored = validators.base.len() / VALIDATOR_BYTES;
        let behind = changes.changed.partition_point(|(index, _)| (*index as usize) < stored);
        let (changed, in_appended) = changes.changed.split_at(behind);
        if !in_appended.is_empty() || !changes.added.is_empty() {
            let list = Arc::make_mut(&mut validators.appended);
            for (index, validator) in in_appended {
                let at = (*index as usize - stored) * VALIDATOR_BYTES;
                list[at..at + VALIDATOR_BYTES].copy_from_slice(validator);
            }
            list.extend_from_slice(&changes.added);
        }
        if !changed.is_empty() {
            self.recent = merged(&self.recent, changed);
        }
        if self.recent.len() > validators.changed.len() / 4 {
            self.flush(validators);
        }
    }

    /// Puts what waits into the columns.
    pub(crate) fn flush(&mut self, validators: &mut Validators) {
        if !self.recent.is_empty() {
            validators.changed = Arc::new(merged(&validators.changed, &self.recent));
            self.recent.clear();
        }
    }
}

/// Reads encoding 4: what makes of the base's a registry of `count` validators.
pub(crate) fn read(
    section: &mut Cursor<'_>,
    base: StateRef<'_>,
    overlay: &Overlay,
    count: usize,
) -> Decoded<Changes> {
    let base_count = base.validator_count();
    let changed_count = section.count("changed validators", base_count)?;
    let indices = section.gaps(changed_count, base_count)?;
    let masks = section.packed(changed_count)?;
    if masks.contains(&0) {
        return Err(Wrong::new("a mask of changes", 0));
    }
    let columns = |section: &mut Cursor<'_>, count: &dyn Fn(usize) -> usize| {
        let mut columns: [Cow<'_, [u8]>; 8] = Default::default();
        for (place, column) in COLUMNS.into_iter().enumerate() {
            columns[place] = Cow::Owned(section.packed(count(place) * column.len())?.into_owned());
        }
        Ok(columns)
    };
    let with = |place: usize| masks.iter().filter(|mask| **mask >> place & 1 == 1).count();
    let values = columns(section, &with)?;
    let added = columns(section, &|_| count - base_count)?;
    let mut at = [0; 8];
    let mut entries = Vec::with_capacity(changed_count);
    for (index, mask) in indices.into_iter().zip(masks.iter()) {
        let Some(mut validator) = overlay.validator(base, index) else { continue };
        for (place, column) in COLUMNS.into_iter().enumerate() {
            if mask >> place & 1 == 1 {
                let byte_len = column.len();
                validator[column].copy_from_slice(&values[place][at[place]..at[place] + byte_len]);
                at[place] += byte_len;
            }
        }
        entries.push((index, validator));
    }
    let mut appended = vec![0; (count - base_count) * VALIDATOR_BYTES];
    for (index, validator) in appended.as_chunks_mut::<VALIDATOR_BYTES>().0.iter_mut().enumerate() {
        for (place, column) in COLUMNS.into_iter().enumerate() {
            let byte_len = column.len();
            validator[column]
                .copy_from_slice(&added[place][index * byte_len..(index + 1) * byte_len]);
        }
    }
    Ok(Changes { changed: entries, added: appended })
}

/// Reads encoding 4 for one validator: what it is in a registry of `count` validators, from what it is in the base's of
/// `base_count`. Unpacks only the columns that it changes.
pub(crate) fn read_one(
    section: &mut Cursor<'_>,
    (base_count, count): (usize, usize),
    index: usize,
    base: Option<ValidatorBytes>,
) -> Decoded<Option<ValidatorBytes>> {
    let changed_count = section.count("changed validators", base_count)?;
    let indices = section.gaps(changed_count, base_count)?;
    let rank = u32::try_from(index).ok().and_then(|index| indices.binary_search(&index).ok());
    if index < base_count && rank.is_none() || index >= count {
        return Ok(base);
    }
    let masks = section.packed(changed_count)?;
    let has = |mask: u8, place: usize| mask >> place & 1 == 1;
    let mut validator = base.unwrap_or([0; VALIDATOR_BYTES]);
    let mut copy = |column: &Range<usize>, values: &[u8], place: usize| {
        let byte_len = column.len();
        validator[column.clone()]
            .copy_from_slice(&values[place * byte_len..(place + 1) * byte_len]);
    };
    for (place, column) in COLUMNS.iter().enumerate() {
        let byte_len = masks.iter().filter(|mask| has(**mask, place)).count() * column.len();
        match rank.filter(|rank| has(masks[*rank], place)) {
            None => section.skip_packed(byte_len)?,
            Some(rank) => {
                let before = masks[..rank].iter().filter(|mask| has(**mask, place)).count();
                copy(column, &section.packed(byte_len)?, before);
            }
        }
    }
    if rank.is_none() {
        for column in &COLUMNS {
            let values = section.packed((count - base_count) * column.len())?;
            copy(column, &values, index - base_count);
        }
    }
    Ok(Some(validator))
}

/// Two ascending lists as one; of entries with one index, the second list's.
fn merged(
    old: &[(u32, ValidatorBytes)],
    new: &[(u32, ValidatorBytes)],
) -> Vec<(u32, ValidatorBytes)> {
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut old = old.iter().peekable();
    for entry in new {
        while let Some(before) = old.next_if(|before| before.0 < entry.0) {
            all.push(*before);
        }
        old.next_if(|same| same.0 == entry.0);
        all.push(*entry);
    }
    all.extend(old);
    all
}
