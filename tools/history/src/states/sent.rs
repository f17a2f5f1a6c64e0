//! Values that clients send for `bsd`: diffs are checked, and whole states made diffs.

use std::borrow::Cow;
use std::io::{self, Read, Seek};
use std::sync::OnceLock;

use coldstore::{Error, Manifest, MappedArchive, Slot, View};
use coldstore_consensus::{KnownNetwork, Preset, Root, StateFault};

use super::claim::claim;
use super::hierarchy::Hierarchy;
use super::kind::{Foreign, START_BYTES, ValueKind, Values};
use super::path::PathFault;
use super::value::{DiffContext, DiffFault, DiffValue, apply_path, encode_slot};
use super::{Columns, StateRef};
use crate::replay::Source;

/// Maximum length in bytes of a diff that is sent.
const MAX_DIFF_BYTES: u64 = 64 << 20;
const GENESIS_VALIDATORS_ROOT_AT: usize = 8;

/// What becomes of a value that was sent for `bsd`.
#[derive(Debug)]
pub enum Sent {
    /// It is stored as it is.
    AsItIs,
    /// It is a whole state: this diff is stored.
    Diff(Vec<u8>),
    /// It is a whole state, and the archive has the same state of the slot.
    Stored,
}

/// Why a value that was sent for `bsd` is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SentFault {
    /// A column, the manifest or the value cannot be read, or another state is stored.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The value cannot be read.
    #[error("the value cannot be read")]
    Value(#[source] io::Error),
    /// The archive holds another program's values.
    #[error(transparent)]
    Foreign(Foreign),
    /// The archive holds this software's values, and the value is none.
    #[error(
        "slot {slot}: wanted a diff of coldstore (CSD1), or with PUT the SSZ of the slot's state, found {kind}: \
         the archive holds the values of coldstore"
    )]
    Unknown {
        /// The slot.
        slot: Slot,
        /// What it is.
        kind: ValueKind,
    },
    /// A state is not one of the archive's chain.
    #[error("slot {slot}: wanted {wanted}, found {found}")]
    NotAState {
        /// The slot.
        slot: Slot,
        /// What a state has.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// A diff is damaged, or none can be made.
    #[error(transparent)]
    Diff(#[from] DiffFault),
    /// A diff refers to a slot to which it may not, or the base of a state cannot be read.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// There is no state to which a diff may refer.
    #[error(
        "slot {slot}: its diff would refer to the state of one of the slots {}, and bss and bsd have none: \
         send one of those first, or the state to bss", list(.bases)
    )]
    NoBase {
        /// The slot.
        slot: Slot,
        /// The slots to which it may refer, best first.
        bases: Vec<Slot>,
    },
    /// The preset is unknown.
    #[error(
        "the archive's preset is unknown, so no state can be made a diff: import an .era file first"
    )]
    NoPreset,
}

fn list(slots: &[Slot]) -> String {
    let slots: Vec<String> = slots.iter().map(Slot::to_string).collect();
    slots.join(", ")
}

impl From<Foreign> for SentFault {
    fn from(foreign: Foreign) -> Self {
        match foreign {
            Foreign::Storage(error) => Self::Storage(error),
            foreign => Self::Foreign(foreign),
        }
    }
}

/// Takes values that clients send for the `bsd` of an archive.
///
/// * A diff of this software must have a right header, and refer to a slot that the archive's layers allow.
/// * The SSZ of the slot's state is made a diff to the best state that is there. That the state is the chain's
///   is not proved: `verify --deep` does that.
/// * Anything else is refused in an archive with values of this software, and stored as it is in any other.
///
/// The manifest says from the first of them on that the archive holds this software's values.
#[derive(Debug)]
pub struct SentStates {
    archive: MappedArchive,
    /// Whether the manifest said from the beginning that the values are this software's.
    were_ours: bool,
    /// The layers, once the manifest says so.
    claimed: OnceLock<(Preset, Hierarchy)>,
}

