//! A state from its encoded fields, without a buffer for the whole of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::config::ChainRules;
use super::registry::VALIDATOR_BYTES;
use super::state::BeaconState;
use crate::containers::{Layouts, VALIDATORS_FIELD};
use crate::fork::Fork;
use crate::hash::{Hasher, Malformed, check_count, count_of};
use crate::ssz::{Field, Kind};

impl<'s> BeaconState<'s> {
    /// Builds a state from its encoded fields, which `field` gives by their names.
    ///
    /// Public keys and credentials are read from `validators` whenever they are needed. `changed` validators
    /// replace those there; an index at the list's end appends one.
    ///
    /// # Errors
    /// As [`BeaconState::from_ssz`]; also if the fields are not those of `fork`.
    pub fn from_fields(
        rules: &Arc<ChainRules>,
        fork: Fork,
        field: &mut dyn FnMut(&'static str) -> Cow<'s, [u8]>,
        changed: &mut dyn Iterator<Item = (u32, [u8; VALIDATOR_BYTES])>,
    ) -> Result<Self, Malformed> {
        let layout = &Layouts::of(rules.preset()).states[fork as usize];
        let mut state = Self::empty(Arc::clone(rules), fork);
        // All states begin with time, genesis validators root, slot and fork.
        let mut prefix = Vec::new();
        for (place, of) in layout.fields.iter().enumerate() {
            let bytes = field(of.name);
            let inside = |malformed: Malformed| malformed.inside(of.name);
            check_field(of, &bytes).map_err(inside)?;
            if place < 4 {
                prefix.extend_from_slice(&bytes);
            }
            state.set(of, bytes).map_err(inside)?;
            if of.name == VALIDATORS_FIELD {
                for (index, validator) in &mut *changed {
                    state.validators.set(index as usize, &validator).map_err(inside)?;
                }
            }
        }
        let found = rules.fork_of_state(&prefix)?;
        if found != fork {
            return Err(Malformed::new(format!("a {fork} state"), found.name()).inside("fork"));
        }
        state.check_lengths()?;
        Ok(state)
    }
}

/// Checks what decoding a field relies on: its length, a list's limit, the layout of a payload's header.
fn check_field(field: &Field, bytes: &[u8]) -> Result<(), Malformed> {
    match field.of.kind {
        Kind::List { element, limit } => {
            let Some(element_len) = element.fixed_len else { return Ok(()) };
            check_count(count_of(bytes.len() as u64, element_len)?, limit)
        }
        Kind::Container(_) if field.of.fixed_len.is_none() => {
            Hasher::default().root(field.of, bytes).map(drop)
        }
        _ => match field.of.fixed_len {
            Some(wanted) if wanted != bytes.len() => {
                let found = format!("{} bytes", bytes.len());
                Err(Malformed::new(format!("{wanted} bytes"), found))
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::network::KnownNetwork;
    use crate::preset::Preset;

    type Change<'c> = &'c dyn Fn(&mut Vec<u8>);

    /// The state from its fields, one of them changed, and from other validators.
    fn rebuilt<'s>(
        state: &BeaconState<'_>,
        name: &str,
        change: Change<'_>,
        changed: &[(u32, [u8; VALIDATOR_BYTES])],
    ) -> Result<BeaconState<'s>, Malformed> {
        let mut field = |of: &'static str| {
            let mut bytes = Vec::new();
            assert!(state.write_field(of, &mut bytes));
            if of == name {
                change(&mut bytes);
            }
            Cow::Owned(bytes)
        };
        BeaconState::from_fields(
            &state.rules,
            state.fork(),
            &mut field,
            &mut changed.iter().copied(),
        )
    }

    #[test]
    fn a_state_is_rebuilt_from_its_fields_and_changed_validators() {
        let known = KnownNetwork::by_name("mainnet").unwrap();
        let config = Config { genesis_validators_root: None, ..Config::of_known(known) };
        let rules = Arc::new(ChainRules::new(Preset::Mainnet, &config).unwrap());
        let state = BeaconState::synthetic(&rules, 40, 1);
        let truth = state.to_ssz();
        let whole = rebuilt(&state, "", &|_| (), &[]).unwrap();
        assert!(whole.to_ssz() == truth);
        let changed = [0, 7, 38, 39].map(|index| (index, state.encoded_validator(index as usize)));
        // Other keys, credentials and epochs at 0 and 7, and two validators fewer.
        let damage = |list: &mut Vec<u8>| {
            list.truncate(38 * VALIDATOR_BYTES);
            for index in [0, 7] {
                let validator = &mut list[index * VALIDATOR_BYTES..][..VALIDATOR_BYTES];
                validator.iter_mut().for_each(|byte| *byte = 1);
            }
        };
        assert!(rebuilt(&state, "validators", &damage, &changed).unwrap().to_ssz() == truth);

        let refused = |name, change: Change<'_>, changed: &[_]| {
            rebuilt(&state, name, change, changed).map(drop).unwrap_err().to_string()
        };
        let short = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
        for name in ["slot", "fork", "balances", "validators", "latest_execution_payload_header"] {
            assert!(refused(name, &short, &[]).starts_with(name), "{name}");
        }
        let fewer = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 8);
        assert!(refused("balances", &fewer, &[]).contains("wanted 40 elements"));
        assert!(refused("slot", &|slot| slot.fill(0), &[]).contains("as the config schedules"));
        let mut wrong = changed[0];
        wrong.1[88] = 2;
        assert!(refused("", &|_| (), &[wrong]).contains("wanted a boolean"));
        assert!(refused("", &|_| (), &[(41, changed[0].1)]).contains("found validator 41"));
    }
}
