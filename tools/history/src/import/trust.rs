//! State roots trusted by the operator.

use coldstore::era::{EraAt, EraFile, ImportPlan};
use coldstore::{Column, Error, MappedArchive, Slot};
use coldstore_consensus::{Accumulators, HashedState, Preset, Root, hash_state};

use super::era::{Era, find_group, hashed};
use super::report::Anchor;
use super::trusted_root::TrustedRoot;
use crate::states::stored_state::StoredState;

/// The trusted roots, and the eras they prove.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    roots: Vec<TrustedRoot>,
    /// The latest available state with a trusted root, and the eras that it proves.
    proves: Option<(TrustedRoot, Accumulators)>,
}

/// Why a trusted root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    /// The state is there and has another root, or cannot be read.
    #[error(transparent)]
    State(#[from] Error),
    /// The slot is in none of the files and not in the archive.
    #[error(
        "trusted state root of slot {0}: it is neither in an era of these files nor in the archive"
    )]
    Nowhere(Slot),
}

impl Trust {
    /// Reads the states of the trusted roots at the ends of eras, from a file of the plan or a snapshot
    /// in the archive. Each must hash to its root.
    ///
    /// # Errors
    /// [`TrustFault`]
    pub fn establish(
        roots: Vec<TrustedRoot>,
        preset: Preset,
        plan: Option<&ImportPlan>,
        archive: Option<&MappedArchive>,
    ) -> Result<Self, TrustFault> {
        let mut proves: Option<(TrustedRoot, Accumulators)> = None;
        for trusted in &roots {
            let state = match state_in_plan(plan, preset, trusted)? {
                Some(state) => Some(state),
                None => state_in_archive(archive, preset, trusted)?,
            };
            let Some(state) = state else {
                if is_somewhere(plan, preset, trusted.slot) || compare(archive, trusted)? {
                    continue;
                }
                return Err(TrustFault::Nowhere(trusted.slot));
            };
            let latest = proves.as_ref().is_none_or(|(latest, _)| latest.slot < trusted.slot);
            if let Some(body) = state.body.filter(|_| latest) {
                proves = Some((*trusted, body.accumulators));
            }
        }
        Ok(Self { roots, proves })
    }

    /// The trusted root of the state of a slot.
    #[must_use]
    pub fn state_root(&self, slot: Slot) -> Option<&Root> {
        self.roots.iter().find(|trusted| trusted.slot == slot).map(|trusted| &trusted.root)
    }

    /// The slot of the latest available state with a trusted root.
    #[must_use]
    pub fn proves_up_to(&self) -> Option<Slot> {
        self.proves.as_ref().map(|(trusted, _)| trusted.slot)
    }

    /// The root of an era's roots, if a trusted state proves it.
    #[must_use]
    pub fn era_root(&self, era: u64) -> Option<Root> {
        self.proves.as_ref().and_then(|(_, accumulators)| accumulators.era_root(era))
    }

    pub(crate) fn anchor(&self) -> Anchor {
        match &self.proves {
            Some((root, accumulators)) => {
                Anchor::Trusted { root: *root, last_era: accumulators.eras() }
            }
            None => Anchor::Itself,
        }
    }

    /// Compares trusted roots within an era with its state roots. This proves nothing further, because
    /// anybody can know the root of a state.
    pub(super) fn check_compared(&self, era: &Era) -> Result<(), Error> {
        let Some(slots) = era.slots else { return Ok(()) };
        for TrustedRoot { slot, root } in &self.roots {
            let found = slots.index_of(*slot).and_then(|at| era.state.prefix.state_roots.get(at));
            if let Some(found) = found
                && found != root
            {
                let wanted = format!("the trusted state root {}", root);
                return Err(era.refuse(*slot, &wanted, found.to_string()));
            }
        }
        Ok(())
    }
}

fn era_ending_at(preset: Preset, slot: Slot) -> Option<u64> {
    let slots = preset.slots_per_era();
    slot.0.is_multiple_of(slots).then_some(slot.0 / slots)
}

fn state_in_plan(
    plan: Option<&ImportPlan>,
    preset: Preset,
    trusted: &TrustedRoot,
) -> Result<Option<HashedState>, Error> {
    let Some((plan, number)) = plan.zip(era_ending_at(preset, trusted.slot)) else {
        return Ok(None);
    };
    let Some((path, group)) = find_group(plan, number) else { return Ok(None) };
    let mut file = EraFile::open(&path)?;
    let groups = file.groups().to_vec();
    let record = file.state_head(&group)?.record;
    let at = EraAt { path: &path, groups: &groups, group: &group, state: record };
    let state = hashed(&at, preset, &mut file.state_stream(&record))?;
    let era = Era::new(&at, state);
    let found =
        era.state_root().map_or_else(|| "a state of an unknown fork".to_owned(), Root::to_string);
    if found != trusted.root.to_string() {
        let wanted = format!("the trusted state root {}", trusted.root);
        return Err(era.refuse(trusted.slot, &wanted, found));
    }
    Ok(Some(era.state))
}

fn state_in_archive(
    archive: Option<&MappedArchive>,
    preset: Preset,
    trusted: &TrustedRoot,
) -> Result<Option<HashedState>, Error> {
    let Some(archive) = archive else { return Ok(None) };
    let Some(stored) = StoredState::read(archive, preset, trusted.slot)? else { return Ok(None) };
    let column = if stored.is_whole() { Column::StateSnapshots } else { Column::StateDiffs };
    let directory = archive.root().join(column.dir_name());
    let wanted = format!("slot {}: the trusted state root {}", trusted.slot, trusted.root);
    let refuse = |found| Error::corrupt(&directory, None, "state snapshot", wanted, found);
    let state = match hash_state(preset, &mut stored.reader()?) {
        Ok(state) => state,
        Err(fault) => return Err(refuse(fault.to_string())),
    };
    match &state.body {
        Some(body) if body.root == trusted.root => Ok(Some(state)),
        Some(body) => Err(refuse(body.root.to_string())),
        None => Err(refuse("a state of an unknown fork".to_owned())),
    }
}

/// Whether an era of the plan has the slot; its root is compared when that era is imported.
fn is_somewhere(plan: Option<&ImportPlan>, preset: Preset, slot: Slot) -> bool {
    let era = slot.0 / preset.slots_per_era() + 1;
    plan.is_some_and(|plan| find_group(plan, era).is_some())
}

/// Compares a trusted root with the record in `bsr`; `false` if there is none.
fn compare(archive: Option<&MappedArchive>, trusted: &TrustedRoot) -> Result<bool, Error> {
    let Some(archive) = archive else { return Ok(false) };
    let Some(reader) = archive.column_if_there(Column::StateRoots)? else { return Ok(false) };
    let view = reader.view();
    let Some(found) = view.get_stored(trusted.slot)? else { return Ok(false) };
    if found == trusted.root.0 {
        return Ok(true);
    }
    let wanted = format!("slot {}: the trusted state root {}", trusted.slot, trusted.root);
    let found = const_hex::encode_prefixed(found);
    Err(Error::corrupt(reader.directory(), None, "state root", wanted, found))
}