impl SentStates {
    /// For the process that writes to the archive.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn new(archive: MappedArchive) -> coldstore::Result<Self> {
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let were_ours = manifest.state_values.as_deref() == Some(Values::Coldstore.name());
        Ok(Self { archive, were_ours, claimed: OnceLock::new() })
    }

    /// Decides what becomes of a value of `byte_len` bytes. Takes about 100 MB for a mainnet state.
    ///
    /// # Errors
    /// [`SentFault`]
    pub fn take(
        &self,
        slot: Slot,
        byte_len: u64,
        value: &mut (impl Read + Seek),
    ) -> Result<Sent, SentFault> {
        let mut start = Vec::new();
        value.take(START_BYTES as u64).read_to_end(&mut start).map_err(SentFault::Value)?;
        value.rewind().map_err(SentFault::Value)?;
        match ValueKind::of(slot, &start) {
            ValueKind::Diff => {
                let mut bytes = Vec::new();
                let read = value.take(MAX_DIFF_BYTES).read_to_end(&mut bytes);
                read.map_err(SentFault::Value)?;
                self.check(slot, &bytes)?;
                Ok(Sent::AsItIs)
            }
            ValueKind::State => {
                let (preset, hierarchy) = self.claim(&start)?;
                let source = &Source::of(&self.archive)?;
                Encoding { source, hierarchy, preset: *preset, slot }.of_state(byte_len, value)
            }
            kind => self.refuse_unknown(slot, kind).map(|()| Sent::AsItIs),
        }
    }

    /// Checks a value that is not made a diff.
    ///
    /// # Errors
    /// [`SentFault`]
    pub fn check(&self, slot: Slot, value: &[u8]) -> Result<(), SentFault> {
        match ValueKind::of(slot, value) {
            ValueKind::Diff => check(&self.claim(value)?.1, slot, value),
            kind => self.refuse_unknown(slot, kind),
        }
    }

    fn refuse_unknown(&self, slot: Slot, kind: ValueKind) -> Result<(), SentFault> {
        match self.were_ours || self.claimed.get().is_some() {
            true => Err(SentFault::Unknown { slot, kind }),
            false => Ok(()),
        }
    }

    fn claim(&self, start: &[u8]) -> Result<&(Preset, Hierarchy), SentFault> {
        if let Some(claimed) = self.claimed.get() {
            return Ok(claimed);
        }
        let manifest = Manifest::read(self.archive.root())?.unwrap_or_default();
        let preset = preset_of(&manifest, start)?;
        let hierarchy = claim(self.archive.root(), preset)?;
        Ok(self.claimed.get_or_init(|| (preset, hierarchy)))
    }
}

/// Checks a diff, but not its sections' contents.
fn check(hierarchy: &Hierarchy, slot: Slot, value: &[u8]) -> Result<(), SentFault> {
    let base = DiffValue::parse(slot, value)?.base_slot();
    match hierarchy.allows(slot, base) {
        true => Ok(()),
        false => Err(PathFault::NotAllowed { slot, base }.into()),
    }
}

/// The preset of an archive, else that of the network of a state.
fn preset_of(manifest: &Manifest, start: &[u8]) -> Result<Preset, SentFault> {
    let named = manifest.preset.as_deref().and_then(|name| name.parse().ok());
    let by_slots = || Preset::with_slots_per_era(manifest.slots_per_era?).next();
    let by_network = || {
        let root = start.get(GENESIS_VALIDATORS_ROOT_AT..GENESIS_VALIDATORS_ROOT_AT + 32)?;
        KnownNetwork::by_root(&Root::of_slice(root)?).map(|known| known.preset)
    };
    named.or_else(by_slots).or_else(by_network).ok_or(SentFault::NoPreset)
}

/// Makes the diff of a state that was sent.
struct Encoding<'a> {
    source: &'a Source<View>,
    hierarchy: &'a Hierarchy,
    preset: Preset,
    slot: Slot,
}

