//! The proof of states that are stored as diffs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Deref;

use coldstore::verify::Finding;
use coldstore::{Column, Manifest, Slot};
use coldstore_consensus::Preset;
use coldstore_history::deep::{StateSample, stored_states};
use coldstore_history::lacking;
use coldstore_history::replay::Source;
use coldstore_history::states::hierarchy::Hierarchy;
use coldstore_history::states::value::{DiffContext, encode_diff};
use coldstore_history::states::{PathFault, links};
use test_support::chain_content::all_states;
use test_support::diffs::{WholeState, put, store_diffs};
use test_support::{MINIMAL, era_files};

use crate::archive::{Held, Proved};

/// The small chain with whole states at 0 and 512, diffs at the other boundaries of eras, and chains of those of
/// every eighth slot.
struct Layered {
    held: Held,
    values: BTreeMap<u64, Vec<u8>>,
}

impl Deref for Layered {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

fn layered() -> Layered {
    let held = Held::of(&era_files(MINIMAL), Preset::Minimal);
    let layers = Hierarchy::new("9,6+3".parse().unwrap());
    let values = store_diffs(&held, &layers, |slot| slot % 8 == 0);
    Manifest::update(held.path(), |manifest| {
        layers.record(manifest);
        manifest.state_values = Some("coldstore".to_owned());
        manifest.column_mut(Column::StateSnapshots).highest = Some(Slot(512));
        Ok(())
    })
    .unwrap();
    Layered { held, values }
}

impl Layered {
    /// Replaces the values of `bsd`.
    fn put(&self, change: impl FnOnce(&mut BTreeMap<u64, Vec<u8>>)) {
        let mut values = self.values.clone();
        change(&mut values);
        put(&self.held, Column::StateDiffs, values.iter());
    }

