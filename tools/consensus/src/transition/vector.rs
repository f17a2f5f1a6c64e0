//! A reference vector of the specification, made by its own test suite.
//!
//! It is a folder `<preset>/<fork>/<runner>/<handler>/<suite>/<case>` of files. One without a `post` file is
//! of an input that must be refused.

use std::sync::Arc;

use super::block::{Payload, Value, body_type};
use super::error::Result;
use super::packs::Files;
use super::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use crate::config::Config;
use crate::containers::Layouts;
use crate::fork::Fork;
use crate::hash::Hasher;
use crate::preset::Preset;
use crate::root::Root;
use crate::ssz::Type;

/// The folder names of a vector.
pub(super) struct Case<'n> {
    pub(super) preset: Preset,
    pub(super) fork: Fork,
    pub(super) runner: &'n str,
    pub(super) handler: &'n str,
    name: &'n str,
}

/// Cases that are refused for a signature, which the transition does not check.
const OF_SIGNATURES: &[&str] = &[
    "sig",
    "fork_version",
    "genesis_validators_root",
    // The named attesters are others than those who signed.
    "bad_extra_index",
    "bad_replaced_index",
    "invalid_committee_index",
];

/// Cases with those words in their names that are refused for another reason.
const NOT_OF_SIGNATURES: &[&str] =
    &["empty_participants", "duplicate_index", "headers_are_same", "incorrect_proposer_index"];

/// The forks of the specification's own configs, none of which begins.
fn versions(preset: Preset) -> String {
    let last = u8::from(preset == Preset::Minimal);
    let of_fork = |(first, fork): (usize, Fork)| {
        let key = fork.config_key();
        format!("{key}_FORK_VERSION: 0x{first:02x}0000{last:02x}\n{key}_FORK_EPOCH: {}\n", u64::MAX)
    };
    Fork::ALL.into_iter().enumerate().map(of_fork).collect()
}

fn fork_of(name: &str) -> Option<Fork> {
    Fork::ALL.into_iter().find(|fork| fork.to_string() == name)
}

pub(super) fn root_of(state: &BeaconState<'_>) -> Root {
    let layout = &Layouts::of(state.rules.preset()).states[state.fork() as usize];
    Root(Hasher::default().root(&Type::container(layout.fields), &state.to_ssz()).unwrap())
}

/// `process_slots`, with the roots of a tree that is kept up to date.
fn process_slots(state: &mut BeaconState<'_>, tree: &mut StateTree, slot: u64) -> Result<()> {
    loop {
        let (root, next) = (tree.root(state), slot.min(state.slot + 1));
        state.process_slots(next, |_| Ok::<_, Box<TransitionError>>(root))?;
        if next == slot {
            return Ok(());
        }
    }
}

impl<'n> Case<'n> {
    /// `None` for a fork that is not known here.
    pub(super) fn of(path: &'n str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let [preset, fork, runner, handler, _, name] = parts[..] else { panic!("{path}") };
        let (preset, fork) = (preset.parse().unwrap(), fork_of(fork)?);
        Some(Self { preset, fork, runner, handler, name })
    }

    /// Whether the vector was checked: those refused for a signature are not.
    pub(super) fn check(&self, files: &Files) -> Result<bool, String> {
        let name = self.preset.name();
        let config = files.get("config").map(|config| String::from_utf8_lossy(config));
        let text = match config {
            Some(config) => config.into_owned(),
            None => format!("CONFIG_NAME: {name}\nPRESET_BASE: {name}\n{}", versions(self.preset)),
        };
        let config = Config::parse(&text).map_err(|fault| fault.to_string())?;
        let mut rules = ChainRules::new(self.preset, &config).map_err(|fault| fault.to_string())?;
        let meta = files.get("meta").map(|meta| String::from_utf8_lossy(meta).into_owned());
        let meta = |key: &str| meta.as_deref().and_then(|text| setting(text, key));
        if self.runner == "transition" {
            let fork_epoch = meta("fork_epoch").ok_or("no fork_epoch")?;
            rules.set_epoch(self.fork, fork_epoch.parse().map_err(|_| "fork_epoch")?);
        }
        let rules = Arc::new(rules);
        // Some states have versions that no config knows.
        let state = |bytes: &[u8], fork| {
            let read = BeaconState::of_fork(Arc::clone(&rules), &bytes.to_vec().into(), fork);
            read.map_err(|fault| fault.to_string())
        };
        let is_upgrade = ["fork", "transition"].contains(&self.runner);
        let before = Fork::ALL[(self.fork as usize).saturating_sub(usize::from(is_upgrade))];
        let pre = files.get("pre").ok_or("no pre state")?;
        let mut found = state(pre, before)?;
        if found.to_ssz() != *pre {
            return Err("the pre state is not encoded as it was".to_owned());
        }
        if self.runner == "rewards" {
            return self.check_rewards(found, files).map(|()| true);
        }
        let applied = self.apply(&mut found, files);
        match (applied, files.get("post")) {
            (Ok(()), Some(post)) if found.to_ssz() == *post => Ok(true),
            (Ok(()), Some(post)) => Err(difference(&found, &state(post, found.fork())?)),
            (Err(error), Some(_)) => Err(error.to_string()),
            (Err(_), None) => Ok(true),
            (Ok(()), None) if self.is_of_signatures() => Ok(false),
            (Ok(()), None) => Err("is not refused".to_owned()),
        }
    }

