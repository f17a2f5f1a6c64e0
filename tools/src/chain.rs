//! Which chain an archive is of, as far as it tells by itself.

use std::path::Path;

use anyhow::{Result, ensure};
use coldstore::era::ssz::{EraRoots, STATE_HEAD_BYTES, StateHead};
use coldstore::{Archive, Column, Slot, View};

use crate::archive_toml::ArchiveToml;
use crate::networks::{self, Root};

/// `SLOTS_PER_HISTORICAL_ROOT` of the two presets of the consensus specification.
const PRESETS: [u64; 2] = [8192, 64];

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// By `archive.toml`, or a known network's.
    pub(crate) config_name: Option<String>,
    /// By `archive.toml`, or a state.
    pub(crate) genesis_validators_root: Option<Root>,
    /// By `archive.toml`, a known network, or a state that has the block roots of `bbr`.
    pub(crate) slots_per_era: Option<u64>,
}

impl Chain {
    /// Looks at `archive.toml` first, then at the states in `bss`.
    pub(crate) fn of(root: &Path, archive: &Archive) -> Result<Self> {
        let kept = ArchiveToml::read(root)?;
        let mut chain = kept.map_or_else(Self::default, |kept| Self {
            config_name: kept.config_name,
            genesis_validators_root: Some(kept.genesis_validators_root),
            slots_per_era: kept.slots_per_era,
        });
        if chain.genesis_validators_root.is_none() || chain.slots_per_era.is_none() {
            // Without such a column, or with one of another's states, nothing more is known.
            if let Ok(snapshots) = archive.column(Column::StateSnapshots) {
                chain.ask_states(&snapshots.view(), archive);
            }
        }
        if let Some(known) = chain.genesis_validators_root.and_then(networks::name_of) {
            chain.config_name.get_or_insert_with(|| known.to_owned());
            chain.slots_per_era.get_or_insert(PRESETS[0]);
        }
        Ok(chain)
    }

    fn ask_states(&mut self, snapshots: &View, archive: &Archive) {
        for record in snapshots.range(..).take(2).flatten() {
            let (slot, state) = (record.slot(), record.stored());
            let head = state.get(..STATE_HEAD_BYTES).and_then(|head| StateHead::parse(head).ok());
            if let Some(head) = head.filter(|head| head.slot == slot) {
                let root = Root(head.genesis_validators_root);
                self.genesis_validators_root.get_or_insert(root);
            }
            if self.slots_per_era.is_none() {
                self.slots_per_era = preset_of(slot, state, archive);
            }
        }
    }

    /// When a slot began, in seconds since 1970, of a known network.
    pub(crate) fn time_of(&self, slot: Slot) -> Option<u64> {
        let genesis = self.genesis_validators_root.and_then(networks::genesis_time_of)?;
        genesis.checked_add(slot.0.checked_mul(networks::SECONDS_PER_SLOT)?)
    }

    /// Refuses a state of another chain.
    pub(crate) fn check_root(&self, found: Root) -> Result<()> {
        if let Some(wanted) = self.genesis_validators_root {
            ensure!(
                wanted == found,
                "the archive's genesis validators root is {wanted}, that of its states {found}"
            );
        }
        Ok(())
    }
}

/// The preset whose states have their roots where this one has those of `bbr`.
fn preset_of(slot: Slot, state: &[u8], archive: &Archive) -> Option<u64> {
    let last = slot.previous()?;
    let root = archive.column(Column::BlockRoots).ok()?.view().get(last).ok()??.into_owned();
    PRESETS.into_iter().find(|preset| {
        let roots = usize::try_from(*preset)
            .ok()
            .and_then(|count| EraRoots::parse(state, state.len() as u64, count).ok());
        let place = usize::try_from(last.0 % preset).unwrap_or(usize::MAX);
        roots.is_some_and(|roots| {
            roots.block_roots.get(place).is_some_and(|found| found[..] == root[..])
        })
    })
}