    /// What the headers of diffs and their bases show.
    fn links(&self) -> Vec<(Column, Finding)> {
        let states = stored_states(&self.open(), Some(Preset::Minimal)).unwrap().unwrap();
        let mut found = Vec::new();
        let mut take = |_: &PathFault, column, finding| found.push((column, finding));
        links::check(self.path(), &states, &mut |_| {}, &mut take).unwrap();
        found
    }
}

fn slots(proved: &Proved) -> Vec<(Column, u64)> {
    proved.damages.iter().map(|(column, finding)| (*column, finding.slot.unwrap().0)).collect()
}

/// 71 diffs: 8 at boundaries, of which the last has no root in `bsr` yet, and 7 in each of 9 eras, where the
/// last builds on all others.
#[test]
fn a_sample_of_the_states_is_rebuilt_and_proved() {
    let layered = layered();
    assert_eq!(layered.values.len(), 71);
    let every = |slots| StateSample::Every(NonZeroU64::new(slots).unwrap());
    for (sample, rebuilt, covered) in [
        (StateSample::Ends, 7 + 9, 63 - 9),
        (StateSample::All, 7 + 63, 0),
        (every(1), 7 + 63, 0),
        (every(16), 7 + 27, 36),
        (every(64), 7, 63),
    ] {
        layered.sample.set(sample);
        let proved = layered.proved();
        assert!(proved.damages.is_empty() && proved.notes.is_empty(), "{proved:?}");
        let report = proved.report;
        assert_eq!((report.rebuilt_states, report.covered_states), (rebuilt, covered), "{sample}");
        // Two whole ones.
        assert_eq!(report.states, rebuilt + 2);
        assert_eq!((report.unproved_states, report.last_unproved_state), (1, Some(Slot(576))));
        // The newest state is a diff, and all eras rest on it.
        assert_eq!((report.own_state, report.agreeing_eras), (Some(Slot(576)), 9));
        assert_eq!(proved.kept.len(), 9);
    }
    assert!(layered.links().is_empty());
    assert_eq!(lacking::check(layered.path()).unwrap(), []);
}

#[test]
fn an_earlier_proof_is_taken_until_a_diff_changes() {
    let layered = layered();
    let first = layered.proved();
    let again = layered.proved_after(&first.kept, None, &[]);
    assert_eq!(again.report.taken.eras, 9);
    let counts = |proved: &Proved| {
        (proved.report.states, proved.report.rebuilt_states, proved.report.covered_states)
    };
    assert_eq!(counts(&again), counts(&first));
    layered.put(|values| drop(values.remove(&88)));
    let changed = layered.proved_after(&first.kept, None, &[]);
    // The records after it have moved.
    assert_eq!(changed.report.taken.eras, 1);
}

#[test]
fn a_missing_base_is_a_finding_of_the_diff_that_builds_on_it() {
    let layered = layered();
    // In the middle of a chain, at the boundary of an era, and a whole state.
    for (lost, builds) in [(72, 80), (128, 136)] {
        layered.put(|values| drop(values.remove(&lost)));
        let [(column, finding)] = &layered.links()[..] else { panic!("{:?}", layered.links()) };
        assert_eq!((*column, finding.slot), (Column::StateDiffs, Some(Slot(builds))));
        assert_eq!(
            finding.wanted,
            format!("in the layer of 8 slots: the state of slot {lost}, on which it builds")
        );
        assert_eq!(finding.found, "in neither bss nor bsd");
        assert!(finding.file.ends_with("bsd/data_00000"));
        let proved = layered.proved();
        assert_eq!(slots(&proved), [(Column::StateDiffs, builds)], "once for all that build on it");
    }
}

#[test]
fn a_base_that_the_layers_do_not_allow_is_a_finding() {
    let layered = layered();
    Manifest::update(layered.path(), |manifest| {
        manifest.state_layers = vec!["9,6+4".to_owned()];
        Ok(())
    })
    .unwrap();
    let found = layered.links();
    // Those of 8 modulo 16 are outside the layers now: flat, on the boundary, where the first one is already.
    let (column, finding) = &found[0];
    assert_eq!((*column, finding.slot), (Column::StateDiffs, Some(Slot(16))));
    assert!(
        finding.wanted.contains("a base that the layers in archive.toml allow (0"),
        "{finding:?}"
    );
    assert_eq!(finding.found, "slot 8");
}

/// The value is sound and its base is there, but it gives another state.
#[test]
fn a_wrong_state_in_a_chain_is_found_by_the_proof_of_the_chain_s_end() {
    let layered = layered();
    let truth = all_states();
    let source = Source::of(&layered.open()).unwrap();
    for slot in [72, 120, 128] {
        let base = if slot % 64 == 0 { 0 } else { slot - 8 };
        let mut wrong = truth[&slot].clone();
        // A byte of the graffiti of nobody: the last of the randao mixes that no slot of the era replaces.
        let fields = coldstore_consensus::StateFields::of_ssz(Preset::Minimal, &wrong).unwrap();
        let mixes = fields.spans(&wrong).unwrap()[fields.place("randao_mixes").unwrap()].clone();
        wrong[mixes.end - 1] ^= 1;
        let [base, next] = [&truth[&base], &wrong].map(|ssz| WholeState::new(Preset::Minimal, ssz));
        let value = encode_diff(base.state(), next.state(), DiffContext::new(&source)).unwrap();
        layered.put(|values| drop(values.insert(slot, value)));
        assert!(layered.links().is_empty());
        let proved = layered.proved();
        let end = slot - slot % 64 + 56;
        let wanted = match slot % 64 {
            0 => vec![(Column::StateDiffs, slot), (Column::StateDiffs, end)],
            _ => vec![(Column::StateDiffs, end)],
        };
        assert_eq!(slots(&proved), wanted, "slot {slot}");
        let finding = proved.names(Column::StateDiffs, end);
        assert!(finding.wanted.contains("the state root 0x"), "{finding:?}");
        assert!(finding.wanted.contains("diffs on slot 0"), "{finding:?}");
        layered.sample.set(StateSample::All);
        let all = layered.proved();
        let wanted: Vec<_> = (slot..=end).step_by(8).map(|at| (Column::StateDiffs, at)).collect();
        assert_eq!(slots(&all), wanted, "slot {slot}");
        layered.sample.set(StateSample::Ends);
    }
}

#[test]
fn a_damaged_whole_state_is_named_once_and_not_each_state_on_it() {
    let layered = layered();
    layered.remake(Column::StateSnapshots, |slot, mut state| {
        state[40] ^= u8::from(slot == 512);
        Some(state)
    });
    let proved = layered.proved();
    assert_eq!(slots(&proved), [(Column::StateSnapshots, 512)], "{proved:?}");
    // The newest readable state is the boundary before.
    assert_eq!(proved.report.own_state, Some(Slot(448)));
    assert_eq!(proved.report.agreeing_eras, 7);
}

#[test]
fn the_newest_state_is_not_lacking_where_it_is_a_diff() {
    let layered = layered();
    Manifest::update(layered.path(), |manifest| {
        manifest.states = Some(coldstore::StatesPolicy::All);
        manifest.slots_per_era = Some(64);
        Ok(())
    })
    .unwrap();
    assert_eq!(lacking::check(layered.path()).unwrap(), []);
    layered.put(|values| drop(values.remove(&576)));
    let found = lacking::check(layered.path()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].to_string().contains("does not hold the state of slot 576"), "{}", found[0]);
}
