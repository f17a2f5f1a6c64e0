//! States from and to SSZ. The layout is that of `containers`; fields are matched by name.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use super::cache::Caches;
use super::changes::Changes;
use super::config::ChainRules;
use super::containers::{Fields, Fixed, PENDING_ATTESTATION_FIXED, PendingAttestation};
use super::registry::{Registry, VALIDATOR_BYTES};
use super::state::{BeaconState, SyncCommittee};
use crate::containers::{Layouts, StateLayout};
use crate::fork::Fork;
use crate::hash::{Malformed, offset_at};
use crate::header::BlockHeader;
use crate::root::Root;
use crate::ssz::{Field, OFFSET_BYTES};
use crate::state::{StateFields, StateFork};

/// Bytes encoded before they are written.
const PIECE_BYTES: usize = 1 << 20;
const GENESIS_VALIDATORS_ROOT_AT: usize = 8;
const SLOT_AT: usize = GENESIS_VALIDATORS_ROOT_AT + 32;
const VERSION_AT: usize = SLOT_AT + 8 + 4;

impl<'s> BeaconState<'s> {
    /// Decodes a state. Public keys and credentials are read from `ssz` whenever they are needed.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not a state of a fork in the rules' preset, have the version of no fork in
    /// the rules' config, or another genesis validators root than the rules'.
    pub fn from_ssz(
        rules: Arc<ChainRules>,
        ssz: impl Into<Cow<'s, [u8]>>,
    ) -> Result<Self, Malformed> {
        let ssz = ssz.into();
        let fork = rules.fork_of_state(&ssz)?;
        Self::of_fork(rules, &ssz, fork)
    }

    /// Decodes a state of this fork.
    pub(super) fn of_fork(
        rules: Arc<ChainRules>,
        ssz: &Cow<'s, [u8]>,
        fork: Fork,
    ) -> Result<Self, Malformed> {
        let layout = &Layouts::of(rules.preset).states[fork as usize];
        let spans = StateFields::of(rules.preset, fork).spans(ssz)?;
        let mut state = Self::empty(rules, layout.fork);
        for (field, span) in layout.fields.iter().zip(spans) {
            let bytes = match ssz {
                Cow::Borrowed(ssz) => Cow::Borrowed(&ssz[span]),
                Cow::Owned(ssz) => Cow::Owned(ssz[span].to_vec()),
            };
            state.set(field, bytes).map_err(|malformed| malformed.inside(field.name))?;
        }
        state.check_lengths()?;
        Ok(state)
    }

    pub(super) fn empty(rules: Arc<ChainRules>, fork_name: Fork) -> Self {
        Self {
            rules,
            fork_name,
            genesis_time: 0,
            genesis_validators_root: Root::default(),
            slot: 0,
            fork: StateFork { previous_version: [0; 4], version: [0; 4], epoch: 0 },
            latest_block_header: BlockHeader::default(),
            block_roots: Vec::new(),
            state_roots: Vec::new(),
            historical_roots: Vec::new(),
            eth1_data: Default::default(),
            eth1_data_votes: Vec::new(),
            eth1_deposit_index: 0,
            validators: Registry::default(),
            balances: Vec::new(),
            randao_mixes: Vec::new(),
            slashings: Vec::new(),
            previous_epoch_attestations: Vec::new(),
            current_epoch_attestations: Vec::new(),
            previous_epoch_participation: Vec::new(),
            current_epoch_participation: Vec::new(),
            justification_bits: 0,
            previous_justified_checkpoint: Default::default(),
            current_justified_checkpoint: Default::default(),
            finalized_checkpoint: Default::default(),
            inactivity_scores: Vec::new(),
            current_sync_committee: SyncCommittee::default(),
            next_sync_committee: SyncCommittee::default(),
            latest_execution_payload_header: Vec::new(),
            next_withdrawal_index: 0,
            next_withdrawal_validator_index: 0,
            historical_summaries: Vec::new(),
            deposit_requests_start_index: 0,
            deposit_balance_to_consume: 0,
            exit_balance_to_consume: 0,
            earliest_exit_epoch: 0,
            consolidation_balance_to_consume: 0,
            earliest_consolidation_epoch: 0,
            pending_deposits: Default::default(),
            pending_partial_withdrawals: Default::default(),
            pending_consolidations: Default::default(),
            proposer_lookahead: Vec::new(),
            changes: Changes::default(),
            caches: Caches::default(),
        }
    }

