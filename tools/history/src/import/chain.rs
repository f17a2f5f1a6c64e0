//! Ties an era to the states before and after it.

use std::path::{Path, PathBuf};

use coldstore::era::{EraAt, EraFile, EraGroup};
use coldstore::{Column, Error, MappedArchive, Result, Slot};
use coldstore_consensus::{Preset, Root, era_root, hash_state};

use super::ImportProver;
use super::era::{Era, find_group, hashed};
use crate::states::stored_state::StoredState;

/// The state at the first slot of an era.
#[derive(Clone, Debug)]
pub(super) struct Previous {
    /// The source of the state: "era 3", "the snapshot in bss".
    whose: String,
    pub(super) slot: Slot,
    pub(super) genesis_validators_root: Root,
    /// `None` if the layout of the state is unknown.
    state_root: Option<Root>,
    /// The block root of its slot.
    block_root: Option<Root>,
    /// The archive that holds the state, if nothing proves it.
    unproved_in: Option<(PathBuf, Column)>,
}

impl Previous {
    pub(super) fn of(era: &Era) -> Self {
        Self {
            whose: format!("era {}", era.number),
            slot: era.state_slot,
            genesis_validators_root: era.state.prefix.genesis_validators_root,
            state_root: era.state_root().copied(),
            block_root: era.next_block_root(),
            unproved_in: None,
        }
    }

    /// Checks that the era begins with the root of that state and with its latest block.
    pub(super) fn check(&self, era: &Era) -> Result<()> {
        let prefix = &era.state.prefix;
        let whose = &self.whose;
        for (wanted, found, what) in [
            (&self.state_root, prefix.state_roots.first(), "state root"),
            (&self.block_root, prefix.block_roots.first(), "block root"),
        ] {
            if let (Some(wanted), Some(found)) = (wanted, found)
                && wanted != found
            {
                if let Some((archive, column)) = &self.unproved_in {
                    return Err(self.contradicted(archive, *column, era, what, [found, wanted]));
                }
                let wanted = format!("the {what} {}, which the state of {whose} hashes to", wanted);
                return Err(era.refuse(self.slot, &wanted, found.to_string()));
            }
        }
        Ok(())
    }

    /// The error for an unproved state that a consistent era contradicts; it names the state to
    /// replace.
    fn contradicted(
        &self,
        archive: &Path,
        column: Column,
        era: &Era,
        what: &str,
        [wanted, found]: [&Root; 2],
    ) -> Error {
        let slot = self.slot;
        let wanted = format!(
            "slot {slot}: a state with the {what} {}, as era {} has it ({})",
            wanted,
            era.number,
            era.path.display()
        );
        let to = slot.previous().map_or_else(|| "nothing".to_owned(), |slot| slot.to_string());
        let found = format!(
            "{}, of a state that nothing proved: to replace it, coldstore rewind {} --to {to} {column}, \
             then import era {} and those after it again",
            found,
            archive.display(),
            era.number.saturating_sub(1),
        );
        let directory = archive.join(column.dir_name());
        Error::corrupt(directory, None, "state snapshot", wanted, found)
    }
}

/// Reads the state of a slot from a snapshot in the archive.
pub(super) fn in_archive(
    archive: &MappedArchive,
    preset: Preset,
    slot: Slot,
    is_unproved: bool,
) -> Result<Option<Previous>> {
    let Some(stored) = StoredState::read(archive, preset, slot)? else { return Ok(None) };
    let (whose, column) = match stored.is_whole() {
        true => ("the snapshot in bss", Column::StateSnapshots),
        false => ("the diff in bsd", Column::StateDiffs),
    };
    // Verification of the archive reports a damaged snapshot.
    let Ok(state) = hash_state(preset, &mut stored.reader()?) else { return Ok(None) };
    let Some(body) = state.body else { return Ok(None) };
    let latest = state.prefix.latest_block;
    Ok(Some(Previous {
        whose: whose.to_owned(),
        slot,
        genesis_validators_root: state.prefix.genesis_validators_root,
        state_root: Some(body.root),
        block_root: (latest.slot == slot.0).then(|| latest.root_with_state(body.root)),
        unproved_in: is_unproved.then(|| (archive.root().to_path_buf(), column)),
    }))
}

/// The source that vouches for an era's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voucher {
    /// A trusted root, of this state or of a later one.
    Trusted,
    /// The next era, which no trusted root covers.
    Next,
    /// Nobody.
    None,
}

impl ImportProver<'_> {
    /// Compares this era's state with the first of the next era's state roots. `is_of_chain` says that
    /// the previous era is of the same chain.
    pub(super) fn vouched_by_next(
        &self,
        era: &Era,
        at: &EraAt<'_>,
        is_of_chain: bool,
    ) -> Result<Voucher> {
        let Some(root) = era.state_root() else { return Ok(Voucher::None) };
        if let Some(trusted) = self.trust.state_root(era.state_slot) {
            return match trusted == root {
                true => Ok(Voucher::Trusted),
                false => {
                    let wanted = format!("the trusted state root {}", trusted);
                    Err(era.refuse(era.state_slot, &wanted, root.to_string()))
                }
            };
        }
        let Some((path, group)) = self.group_of(era.number.saturating_add(1), at) else {
            return Ok(Voucher::None);
        };
        let next = EraFile::open(&path).and_then(|mut file| file.state_head(&group));
        // Errors of the next era are reported in its own turn.
        let Ok(next) = next else { return Ok(Voucher::None) };
        let Some(roots) = &next.roots else { return Ok(Voucher::None) };
        let wanted = self.trust.era_root(group.era);
        let is_trusted =
            wanted.is_some_and(|wanted| wanted == era_root(&roots.block_roots, &roots.state_roots));
        let begins_with = roots.state_roots.first().copied().map(Root);
        match begins_with {
            Some(found) if found == *root && is_trusted => return Ok(Voucher::Trusted),
            Some(found) if found == *root => return Ok(Voucher::Next),
            _ => {}
        }
        // One of the two is damaged. The next era counts only if it is consistent itself.
        let is_sound = match wanted {
            Some(_) => is_trusted,
            None => {
                let named = Root(next.head.genesis_validators_root);
                let is_other_chain = named != era.state.prefix.genesis_validators_root;
                !(is_other_chain && is_of_chain) && self.is_sound(&path, &group)
            }
        };
        match begins_with {
            Some(wanted) if is_sound => {
                let wanted = format!(
                    "the state root {}, as era {} has it ({})",
                    wanted,
                    group.era,
                    path.display()
                );
                Err(era.refuse(era.state_slot, &wanted, root.to_string()))
            }
            _ => Ok(Voucher::None),
        }
    }

    /// Whether an era's roots match its own state.
    fn is_sound(&self, path: &Path, group: &EraGroup) -> bool {
        let state = || {
            let mut file = EraFile::open(path)?;
            let record = file.state_head(group)?.record;
            let groups = file.groups().to_vec();
            let at = EraAt { path, groups: &groups, group, state: record };
            hashed(&at, self.preset, &mut file.state_stream(&record))
        };
        state().is_ok_and(|state| {
            let own = state.body.as_ref().and_then(|body| body.accumulators.era_root(group.era));
            own == Some(state.prefix.era_root())
        })
    }

    /// Finds an era in the same file, or in another one of the plan.
    fn group_of(&self, number: u64, at: &EraAt<'_>) -> Option<(PathBuf, EraGroup)> {
        let here = at.groups.iter().find(|group| group.era == number);
        if let Some(group) = here {
            return Some((at.path.to_path_buf(), *group));
        }
        find_group(self.plan, number)
    }
}