impl Encoding<'_> {
    /// 1. Choose the base: the best that is there. A state that is stored is only compared.
    /// 2. Read the state on the base's whole state.
    /// 3. Make the diff, and apply it again: one that does not give the state back is not stored.
    fn of_state(&self, byte_len: u64, value: &mut dyn Read) -> Result<Sent, SentFault> {
        // 1.
        let (slot, stored) = (self.slot, self.source.stored());
        let (mut at, is_there) = (None, stored.contains(slot)?);
        let bases = if is_there { vec![slot] } else { self.hierarchy.bases(slot) };
        for base in &bases {
            if stored.contains(*base)? {
                at = Some(*base);
                break;
            }
        }
        let (whole, base) = self.read(at.ok_or(SentFault::NoBase { slot, bases })?)?;
        let base = StateRef { base: &whole, columns: &base };
        // 2.
        let columns = Columns::from_stream(self.preset, &whole, byte_len, value);
        let columns = columns.map_err(|fault| match fault {
            StateFault::Source(error) => SentFault::Value(error),
            StateFault::Malformed(fault) | StateFault::UnknownLayout(fault) => {
                let (wanted, found) = fault.wanted_and_found();
                SentFault::NotAState { slot, wanted, found }
            }
        })?;
        let next = StateRef { base: &whole, columns: &columns };
        self.check_chain(base, next)?;
        if is_there {
            return match is_same(base, next) {
                true => Ok(Sent::Stored),
                false => Err(Error::Conflict { slot }.into()),
            };
        }
        // 3.
        let context = DiffContext::new(self.source);
        let diff = encode_slot(base, next, context)?;
        let path = [DiffValue::parse(slot, &diff)?];
        let applied = apply_path(self.preset, &whole, base.columns, &path, context)?;
        if !is_same(StateRef { base: &whole, columns: &applied }, next) {
            let (wanted, found) = ("a state that its diff gives back", "another");
            return Err(SentFault::NotAState { slot, wanted: wanted.into(), found: found.into() });
        }
        Ok(Sent::Diff(diff))
    }

    /// Refuses a state of another chain.
    fn check_chain(&self, base: StateRef<'_>, next: StateRef<'_>) -> Result<(), SentFault> {
        let root = |state: StateRef<'_>| {
            state.bytes_of("genesis_validators_root").and_then(Root::of_slice)
        };
        match (root(base), root(next)) {
            (Some(wanted), Some(found)) if wanted != found => Err(SentFault::NotAState {
                slot: self.slot,
                wanted: format!("a state of the chain with the genesis validators root {wanted}"),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The stored state of a slot: the whole state under it, and its columns on that.
    fn read(&self, slot: Slot) -> Result<(Cow<'_, [u8]>, Columns), SentFault> {
        let (mut path, mut at) = (Vec::new(), slot);
        let whole = loop {
            if let Some(whole) = self.source.snapshots.get(at)? {
                break whole;
            }
            let value = match &self.source.diffs {
                Some(diffs) => diffs.get(at)?,
                None => None,
            };
            let above = path.last().map_or(slot, |(slot, _)| *slot);
            let value = value.ok_or(PathFault::Missing { slot: above, base: at })?;
            check(self.hierarchy, at, &value)?;
            let base = DiffValue::parse(at, &value)?.base_slot();
            path.push((at, value));
            at = base;
        };
        let columns = Columns::of_raw(self.preset, &whole).map_err(|fault| {
            let (wanted, found) = fault.wanted_and_found();
            SentFault::NotAState { slot: at, wanted, found }
        })?;
        let path = path.iter().rev().map(|(slot, value)| DiffValue::parse(*slot, value));
        let path = path.collect::<Result<Vec<_>, _>>()?;
        let context = DiffContext::new(self.source);
        let columns = apply_path(self.preset, &whole, &columns, &path, context)?;
        Ok((whole, columns))
    }
}

/// Whether two states on one whole state are equal.
fn is_same(left: StateRef<'_>, right: StateRef<'_>) -> bool {
    let is_same_field = |name| match name {
        "validators" => left.validators(0..usize::MAX).eq(right.validators(0..usize::MAX)),
        name => left.bytes_of(name) == right.bytes_of(name),
    };
    left.slot() == right.slot()
        && left.fork() == right.fork()
        && left.ssz_len() == right.ssz_len()
        && match left.fork() {
            Some(_) => left.field_names().all(is_same_field),
            None => {
                // A layout without fields.
                let whole = 0..usize::try_from(left.ssz_len()).unwrap_or(usize::MAX);
                left.ssz_in(whole.clone()) == right.ssz_in(whole)
            }
        }
}
