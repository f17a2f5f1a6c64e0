//! The JSON of states equals the one from the specification's code.

use std::collections::BTreeMap;
use std::io::{self, Write};

use coldstore_consensus::{FieldJson, Fork, Preset, StateFields, StateJson, hash_state};
use sha2::Digest as _;

use test_support::chain_content::{all_states, packed};
use test_support::data;

/// The state's name, preset, fork and SSZ.
fn states() -> Vec<(String, Preset, Fork, Vec<u8>)> {
    let mut states = Vec::new();
    for (name, ssz) in packed("random-values/values.tar.zst") {
        let parts: Vec<&str> = name.split('-').collect();
        let [preset, fork, "state", number, _] = parts[..] else { continue };
        let fork = Fork::ALL.into_iter().find(|known| known.name() == fork).unwrap();
        let name = format!("{preset}-{fork}-state-{number}.json");
        states.push((name, preset.parse().unwrap(), fork, ssz));
    }
    assert_eq!(states.len(), 2 * Fork::ALL.len());
    states
}

fn json_of(
    preset: Preset,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> io::Result<Vec<u8>> {
    let mut json = StateJson::new(preset, Vec::new());
    for piece in pieces {
        json.write_all(piece.as_ref())?;
    }
    json.finish()
}

#[test]
fn the_json_of_every_fork_is_that_of_the_specification() {
    let wanted: BTreeMap<String, Vec<u8>> =
        packed("random-values/json.tar.zst").into_iter().collect();
    let digests = std::fs::read_to_string(data("random-values/json.sha256")).unwrap();
    for (name, preset, _, ssz) in states() {
        let json = json_of(preset, [&ssz]).unwrap();
        if let Some(wanted) = wanted.get(name.trim_end_matches(".json")) {
            let (json, wanted) = (String::from_utf8_lossy(&json), String::from_utf8_lossy(wanted));
            assert_eq!(json, wanted, "{name}");
        }
        let line = format!("{}  {name}", test_support::hex(&sha2::Sha256::digest(&json)));
        assert!(digests.lines().any(|digest| digest == line), "{line}");
    }
    assert_eq!(wanted.len(), Fork::ALL.len());
}

#[test]
fn a_state_in_pieces_of_any_length_has_the_same_json() {
    for (name, preset, _, ssz) in states() {
        if preset != Preset::Minimal {
            continue;
        }
        let wanted = json_of(preset, [&ssz]).unwrap();
        for piece_len in [1, 7, 120, 121, 122, 4096] {
            let json = json_of(preset, ssz.chunks(piece_len)).unwrap();
            assert!(json == wanted, "{name} in pieces of {piece_len} bytes");
        }
    }
}

#[test]
fn every_state_of_a_chain_is_json_with_its_slot() {
    for (slot, ssz) in all_states() {
        let json = json_of(Preset::Minimal, [&ssz]).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(parsed["slot"], slot.to_string());
    }
}

/// Whatever cannot be hashed has no JSON, and the other way round: both read the same bytes.
#[test]
fn damaged_states_are_refused_where_hashing_refuses_them() {
    for (name, preset, _, ssz) in states() {
        if preset != Preset::Minimal {
            continue;
        }
        for byte_len in (0..ssz.len()).step_by(3) {
            compare(&name, preset, &ssz[..byte_len]);
        }
        for at in (0..ssz.len()).step_by(5) {
            for flip in [1, 0x80] {
                let mut damaged = ssz.clone();
                damaged[at] ^= flip;
                compare(&name, preset, &damaged);
            }
        }
    }
}

fn compare(name: &str, preset: Preset, ssz: &[u8]) {
    let hashed = hash_state(preset, &mut &*ssz).is_ok_and(|state| state.body.is_some());
    match json_of(preset, [ssz]) {
        Ok(json) => {
            assert!(hashed, "{name}: {}", String::from_utf8_lossy(&json));
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
        Err(error) => {
            assert!(!hashed, "{name}: {error}");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }
}

#[test]
fn a_field_alone_has_the_json_that_it_has_in_its_state() {
    for (name, preset, fork, ssz) in states() {
        if preset != Preset::Minimal {
            continue;
        }
        let state: serde_json::Value =
            serde_json::from_slice(&json_of(preset, [&ssz]).unwrap()).unwrap();
        let fields = StateFields::of(preset, fork);
        for (field, span) in fields.iter().zip(fields.spans(&ssz).unwrap()) {
            let mut json = FieldJson::new(preset, fork, field.name, Vec::new()).unwrap();
            for piece in ssz[span].chunks(50) {
                json.write_all(piece).unwrap();
            }
            let json = json.finish().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(json, state[field.name], "{name} {}", field.name);
        }
        assert!(FieldJson::new(preset, fork, "no_field", Vec::new()).is_none());
    }
    let mut balances = FieldJson::new(Preset::Minimal, Fork::Fulu, "balances", Vec::new()).unwrap();
    balances.write_all(&[1; 12]).unwrap();
    let refused = balances.finish().unwrap_err();
    assert!(
        refused.to_string().contains("balances: wanted whole elements of 8 bytes"),
        "{refused}"
    );
}