    /// Decodes a field. Lists of elements of fixed length have whole elements, at most their limit.
    pub(super) fn set(&mut self, field: &Field, bytes: Cow<'s, [u8]>) -> Result<(), Malformed> {
        let mut fields = Fields(&bytes);
        match field.name {
            "genesis_time" => self.genesis_time = fields.number(),
            "genesis_validators_root" => self.genesis_validators_root = fields.root(),
            "slot" => self.slot = fields.number(),
            "fork" => {
                let [previous_version, version] = [fields.bytes(), fields.bytes()];
                self.fork = StateFork { previous_version, version, epoch: fields.number() };
            }
            "latest_block_header" => self.latest_block_header = BlockHeader::read(fields.borrow()),
            "block_roots" => self.block_roots = roots(&bytes),
            "state_roots" => self.state_roots = roots(&bytes),
            "historical_roots" => self.historical_roots = roots(&bytes),
            "eth1_data" => self.eth1_data = Fixed::read(&mut fields),
            "eth1_data_votes" => self.eth1_data_votes = Fixed::read_list(&bytes),
            "eth1_deposit_index" => self.eth1_deposit_index = fields.number(),
            "validators" => self.validators = Registry::read(bytes)?,
            "balances" => self.balances = numbers(&bytes),
            "randao_mixes" => self.randao_mixes = roots(&bytes),
            "slashings" => self.slashings = numbers(&bytes),
            "previous_epoch_attestations" => {
                self.previous_epoch_attestations = pending_attestations(field, &bytes)?;
            }
            "current_epoch_attestations" => {
                self.current_epoch_attestations = pending_attestations(field, &bytes)?;
            }
            "previous_epoch_participation" => {
                self.previous_epoch_participation = bytes.into_owned();
            }
            "current_epoch_participation" => self.current_epoch_participation = bytes.into_owned(),
            "justification_bits" => self.justification_bits = bits_of(bytes[0])?,
            "previous_justified_checkpoint" => {
                self.previous_justified_checkpoint = fields.checkpoint();
            }
            "current_justified_checkpoint" => {
                self.current_justified_checkpoint = fields.checkpoint();
            }
            "finalized_checkpoint" => self.finalized_checkpoint = fields.checkpoint(),
            "inactivity_scores" => self.inactivity_scores = numbers(&bytes),
            "current_sync_committee" => self.current_sync_committee = SyncCommittee::read(&bytes),
            "next_sync_committee" => self.next_sync_committee = SyncCommittee::read(&bytes),
            "latest_execution_payload_header" => {
                // Its layout was checked when the state's was chosen.
                self.latest_execution_payload_header = bytes.into_owned();
            }
            "next_withdrawal_index" => self.next_withdrawal_index = fields.number(),
            "next_withdrawal_validator_index" => {
                self.next_withdrawal_validator_index = fields.number();
            }
            "historical_summaries" => {
                self.historical_summaries = roots(&bytes).as_chunks().0.to_vec();
            }
            "deposit_requests_start_index" => self.deposit_requests_start_index = fields.number(),
            "deposit_balance_to_consume" => self.deposit_balance_to_consume = fields.number(),
            "exit_balance_to_consume" => self.exit_balance_to_consume = fields.number(),
            "earliest_exit_epoch" => self.earliest_exit_epoch = fields.number(),
            "consolidation_balance_to_consume" => {
                self.consolidation_balance_to_consume = fields.number();
            }
            "earliest_consolidation_epoch" => self.earliest_consolidation_epoch = fields.number(),
            "pending_deposits" => self.pending_deposits = Fixed::read_list(&bytes),
            "pending_partial_withdrawals" => {
                self.pending_partial_withdrawals = Fixed::read_list(&bytes);
            }
            "pending_consolidations" => self.pending_consolidations = Fixed::read_list(&bytes),
            "proposer_lookahead" => self.proposer_lookahead = numbers(&bytes),
            name => unreachable!("{name}: no state has this field"),
        }
        Ok(())
    }

    /// The lists with an element per validator are equally long.
    pub(super) fn check_lengths(&self) -> Result<(), Malformed> {
        let wanted = self.validators.len();
        let mut lists = vec![("balances", self.balances.len())];
        if self.fork_name >= Fork::Altair {
            lists.push(("previous_epoch_participation", self.previous_epoch_participation.len()));
            lists.push(("current_epoch_participation", self.current_epoch_participation.len()));
            lists.push(("inactivity_scores", self.inactivity_scores.len()));
        }
        if wanted > u32::MAX as usize {
            return Err(Malformed::new("fewer than 2^32 validators", wanted.to_string()));
        }
        match lists.into_iter().find(|(_, found)| *found != wanted) {
            None => Ok(()),
            Some((name, found)) => {
                let wanted = format!("{wanted} elements, one for each validator");
                Err(Malformed::new(wanted, found.to_string()).inside(name))
            }
        }
    }

