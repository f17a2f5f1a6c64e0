//! An era of an import, and the checks that need no other era.

use std::io::Read;
use std::path::PathBuf;

use coldstore::era::{EraAt, EraFile, EraGroup, EraSlots, ImportPlan, PlannedFile};
use coldstore::{Error, Result, Slot};
use coldstore_consensus::{HashedState, Preset, Root, StateFault, hash_state};

pub(super) const PRESET: &str = "preset";
pub(super) const STATE: &str = "state record";
pub(super) const BLOCK: &str = "block record";

/// An era whose state was hashed.
#[derive(Debug)]
pub(super) struct Era {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) slots: Option<EraSlots>,
    pub(super) state_slot: Slot,
    /// Offset of the state's record.
    pub(super) state_offset: u64,
    pub(super) state: HashedState,
}

impl Era {
    pub(super) fn new(at: &EraAt<'_>, state: HashedState) -> Self {
        Self {
            path: at.path.to_path_buf(),
            number: at.group.era,
            slots: at.group.slots,
            state_slot: at.group.state_slot,
            state_offset: at.state.offset,
            state,
        }
    }

    /// `hash_tree_root` of the state, if its layout is known.
    pub(super) fn state_root(&self) -> Option<&Root> {
        self.state.body.as_ref().map(|body| &body.root)
    }

    /// The root of the roots of its slots, from its state.
    pub(super) fn era_root(&self) -> Root {
        self.state.prefix.era_root()
    }

    /// The error for a damaged or wrong state.
    pub(super) fn refuse(&self, slot: Slot, wanted: &str, found: impl Into<String>) -> Error {
        let wanted = format!("era {}, slot {slot}: {wanted}", self.number);
        Error::corrupt(&self.path, self.state_offset, STATE, wanted, found)
    }

    pub(super) fn check_slot(&self) -> Result<()> {
        let found = Slot(self.state.prefix.slot);
        if found == self.state_slot {
            return Ok(());
        }
        let wanted = "the state of that slot, as the index says";
        Err(self.refuse(self.state_slot, wanted, format!("slot {found}")))
    }

    /// Checks the genesis validators root against the validators of the genesis state.
    pub(super) fn check_genesis(&self) -> Result<()> {
        let (Slot(0), Some(body)) = (self.state_slot, &self.state.body) else { return Ok(()) };
        let named = &self.state.prefix.genesis_validators_root;
        if body.validators_root == *named {
            return Ok(());
        }
        let wanted =
            format!("validators with the root {}, the state's genesis validators root", named);
        Err(self.refuse(self.state_slot, &wanted, body.validators_root.to_string()))
    }

    /// Refuses a state with an unknown layout if its fork version had known layouts before.
    pub(super) fn check_layout(&self, known_versions: &[[u8; 4]]) -> Result<()> {
        let version = &self.state.prefix.fork.version;
        if self.state.body.is_some() || !known_versions.contains(version) {
            return Ok(());
        }
        let wanted = "a state laid out like those of the same fork before it";
        Err(self.refuse(self.state_slot, wanted, "another length of its fixed part"))
    }

    /// Compares the roots of the era's slots with the era's root in a later, trusted state, and with the
    /// one in its own state.
    pub(super) fn check_roots(&self, trusted: Option<Root>) -> Result<()> {
        let Some(slots) = self.slots else { return Ok(()) };
        let own = self.state.body.as_ref().and_then(|body| body.accumulators.era_root(self.number));
        let found = self.era_root();
        for (wanted, of_whom) in [
            (trusted, "the state of the trusted root has for this era"),
            (own, "the state's historical roots and summaries have for this era"),
        ] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let wanted =
                    format!("block roots and state roots that hash to {}, as {of_whom}", wanted);
                return Err(self.refuse(self.state_slot, &wanted, found.to_string()));
            }
        }
        if self.state.body.is_some() && own.is_none() {
            let wanted = "a historical root or a historical summary of this era";
            return Err(self.refuse(self.state_slot, wanted, "none"));
        }
        let eras = self.state.body.as_ref().map_or(self.number, |body| body.accumulators.eras());
        if eras != self.number {
            let wanted = format!("historical roots and summaries of {} eras", self.number);
            return Err(self.refuse(self.state_slot, &wanted, eras.to_string()));
        }
        self.check_latest_block(slots)
    }

    /// Checks that the header of the latest block hashes to the last block root.
    fn check_latest_block(&self, slots: EraSlots) -> Result<()> {
        let (prefix, slot) = (&self.state.prefix, self.state_slot);
        let Some(last_root) = prefix.block_roots.last() else { return Ok(()) };
        let latest = &prefix.latest_block;
        let (found, what) = match latest.slot == slot.0 {
            true => (latest.parent_root, "a last block whose parent has the root"),
            false => (latest.root(), "a last block that has the root"),
        };
        if found == *last_root {
            return Ok(());
        }
        let wanted = format!("{what} {}, of slot {}", last_root, slots.last);
        Err(self.refuse(slot, &wanted, found.to_string()))
    }

    /// The block root of the slot after the era, if its state has it.
    pub(super) fn next_block_root(&self) -> Option<Root> {
        let prefix = &self.state.prefix;
        if prefix.latest_block.slot == self.state_slot.0 {
            return self.state_root().map(|root| prefix.latest_block.root_with_state(*root));
        }
        prefix.block_roots.last().copied().filter(|_| self.slots.is_some())
    }
}

/// Hashes the state of an era from its stream.
pub(super) fn hashed(at: &EraAt<'_>, preset: Preset, state: &mut dyn Read) -> Result<HashedState> {
    hash_state(preset, state).map_err(|fault| match fault {
        StateFault::Source(error) => Error::io(at.path, "read", error),
        StateFault::Malformed(malformed) => {
            let (wanted, found) = malformed.wanted_and_found();
            let place = format!("era {}, slot {}", at.group.era, at.group.state_slot);
            let wanted = format!("{place}: {wanted}");
            Error::corrupt(at.path, at.state.offset, STATE, wanted, found)
        }
        StateFault::UnknownLayout(malformed) => {
            let (_, found) = malformed.wanted_and_found();
            let found = format!(
                "era {}, slot {}: a state whose fixed part has {found}, as in no fork of the presets \
                 {}",
                at.group.era,
                at.group.state_slot,
                Preset::names()
            );
            Error::Unsupported { file: at.path.into(), what: PRESET, found: found.into() }
        }
    })
}

/// Finds an era in a plan.
pub(super) fn find_group(plan: &ImportPlan, number: u64) -> Option<(PathBuf, EraGroup)> {
    let has = |file: &&PlannedFile| (file.first_era..=file.last_era).contains(&number);
    plan.files().iter().filter(has).find_map(|planned| {
        let file = EraFile::open(&planned.path).ok()?;
        let group = file.groups().iter().find(|group| group.era == number)?;
        Some((planned.path.clone(), *group))
    })
}
