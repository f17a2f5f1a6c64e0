//! `validator`: one validator in one state, or over epochs.

use std::fs;

use coldstore_consensus::{Preset, StateFields};
use serde_json::{Value, json};
use test_support::chain_content::all_states;

use crate::state::layered;
use crate::support::{Run, coldstore, test_data};

fn validator(root: &str, name: &str, more: &[&str]) -> Run {
    let config = test_data("chain-minimal/config.yaml");
    let network = ["--network", config.to_str().unwrap()];
    coldstore(&[&["validator", root, name], &network[..], more].concat())
}

/// The bytes of a field of a state.
fn field<'s>(state: &'s [u8], name: &str) -> &'s [u8] {
    let fields = StateFields::of_ssz(Preset::Minimal, state).unwrap();
    &state[fields.spans(state).unwrap()[fields.place(name).unwrap()].clone()]
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

#[test]
fn a_validator_is_printed_as_its_state_has_it() {
    let (archive, truth) = (layered(), all_states());
    let root = archive.path().to_str().unwrap();
    for slot in [0, 88, 90, 512] {
        let state = &truth[&slot];
        let encoded = &field(state, "validators")[5 * 121..6 * 121];
        let at = slot.to_string();
        let found = validator(root, "5", &["--at", &at, "--json"]).exits(0).json();
        let pubkey = format!("0x{}", test_support::hex(&encoded[..48]));
        assert_eq!(found["index"], "5");
        assert_eq!(found["slot"], at);
        assert_eq!(found["balance"], number(field(state, "balances"), 40).to_string());
        assert_eq!(found["status"], "active_ongoing");
        assert_eq!(found["validator"]["pubkey"], pubkey);
        assert_eq!(found["validator"]["exit_epoch"], u64::MAX.to_string());
        assert_eq!(found["validator"]["effective_balance"], number(encoded, 80).to_string());
        let flags = match slot {
            0 => Value::Null,
            _ => json!(field(state, "previous_epoch_participation")[5].to_string()),
        };
        assert_eq!(found["previous_flags"], flags, "slot {slot}");
        let by_key = validator(root, &pubkey, &["--at", &at, "--json"]).exits(0).json();
        assert_eq!(by_key, found);
    }
    // The newest stored state.
    let text = validator(root, "5", &[]).exits(0);
    assert!(
        text.text().contains("state                    slot 576, epoch 72\n"),
        "{}",
        text.text()
    );
    assert!(text.text().contains("exit                     not scheduled\n"), "{}", text.text());
    text.complains_of("state at slot 576: ");
}

#[test]
fn a_history_has_a_row_for_the_first_slot_of_every_epoch() {
    let (archive, truth) = (layered(), all_states());
    let root = archive.path().to_str().unwrap();
    let range = ["--from", "60", "--to", "104"];
    let run = validator(root, "7", &[&range[..], &["--csv"]].concat()).exits(0);
    let csv = run.text();
    let mut lines = csv.lines();
    let heading = "slot,epoch,balance,effective_balance,status,previous_flags,current_flags";
    assert_eq!(lines.next(), Some(heading));
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 6, "{csv}");
    for (row, slot) in rows.iter().zip((64..=104).step_by(8)) {
        let state = &truth[&slot];
        let balance = number(field(state, "balances"), 56);
        let effective = number(field(state, "validators"), 7 * 121 + 80);
        let flags = ["previous", "current"]
            .map(|epoch| field(state, &format!("{epoch}_epoch_participation"))[7]);
        let wanted = format!(
            "{slot},{},{balance},{effective},active_ongoing,{},{}",
            slot / 8,
            flags[0],
            flags[1]
        );
        assert_eq!(*row, wanted);
    }
    let json = validator(root, "7", &[&range[..], &["--json"]].concat()).exits(0).json();
    let history = json["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[5]["slot"]), (6, &json!("104")));
    let run = validator(root, "7", &range).exits(0);
    let table = run.text();
    assert_eq!(table.lines().count(), 7, "without a terminal there are no bars: {table}");
    assert!(table.lines().nth(1).unwrap().trim_start().starts_with("8    64  "), "{table}");

    // A range that holds nothing.
    for empty in [["--from", "65", "--to", "71"], ["--from", "9000", "--to", "9001"]] {
        let json = validator(root, "7", &[&empty[..], &["--json"]].concat()).exits(0).json();
        assert_eq!(json["history"], json!([]));
    }
    validator(root, "7", &["--from", "9", "--to", "8"]).exits(2);
    validator(root, "7", &["--to", "8"]).exits(2);
}

/// Validator 71 joined late; a key that nobody has is searched for in vain.
#[test]
fn a_validator_that_a_state_does_not_have_is_answered_with_no() {
    let (archive, truth) = (layered(), all_states());
    let root = archive.path().to_str().unwrap();
    let count = field(&truth[&0], "balances").len() / 8;
    assert_eq!(count, 64);
    validator(root, "64", &["--at", "0"])
        .exits(1)
        .complains_of("the state of slot 0 has 64 validators");
    let key = format!("0x{}", "ab".repeat(48));
    validator(root, &key, &["--at", "512"]).exits(1).complains_of("has none with this key");
    let wrong = validator(root, "0xabcd", &[]).exits(2);
    assert!(wrong.stderr.contains("a public key of 96 hex digits"), "{}", wrong.stderr);
    validator(root, "5", &["--at", "9000"]).exits(1).complains_of("end with slot 576");
}

#[test]
fn the_index_of_public_keys_is_built_from_the_newest_whole_state() {
    let (archive, truth) = (layered(), all_states());
    let root = archive.path().to_str().unwrap();
    let index = coldstore(&["index", root, "--json"]).exits(0).json();
    let validators = field(&truth[&512], "validators");
    assert_eq!(index[2]["kind"], "pubkey");
    assert_eq!(index[2]["pubkeys"], (validators.len() / 121).to_string());
    assert_eq!(coldstore(&["index", root, "--json"]).exits(0).json()[2]["written"], "0");
    for place in [0, 63, validators.len() / 121 - 1] {
        let key = test_support::hex(&validators[place * 121..][..48]);
        let found = validator(root, &format!("0x{key}"), &["--at", "512", "--json"]).exits(0);
        assert_eq!(found.json()["index"], place.to_string());
    }
    // Damage costs time only.
    let path = archive.path().join("index/pubkeys_00000.index");
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, bytes).unwrap();
    let key = test_support::hex(&validators[..48]);
    let found = validator(root, &format!("0x{key}"), &["--json"]).exits(0);
    assert_eq!(found.json()["index"], "0");
}