    pub(super) fn layout(&self) -> &'static StateLayout {
        &Layouts::of(self.rules.preset).states[self.fork_name as usize]
    }

    /// Length of the encoded state in bytes.
    #[must_use]
    pub fn ssz_len(&self) -> u64 {
        let layout = self.layout();
        let variable = layout.fields.iter().filter(|field| field.of.fixed_len.is_none());
        layout.fixed_len as u64 + variable.map(|field| self.len_of(field)).sum::<u64>()
    }

    /// Encodes the state, in pieces of about a MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        let (layout, mut piece) = (self.layout(), Vec::with_capacity(PIECE_BYTES));
        let mut offset = layout.fixed_len as u64;
        for field in layout.fields {
            if field.of.fixed_len.is_some() {
                self.encode(field, &mut piece, out)?;
            } else {
                let too_long = || io::Error::other("a state is shorter than 4 GiB");
                let encoded = u32::try_from(offset).map_err(|_| too_long())?;
                piece.extend_from_slice(&encoded.to_le_bytes());
                offset += self.len_of(field);
            }
        }
        for field in layout.fields.iter().filter(|field| field.of.fixed_len.is_none()) {
            self.encode(field, &mut piece, out)?;
        }
        out.write_all(&piece)
    }

    /// The encoded state. Prefer [`Self::write_ssz`]: a mainnet state has a few hundred megabytes.
    #[must_use]
    pub fn to_ssz(&self) -> Vec<u8> {
        let mut ssz = Vec::with_capacity(usize::try_from(self.ssz_len()).unwrap_or(0));
        // Writing to a vector does not fail, and no state in memory is as long as offsets reach.
        let written = self.write_ssz(&mut ssz);
        debug_assert!(written.is_ok());
        ssz
    }

    /// Length of an encoded variable field.
    fn len_of(&self, field: &Field) -> u64 {
        let pending = |attestations: &[PendingAttestation]| {
            attestations.iter().map(|pending| OFFSET_BYTES + pending.byte_len()).sum()
        };
        let byte_len = match field.name {
            "historical_roots" => self.historical_roots.len() * 32,
            "eth1_data_votes" => self.eth1_data_votes.len() * 72,
            "validators" => self.validators.len() * VALIDATOR_BYTES,
            "balances" | "inactivity_scores" => self.validators.len() * 8,
            "previous_epoch_attestations" => pending(&self.previous_epoch_attestations),
            "current_epoch_attestations" => pending(&self.current_epoch_attestations),
            "previous_epoch_participation" | "current_epoch_participation" => self.validators.len(),
            "latest_execution_payload_header" => self.latest_execution_payload_header.len(),
            "historical_summaries" => self.historical_summaries.len() * 64,
            "pending_deposits" => self.pending_deposits.len() * 192,
            "pending_partial_withdrawals" => self.pending_partial_withdrawals.len() * 24,
            "pending_consolidations" => self.pending_consolidations.len() * 16,
            name => unreachable!("{name}: no variable field of a state has this name"),
        };
        byte_len as u64
    }

    /// Appends an encoded field, and writes out what exceeds a piece.
    pub(super) fn encode(
        &self,
        field: &Field,
        piece: &mut Vec<u8>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut put = Pieces { piece, out };
        match field.name {
            "genesis_time" => put.number(self.genesis_time),
            "genesis_validators_root" => put.bytes(&self.genesis_validators_root.0),
            "slot" => put.number(self.slot),
            "fork" => {
                put.bytes(&self.fork.previous_version)?;
                put.bytes(&self.fork.version)?;
                put.number(self.fork.epoch)
            }
            "latest_block_header" => put.bytes(&self.latest_block_header.write()),
            "block_roots" => put.roots(&self.block_roots),
            "state_roots" => put.roots(&self.state_roots),
            "historical_roots" => put.roots(&self.historical_roots),
            "eth1_data" => put.one(&self.eth1_data),
            "eth1_data_votes" => put.list(&self.eth1_data_votes),
            "eth1_deposit_index" => put.number(self.eth1_deposit_index),
            "validators" => put.validators(&self.validators),
            "balances" => put.numbers(&self.balances),
            "randao_mixes" => put.roots(&self.randao_mixes),
            "slashings" => put.numbers(&self.slashings),
            "previous_epoch_attestations" => put.pending(&self.previous_epoch_attestations),
            "current_epoch_attestations" => put.pending(&self.current_epoch_attestations),
            "previous_epoch_participation" => put.bytes(&self.previous_epoch_participation),
            "current_epoch_participation" => put.bytes(&self.current_epoch_participation),
            "justification_bits" => put.bytes(&[self.justification_bits]),
            "previous_justified_checkpoint" => put.one(&self.previous_justified_checkpoint),
            "current_justified_checkpoint" => put.one(&self.current_justified_checkpoint),
            "finalized_checkpoint" => put.one(&self.finalized_checkpoint),
            "inactivity_scores" => put.numbers(&self.inactivity_scores),
            "current_sync_committee" => put.sync_committee(&self.current_sync_committee),
            "next_sync_committee" => put.sync_committee(&self.next_sync_committee),
            "latest_execution_payload_header" => put.bytes(&self.latest_execution_payload_header),
            "next_withdrawal_index" => put.number(self.next_withdrawal_index),
            "next_withdrawal_validator_index" => put.number(self.next_withdrawal_validator_index),
            "historical_summaries" => put.roots(self.historical_summaries.as_flattened()),
            "deposit_requests_start_index" => put.number(self.deposit_requests_start_index),
            "deposit_balance_to_consume" => put.number(self.deposit_balance_to_consume),
            "exit_balance_to_consume" => put.number(self.exit_balance_to_consume),
            "earliest_exit_epoch" => put.number(self.earliest_exit_epoch),
            "consolidation_balance_to_consume" => put.number(self.consolidation_balance_to_consume),
            "earliest_consolidation_epoch" => put.number(self.earliest_consolidation_epoch),
            "pending_deposits" => put.list(&self.pending_deposits),
            "pending_partial_withdrawals" => put.list(&self.pending_partial_withdrawals),
            "pending_consolidations" => put.list(&self.pending_consolidations),
            "proposer_lookahead" => put.numbers(&self.proposer_lookahead),
            name => unreachable!("{name}: no state has this field"),
        }
    }
}