    fn is_of_signatures(&self) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| self.name.contains(word));
        has(OF_SIGNATURES) && !has(NOT_OF_SIGNATURES)
    }

    fn apply(&self, state: &mut BeaconState<'_>, files: &Files) -> Result<()> {
        match self.runner {
            "operations" => self.operation(state, files),
            "epoch_processing" => self.epoch_step(state),
            "fork" => state.upgrade_to(self.fork),
            "sanity" if self.handler == "slots" => {
                let slots: u64 = String::from_utf8_lossy(&files["slots"])
                    .trim()
                    .trim_end_matches("...")
                    .trim()
                    .parse()
                    .unwrap();
                let (mut tree, slot) = (StateTree::default(), state.slot + slots);
                process_slots(state, &mut tree, slot)?;
                assert_eq!(tree.root(state), root_of(state), "{}", self.name);
                Ok(())
            }
            "sanity" | "finality" | "random" | "transition" => {
                let blocks = (0..).map_while(|index| files.get(&format!("blocks_{index}")));
                let mut tree = StateTree::default();
                blocks
                    .into_iter()
                    .try_for_each(|block| self.state_transition(state, &mut tree, block))
            }
            runner => panic!("no runner is called {runner}"),
        }
    }

    /// `state_transition`. The root of the tree is compared with that of the whole state.
    fn state_transition(
        &self,
        state: &mut BeaconState<'_>,
        tree: &mut StateTree,
        block: &[u8],
    ) -> Result<()> {
        let refused = |found: String| super::error::refused("state_transition", "a block", found);
        let block = Block::parse(self.preset, block).map_err(|fault| refused(fault.to_string()))?;
        process_slots(state, tree, block.header().slot)?;
        state.process_block(&block)?;
        let root = root_of(state);
        assert_eq!(tree.root(state), root, "{} {}", self.name, state.slot());
        let wanted = block.header().state_root;
        super::error::ensure_equal("state_transition", "state root", wanted, root)
    }

    fn operation(&self, state: &mut BeaconState<'_>, files: &Files) -> Result<()> {
        let body = body_type(self.preset, self.fork.min(Fork::Electra), false).unwrap();
        let body = Value::new(body, &[]);
        let element = |list: &str, file: &str| {
            let list = list.split('.').fold(body, |value, name| value.field(name));
            list.element(&files[file])
        };
        match self.handler {
            "attestation" => state.process_attestation(element("attestations", "attestation")),
            "attester_slashing" => {
                state.process_attester_slashing(element("attester_slashings", "attester_slashing"))
            }
            "proposer_slashing" => {
                state.process_proposer_slashing(element("proposer_slashings", "proposer_slashing"))
            }
            "deposit" => state.process_deposit(element("deposits", "deposit")),
            "voluntary_exit" => {
                state.process_voluntary_exit(element("voluntary_exits", "voluntary_exit"))
            }
            "bls_to_execution_change" => state.process_bls_to_execution_change(element(
                "bls_to_execution_changes",
                "address_change",
            )),
            "deposit_request" => state
                .process_deposit_request(element("execution_requests.deposits", "deposit_request")),
            "withdrawal_request" => state.process_withdrawal_request(element(
                "execution_requests.withdrawals",
                "withdrawal_request",
            )),
            "consolidation_request" => state.process_consolidation_request(element(
                "execution_requests.consolidations",
                "consolidation_request",
            )),
            "sync_aggregate" => state.process_sync_aggregate(
                body.field("sync_aggregate").with(&files["sync_aggregate"]),
            ),
            "withdrawals" => {
                let value = body.field("execution_payload").with(&files["execution_payload"]);
                state.process_withdrawals(Payload::full(
                    value,
                    self.preset,
                    self.fork.min(Fork::Electra),
                ))
            }
            "block_header" => {
                let block = signed(&files["block"]);
                state.process_block_header(Block::parse(self.preset, &block).unwrap().header())
            }
            "execution_payload" => self.execution_payload(state, files),
            handler => panic!("no operation is called {handler}"),
        }
    }

    fn execution_payload(&self, state: &mut BeaconState<'_>, files: &Files) -> Result<()> {
        let execution = String::from_utf8_lossy(&files["execution"]);
        if setting(&execution, "execution_valid").as_deref() == Some("false") {
            return Err(super::error::refused(
                "process_execution_payload",
                "a valid payload",
                "another",
            ));
        }
        // A block with this body and zeros.
        let mut message = vec![0; 8 + 8 + 32 + 32];
        message.extend_from_slice(&84u32.to_le_bytes());
        message.extend_from_slice(&files["body"]);
        let block = signed(&message);
        state.process_execution_payload(&Block::parse(self.preset, &block).unwrap())
    }

    fn epoch_step(&self, state: &mut BeaconState<'_>) -> Result<()> {
        match self.handler {
            "justification_and_finalization" => state.process_justification_and_finalization(),
            "inactivity_updates" => state.process_inactivity_updates(),
            "rewards_and_penalties" => state.process_rewards_and_penalties(),
            "registry_updates" => state.process_registry_updates(),
            "slashings" => {
                state.process_slashings();
                Ok(())
            }
            "eth1_data_reset" => {
                state.process_eth1_data_reset();
                Ok(())
            }
            "pending_deposits" => state.process_pending_deposits(),
            "pending_consolidations" => state.process_pending_consolidations(),
            "effective_balance_updates" => {
                state.process_effective_balance_updates();
                Ok(())
            }
            "slashings_reset" => {
                state.process_slashings_reset();
                Ok(())
            }
            "randao_mixes_reset" => {
                state.process_randao_mixes_reset();
                Ok(())
            }
            "historical_roots_update" => {
                state.process_historical_roots_update();
                Ok(())
            }
            "historical_summaries_update" => {
                state.process_historical_summaries_update();
                Ok(())
            }
            "participation_record_updates" => {
                state.process_participation_record_updates();
                Ok(())
            }
            "participation_flag_updates" => {
                state.process_participation_flag_updates();
                Ok(())
            }
            "sync_committee_updates" => state.process_sync_committee_updates(),
            "proposer_lookahead" => state.process_proposer_lookahead(),
            handler => panic!("no step of an epoch is called {handler}"),
        }
    }

    /// The balances after the deltas of the vector, in the order of the specification.
    fn check_rewards(&self, mut state: BeaconState<'_>, files: &Files) -> Result<(), String> {
        let components = ["source", "target", "head", "inclusion_delay", "inactivity_penalty"];
        let deltas: Vec<[Vec<u64>; 2]> = components
            .iter()
            .filter_map(|component| files.get(&format!("{component}_deltas")))
            .map(|bytes| deltas(bytes))
            .collect();
        let mut wanted = state.balances.clone();
        let sum = |kind: usize, index: usize| {
            deltas.iter().map(|deltas| deltas[kind][index]).sum::<u64>()
        };
        for (index, balance) in wanted.iter_mut().enumerate() {
            if self.fork == Fork::Phase0 {
                *balance = (*balance + sum(0, index)).saturating_sub(sum(1, index));
                continue;
            }
            for [rewards, penalties] in &deltas {
                *balance = (*balance + rewards[index]).saturating_sub(penalties[index]);
            }
        }
        if state.current_epoch() == 0 {
            // Deltas of the first epoch are computed, but never applied.
            state.slot += state.preset().slots_per_epoch;
        }
        state.process_rewards_and_penalties().map_err(|error| error.to_string())?;
        let mut pairs = wanted.iter().zip(&state.balances).enumerate();
        match pairs.find(|(_, (wanted, found))| wanted != found) {
            None => Ok(()),
            Some((index, (wanted, found))) => {
                Err(format!("validator {index}: wanted balance {wanted}, found {found}"))
            }
        }
    }
}