impl SyncCommittee {
    /// Reads an encoded committee: the keys, and their sum.
    fn read(bytes: &[u8]) -> Self {
        let mut pubkeys = bytes.as_chunks().0.to_vec();
        Self { aggregate_pubkey: pubkeys.pop(), pubkeys }
    }
}

/// Encodes values; a full piece is written out.
struct Pieces<'p> {
    piece: &'p mut Vec<u8>,
    out: &'p mut dyn Write,
}

impl Pieces<'_> {
    fn full(&mut self) -> io::Result<()> {
        if self.piece.len() >= PIECE_BYTES {
            self.out.write_all(self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PIECE_BYTES) {
            self.piece.extend_from_slice(part);
            self.full()?;
        }
        Ok(())
    }

    fn number(&mut self, value: u64) -> io::Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    fn numbers(&mut self, values: &[u64]) -> io::Result<()> {
        for part in values.chunks(PIECE_BYTES / 8) {
            self.piece.extend(part.iter().flat_map(|value| value.to_le_bytes()));
            self.full()?;
        }
        Ok(())
    }

    fn roots(&mut self, roots: &[Root]) -> io::Result<()> {
        for part in roots.chunks(PIECE_BYTES / 32) {
            self.piece.extend(part.iter().flat_map(|root| root.0));
            self.full()?;
        }
        Ok(())
    }

    fn one(&mut self, value: &impl Fixed) -> io::Result<()> {
        value.write(self.piece);
        self.full()
    }

    fn list<'v, T: Fixed + 'v>(&mut self, list: impl IntoIterator<Item = &'v T>) -> io::Result<()> {
        list.into_iter().try_for_each(|value| self.one(value))
    }

    fn validators(&mut self, validators: &Registry<'_>) -> io::Result<()> {
        let mut encoded = [0; VALIDATOR_BYTES];
        for index in 0..validators.len() {
            validators.write(index, &mut encoded);
            self.piece.extend_from_slice(&encoded);
            self.full()?;
        }
        Ok(())
    }

    fn sync_committee(&mut self, committee: &SyncCommittee) -> io::Result<()> {
        self.bytes(committee.pubkeys.as_flattened())?;
        self.bytes(committee.aggregate_pubkey.as_ref().map_or(&[], |pubkey| &pubkey[..]))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the list's limit keeps it below 2^32")]
    fn pending(&mut self, attestations: &[PendingAttestation]) -> io::Result<()> {
        let mut offset = attestations.len() * OFFSET_BYTES;
        for pending in attestations {
            self.piece.extend_from_slice(&(offset as u32).to_le_bytes());
            offset += pending.byte_len();
        }
        for pending in attestations {
            pending.write(self.piece);
            self.full()?;
        }
        Ok(())
    }
}

impl ChainRules {
    /// The fork of an encoded state, of which the first 64 bytes are read.
    ///
    /// # Errors
    /// [`Malformed`] if the state is of another chain, has the version of no fork in the config, or that of
    /// another fork than scheduled for its slot.
    pub fn fork_of_state(&self, ssz: &[u8]) -> Result<Fork, Malformed> {
        check_chain(self, ssz)?;
        let fork = fork_of(self, ssz)?;
        check_fork(self, ssz, fork)?;
        Ok(fork)
    }
}

/// Refuses a state of another chain.
fn check_chain(rules: &ChainRules, ssz: &[u8]) -> Result<(), Malformed> {
    let found = ssz.get(GENESIS_VALIDATORS_ROOT_AT..SLOT_AT).and_then(Root::of_slice);
    match (rules.genesis_validators_root(), found) {
        (Some(wanted), Some(found)) if wanted != found => {
            let wanted = format!("{wanted}, of this chain");
            Err(Malformed::new(wanted, found.to_string()).inside("genesis_validators_root"))
        }
        _ => Ok(()),
    }
}

/// Refuses a state of another fork than scheduled for its slot.
fn check_fork(rules: &ChainRules, ssz: &[u8], fork: Fork) -> Result<(), Malformed> {
    let slot = ssz.get(SLOT_AT..).and_then(|bytes| bytes.first_chunk()).copied();
    let epoch = u64::from_le_bytes(slot.unwrap_or_default()) / rules.values().slots_per_epoch;
    let wanted = rules.fork_at(epoch);
    if rules.is_unknown_at(epoch) {
        let wanted = format!("a fork up to {}", Fork::Fulu);
        let found = format!("epoch {epoch}, from which the config schedules a later fork");
        return Err(Malformed::new(wanted, found));
    }
    if wanted != fork {
        let wanted = format!("a {wanted} state in epoch {epoch}, as the config schedules");
        return Err(Malformed::new(wanted, fork.name()).inside("fork"));
    }
    Ok(())
}

/// The fork whose version the state has.
fn fork_of(rules: &ChainRules, ssz: &[u8]) -> Result<Fork, Malformed> {
    let Some(version) = ssz.get(VERSION_AT..).and_then(|bytes| bytes.first_chunk::<4>()) else {
        return Err(Malformed::new("a state", format!("{} bytes", ssz.len())));
    };
    // Of forks with one version, which only a test network has, the last.
    let found = rules.versions().filter(|(_, other)| other == version).last();
    found.map(|(fork, _)| fork).ok_or_else(|| {
        let versions: Vec<String> =
            rules.versions().map(|(_, version)| const_hex::encode_prefixed(version)).collect();
        let wanted = format!("a version of the chain's config, one of {}", versions.join(", "));
        Malformed::new(wanted, const_hex::encode_prefixed(version)).inside("fork")
    })
}

fn roots(bytes: &[u8]) -> Vec<Root> {
    bytes.as_chunks().0.iter().copied().map(Root).collect()
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect()
}

fn bits_of(byte: u8) -> Result<u8, Malformed> {
    match byte {
        0..16 => Ok(byte),
        _ => Err(Malformed::new("4 bits and zeros behind them", "ones")),
    }
}

/// Reads a list of attestations, whose encoding is checked.
fn pending_attestations(field: &Field, bytes: &[u8]) -> Result<Vec<PendingAttestation>, Malformed> {
    // Checks offsets, limits and the marks at the ends of bits.
    crate::hash::Hasher::default().root(field.of, bytes)?;
    let count = if bytes.is_empty() { 0 } else { offset_at(bytes, 0)? / OFFSET_BYTES };
    let mut attestations = Vec::with_capacity(count);
    for index in 0..count {
        let start = offset_at(bytes, index * OFFSET_BYTES)?;
        let end = match index + 1 == count {
            true => bytes.len(),
            false => offset_at(bytes, (index + 1) * OFFSET_BYTES)?,
        };
        let encoded = bytes.get(start..end).unwrap_or_default();
        if encoded.len() < PENDING_ATTESTATION_FIXED {
            let wanted = format!("at least {PENDING_ATTESTATION_FIXED} bytes");
            return Err(Malformed::new(wanted, format!("{} bytes", encoded.len())));
        }
        attestations.push(PendingAttestation::read(encoded));
    }
    Ok(attestations)
}