/// `Deltas`: two lists of numbers.
fn deltas(bytes: &[u8]) -> [Vec<u64>; 2] {
    let middle = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    [&bytes[8..middle], &bytes[middle..]]
        .map(|list| list.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect())
}

/// A `SignedBeaconBlock` with a signature of zeros.
fn signed(message: &[u8]) -> Vec<u8> {
    [&100u32.to_le_bytes()[..], &[0; 96], message].concat()
}

/// The first field that differs.
pub(super) fn difference(found: &BeaconState<'_>, wanted: &BeaconState<'_>) -> String {
    let (found, wanted) = (format!("{found:#?}"), format!("{wanted:#?}"));
    let mut field = "";
    for (found, wanted) in found.lines().zip(wanted.lines()) {
        if found.starts_with("    ") && !found.starts_with("     ") {
            field = found;
        }
        if found.trim_start().starts_with("changes") {
            break;
        }
        if found != wanted && !found.contains("RandomState") {
            return format!("{field}: wanted {}, found {}", wanted.trim(), found.trim());
        }
    }
    "differs in its keys or credentials".to_owned()
}

/// The value of a key in a one-line or many-line YAML map.
fn setting(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{key}:"))?;
    let value: String = rest.trim_start().chars().take_while(|c| !",}\n".contains(*c)).collect();
    Some(value.trim().trim_matches('\'').to_owned())
}
