//! States that are stored as diffs, by every path.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use coldstore::{Archive, Column, ReaderOptions, Slot, Snapshot, Writer, WriterOptions};
use coldstore_consensus::transition::{BeaconState, ChainRules, FlatField};
use coldstore_consensus::{Config, Preset, Root};
use coldstore_history::replay::{ReplayError, Source};
use coldstore_history::states::hierarchy::{Hierarchy, Layer};
use coldstore_history::states::value::{DiffContext, RootsError, SlotRoots, encode_diff};
use coldstore_history::states::{
    EpochOfValidators, How, PathFault, StateView, States, Validator, ValidatorAt,
};
use test_support::chain_content::{MINIMAL_CONFIG, all_states, truth};
use test_support::diffs::{WholeState, put, record_layers, store_diffs};
use test_support::{ImportedArchive, MINIMAL, era_files};

use crate::archive::{error_at, minimal_from, minimal_rules, minimal_states, ssz_at, ssz_of};

const LAST: u64 = 576;

fn layers(shape: &str) -> Hierarchy {
    Hierarchy::new(shape.parse().unwrap())
}

/// The small chain with its states stored by these layers, and the values of `bsd`.
fn stored(
    layers: &Hierarchy,
    is_kept: impl Fn(u64) -> bool,
) -> (ImportedArchive, BTreeMap<u64, Vec<u8>>) {
    let archive = minimal_from(0);
    let values = store_diffs(&archive, layers, is_kept);
    (archive, values)
}

fn states_by(archive: &ImportedArchive, layers: &Hierarchy) -> States<coldstore::View> {
    record_layers(archive, layers);
    minimal_states(archive)
}

/// Every accessor of a view against the state decoded from the true bytes.
fn must_be(view: &StateView<'_, impl Snapshot>, rules: &Arc<ChainRules>, ssz: &[u8]) {
    let slot = view.slot();
    assert!(ssz_of(view) == ssz, "slot {slot}");
    let state = BeaconState::from_ssz(Arc::clone(rules), ssz).unwrap();
    assert_eq!((slot.0, view.fork()), (state.slot(), Some(state.fork())));
    let count = state.validator_count();
    assert_eq!(view.validator_count(), count);
    let validators: Vec<Validator> =
        (0..count).map(|index| Validator::decode(&state.encoded_validator(index))).collect();
    let Some(FlatField::Numbers(balances)) = state.flat_field("balances") else { panic!() };
    for index in [0, 1, count / 2, count - 1] {
        assert_eq!(view.validator(index), Some(validators[index]));
        assert_eq!(view.balance(index), Some(balances[index]));
        let epoch = slot.0 / 8;
        assert_eq!(view.status(index), Some(validators[index].status(epoch, balances[index])));
    }
    assert_eq!((view.validator(count), view.balance(count)), (None, None));
    for range in [0..count, 3..7, count - 1..count + 5, count..count + 1, 7..7] {
        let part = range.start.min(count)..range.end.min(count);
        assert_eq!(view.balances(range.clone()).collect::<Vec<_>>(), balances[part.clone()]);
        assert_eq!(view.validators(range.clone()).collect::<Vec<_>>(), validators[part.clone()]);
        let effective: Vec<u64> =
            validators[part.clone()].iter().map(|validator| validator.effective_balance).collect();
        assert_eq!(view.effective_balances(range.clone()).collect::<Vec<_>>(), effective);
        let flags =
            ["previous_epoch_participation", "current_epoch_participation"].map(|name| match state
                .flat_field(name)
            {
                Some(FlatField::Bytes(flags)) => Some(&flags[part.clone()]),
                _ => None,
            });
        assert_eq!(
            view.participation(range).map(|flags| flags.map(Some)),
            match flags {
                [None, None] => None,
                flags => Some(flags),
            }
        );
    }
    for (name, bytes) in fields_of(&state) {
        assert_eq!(view.field(name).as_deref(), Some(&bytes[..]), "slot {slot}, {name}");
    }
    assert!(view.field("no_such_field").is_none());
}

/// The encoded fields of a state that all forks have, and some that not all have.
fn fields_of(state: &BeaconState<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "genesis_time",
        "slot",
        "fork",
        "latest_block_header",
        "block_roots",
        "state_roots",
        "eth1_data_votes",
        "validators",
        "balances",
        "randao_mixes",
        "slashings",
        "previous_epoch_attestations",
        "current_epoch_participation",
        "finalized_checkpoint",
        "inactivity_scores",
        "next_sync_committee",
        "latest_execution_payload_header",
        "historical_summaries",
        "pending_deposits",
        "proposer_lookahead",
    ];
    let field = |name: &'static str| {
        let mut bytes = Vec::new();
        state.write_field(name, &mut bytes).then_some((name, bytes))
    };
    names.into_iter().filter_map(field).collect()
}

#[test]
fn every_state_is_read_by_layers_of_every_depth() {
    let (truth, roots) = (all_states(), truth("STATES.tsv"));
    for shape in ["12", "12+0", "12,6+0", "11,6,4+3,0", "12,7,6,5+3,0", "12,8,7,6,5,4", "6+3,0"] {
        let layers = layers(shape);
        let (archive, values) = stored(&layers, |_| true);
        let raw = truth.keys().filter(|slot| layers.layer(Slot(**slot)) == Layer::Raw).count();
        assert_eq!(values.len() + raw, truth.len());
        let states = states_by(&archive, &layers);
        let rules = minimal_rules(states.source());
        for (slot, ssz) in &truth {
            let mut view = states.at(Slot(*slot)).unwrap();
            must_be(&view, &rules, ssz);
            let mut wanted = layers.path(Slot(*slot));
            wanted.reverse();
            assert_eq!(path_of(&view), wanted, "{shape}");
            assert_eq!((view.replayed_slots(), view.base()), (0, wanted[0]));
            if *slot < LAST && slot % 5 == 0 {
                assert_eq!(view.prove().unwrap(), roots[slot].root, "{shape}, slot {slot}");
            }
        }
    }
}

/// The slots of the records of a state that was read as it is stored.
fn path_of(view: &StateView<'_, impl Snapshot>) -> Vec<Slot> {
    match view.how() {
        How::Stored => vec![view.slot()],
        How::Diffs { base, records } => [&[*base][..], records].concat(),
        how => panic!("slot {}: {how}", view.slot()),
    }
}

/// The states that are not kept are replayed from the nearest one below that is.
fn must_be_right_where(layers: &Hierarchy, is_kept: impl Fn(u64) -> bool + Copy) {
    let truth = all_states();
    let (archive, values) = stored(layers, is_kept);
    let states = states_by(&archive, layers);
    let rules = minimal_rules(states.source());
    let mut nearest = 0;
    for (slot, ssz) in &truth {
        let view = states.at(Slot(*slot)).unwrap();
        must_be(&view, &rules, ssz);
        if *slot == 0 || values.contains_key(slot) {
            nearest = *slot;
            path_of(&view);
            continue;
        }
        let How::Replayed { base, instead_of: None, .. } = view.how() else {
            panic!("slot {slot}: {}", view.how())
        };
        assert_eq!((base.0, view.replayed_slots()), (nearest, slot - nearest));
    }
}

#[test]
fn states_that_are_not_kept_are_replayed_from_the_nearest_one() {
    let layers = layers("11,6,4+3,0");
    must_be_right_where(&layers, |slot| slot % 8 == 0);
    must_be_right_where(&layers, |slot| slot % 64 == 0);
    // Slots of some epochs, so far.
    must_be_right_where(&layers, |slot| slot % 8 == 0 || slot / 8 % 3 == 1);
    // Slots up to the middle of an epoch.
    must_be_right_where(&layers, |slot| slot % 8 < 4);
}

#[test]
fn a_missing_link_is_named_and_the_state_is_replayed() {
    let (layers, truth) = (layers("11,6,4+3,0"), all_states());
    // A slot, an epoch, a keyframe and an era; and the slots whose paths go through them.
    for (missing, last) in [(75, 79), (72, 79), (80, 95), (64, 127)] {
        let (archive, mut values) = stored(&layers, |_| true);
        values.remove(&missing);
        put(&archive, Column::StateDiffs, values.iter());
        let states = states_by(&archive, &layers);
        for (slot, ssz) in truth.range(missing - 1..last + 2) {
            let view = states.at(Slot(*slot)).unwrap();
            assert!(ssz_of(&view) == *ssz, "slot {slot} without {missing}");
            match view.how() {
                How::Replayed { instead_of: Some(fault), base, .. } => {
                    let is_it =
                        matches!(&**fault, PathFault::Missing { base, .. } if base.0 == missing);
                    assert!(is_it && base.0 < missing, "slot {slot}: {}", view.how());
                    let told =
                        format!("the state of slot {missing}, which neither bss nor bsd has");
                    assert!(view.how().to_string().contains(&told), "{}", view.how());
                }
                How::Replayed { instead_of: None, .. } => assert_eq!(*slot, missing),
                _ => assert!(*slot < missing || *slot > last, "slot {slot}: {}", view.how()),
            }
        }
        // Without the blocks, both are named.
        put(&archive, Column::Blocks, [].into_iter());
        let states = states_by(&archive, &layers);
        let error = error_at(&states, last);
        let ReplayError::Diffs { fault, replay } = &error else { panic!("{error}") };
        assert_eq!(fault.slot(), Slot(missing));
        assert!(matches!(**replay, ReplayError::MissingBlock { .. }), "{replay}");
    }
}

/// The state of a slot whose record is wrong: right, by a replay, and it is said why.
#[track_caller]
fn must_be_replayed(
    archive: &ImportedArchive,
    layers: &Hierarchy,
    slot: u64,
    ssz: &[u8],
) -> String {
    let states = states_by(archive, layers);
    let view = states.at(Slot(slot)).unwrap();
    assert!(ssz_of(&view) == ssz, "slot {slot}: {}", view.how());
    let How::Replayed { instead_of: Some(fault), .. } = view.how() else {
        panic!("{}", view.how())
    };
    assert_eq!(fault.slot(), Slot(slot));
    fault.to_string()
}

#[test]
fn a_damaged_record_is_never_a_wrong_state() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, values) = stored(&layers, |slot| slot <= 90);
    for slot in [64, 80, 88, 90] {
        let value = &values[&slot];
        let places = (0..64).chain((64..value.len()).step_by(1 + value.len() / 40));
        for place in places {
            let mut damaged = values.clone();
            damaged.get_mut(&slot).unwrap()[place] ^= 0x41;
            put(&archive, Column::StateDiffs, damaged.iter());
            must_be_replayed(&archive, &layers, slot, &truth[&slot]);
        }
        let mut cut = values.clone();
        cut.get_mut(&slot).unwrap().truncate(value.len() / 2);
        put(&archive, Column::StateDiffs, cut.iter());
        must_be_replayed(&archive, &layers, slot, &truth[&slot]);
        // Another slot's record.
        let mut other = values.clone();
        other.insert(slot, values[&16].clone());
        put(&archive, Column::StateDiffs, other.iter());
        must_be_replayed(&archive, &layers, slot, &truth[&slot]);
    }
}

/// Roots that differ from the archive's.
struct OtherRoots(Source<coldstore::View>);

impl SlotRoots for OtherRoots {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.block_root(slot)?)
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.state_root(slot)?.map(|root| Root(root.0.map(|byte| !byte))))
    }
}

#[test]
fn a_record_on_a_wrong_base_is_refused() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, mut values) = stored(&layers, |slot| slot <= 90);
    let source = Source::of(&archive.open()).unwrap();
    let other = OtherRoots(source.clone());
    let [on_88, on_86, next] =
        [88, 86, 90].map(|slot| WholeState::new(Preset::Minimal, &truth[&slot]));
    let encode = |base: &WholeState<'_>, roots: &dyn SlotRoots| {
        encode_diff(base.state(), next.state(), DiffContext::new(roots)).unwrap()
    };
    // The layers give 89, and the flat ones below.
    for base in [&on_88, &on_86] {
        values.insert(90, encode(base, &source));
        put(&archive, Column::StateDiffs, values.iter());
        let told = must_be_replayed(&archive, &layers, 90, &truth[&90]);
        assert!(told.contains("that the layers in archive.toml allow"), "{told}");
    }
    let before = WholeState::new(Preset::Minimal, &truth[&89]);
    values.insert(90, encode(&before, &other));
    put(&archive, Column::StateDiffs, values.iter());
    let told = must_be_replayed(&archive, &layers, 90, &truth[&90]);
    assert!(told.contains("another state of slot 89: wanted a root that begins with"), "{told}");
    values.insert(90, encode(&before, &source));
    put(&archive, Column::StateDiffs, values.iter());
    path_of(&states_by(&archive, &layers).at(Slot(90)).unwrap());
}

// Whoever edits archive.toml may list any slot.
#[test]
fn a_listed_base_that_is_not_whole_gives_no_wrong_state() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, mut values) = stored(&layers, |slot| slot <= 90);
    let source = Source::of(&archive.open()).unwrap();
    let [listed, next] = [75, 90].map(|slot| WholeState::new(Preset::Minimal, &truth[&slot]));
    let context = DiffContext::new(&source);
    values.insert(90, encode_diff(listed.state(), next.state(), context).unwrap());
    // The base is a diff itself: its path goes on.
    let layers = layers.with_base(Slot(75)).with_base(Slot(u64::MAX));
    put(&archive, Column::StateDiffs, values.iter());
    let states = states_by(&archive, &layers);
    let view = states.at(Slot(90)).unwrap();
    assert!(ssz_of(&view) == truth[&90]);
    let path: Vec<u64> = path_of(&view).iter().map(|slot| slot.0).collect();
    assert_eq!(path, [0, 64, 72, 73, 74, 75, 90]);
    // The base is not there at all.
    values.remove(&75);
    put(&archive, Column::StateDiffs, values.iter());
    let view = states_by(&archive, &layers);
    let view = view.at(Slot(90)).unwrap();
    assert!(ssz_of(&view) == truth[&90]);
    let How::Replayed { instead_of: Some(fault), .. } = view.how() else {
        panic!("{}", view.how())
    };
    let is_it = matches!(**fault, PathFault::Missing { slot: Slot(90), base: Slot(75) });
    assert!(is_it, "{fault}");
}

#[test]
fn a_forged_base_is_found_by_a_proof() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, _) = stored(&layers, |_| true);
    let offset = *truth[&0][4364..].first_chunk().unwrap();
    let balance = u32::from_le_bytes(offset) as usize + 3 * 8;
    archive.remake(Column::StateSnapshots, |_, mut state| {
        state[balance] ^= 1;
        Some(state)
    });
    let states = states_by(&archive, &layers);
    for slot in [0, 1, 7, 64] {
        let error = states.at(Slot(slot)).and_then(|mut view| view.prove()).unwrap_err();
        assert!(matches!(error, ReplayError::WrongStateRoot { hashed: true, .. }), "{error}");
    }
}

#[test]
fn a_wrong_whole_state_under_diffs_is_an_error_that_names_it() {
    let layers = layers("12,6,4+3,0");
    let (archive, _) = stored(&layers, |_| true);
    archive.remake(Column::StateSnapshots, |_, mut state| {
        state.truncate(5000);
        Some(state)
    });
    let states = states_by(&archive, &layers);
    for slot in [0, 8, 77] {
        let error = error_at(&states, slot);
        assert!(matches!(error, ReplayError::Start { slot: Slot(0), .. }), "{error}");
    }
}

#[test]
fn an_archive_that_begins_later_has_its_first_state_as_a_base() {
    let truth = all_states();
    let layers = layers("12,6,4+3,0").with_base(Slot(320));
    let archive = minimal_from(5);
    store_diffs(&archive, &layers, |_| true);
    let states = states_by(&archive, &layers);
    for (slot, ssz) in truth.range(320..) {
        let view = states.at(Slot(*slot)).unwrap();
        assert!(ssz_of(&view) == *ssz, "slot {slot}");
        assert_eq!(path_of(&view)[0], Slot(320));
    }
    let before = error_at(&states, 319);
    assert!(before.to_string().ends_with("that of slot 320"), "{before}");
    // Without the list, its diffs refer to a state that the layers do not allow.
    let layers = Hierarchy::new(layers.shape().clone());
    let told = must_be_replayed(&archive, &layers, 384, &truth[&384]);
    assert!(told.contains("slot 384") && told.contains("found 320"), "{told}");
}

#[test]
fn an_archive_of_one_state_has_that_state() {
    let truth = all_states();
    let archive = ImportedArchive::of(&era_files(MINIMAL)[..1]);
    for layers in [layers("12,6,4+3,0"), layers("3")] {
        let states = states_by(&archive, &layers);
        let view = states.at(Slot(0)).unwrap();
        must_be(&view, &minimal_rules(states.source()), &truth[&0]);
        assert!(matches!(view.how(), How::Stored));
        assert!(matches!(error_at(&states, 1), ReplayError::BeyondEnd { .. }));
    }
}

#[test]
fn concurrent_readers_share_what_is_decoded_within_the_bound() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, _) = stored(&layers, |slot| slot % 8 == 0 || slot > 300);
    for max_bytes in [0, 40_000, 10 << 20] {
        let states = states_by(&archive, &layers).with_cache_bytes(max_bytes);
        thread::scope(|scope| {
            for reader in 0..4u64 {
                let (states, truth) = (states.clone(), &truth);
                scope.spawn(move || {
                    for step in 0..150 {
                        let slot = (step * 7 + reader * 131) * 29 % (LAST + 1);
                        assert!(ssz_at(&states, slot).unwrap() == truth[&slot], "slot {slot}");
                        assert!(states.cached_bytes() <= max_bytes);
                    }
                });
            }
        });
        assert_eq!(states.cached_bytes() > 0, max_bytes > 0);
    }
}

#[test]
fn states_are_read_with_pread_as_from_maps() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, _) = stored(&layers, |slot| slot % 8 == 0 || slot > 300);
    let archive = Archive::open(archive.path(), ReaderOptions::default()).unwrap();
    let config = Config::parse(MINIMAL_CONFIG).unwrap();
    let states = States::open(&archive, Some(&config)).unwrap();
    for (slot, ssz) in &truth {
        assert!(ssz_of(&states.at(Slot(*slot)).unwrap()) == *ssz, "slot {slot}");
    }
}

#[test]
fn readers_beside_a_writer_get_right_states() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (held, values) = stored(&layers, |_| true);
    put(&held, Column::StateDiffs, [].into_iter());
    let config = Config::parse(MINIMAL_CONFIG).unwrap();
    let directory = held.path().join(Column::StateDiffs.dir_name());
    let is_written = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let options = WriterOptions::create(Column::StateDiffs.spec());
            let mut writer = Writer::open(&directory, options).unwrap();
            for (slot, value) in &values {
                writer.put(Slot(*slot), value).unwrap();
            }
            is_written.store(true, Ordering::Release);
        });
        for reader in 0..2u64 {
            let (truth, config, held) = (&truth, &config, &held);
            let is_written = &is_written;
            scope.spawn(move || {
                let mut slot = reader;
                loop {
                    let is_last = is_written.load(Ordering::Acquire);
                    let archive = Archive::open(held.path(), ReaderOptions::default()).unwrap();
                    let states = States::open(&archive, Some(config)).unwrap();
                    slot = (slot + 151) % (LAST + 1);
                    let view = states.at(Slot(slot)).unwrap();
                    assert!(ssz_of(&view) == truth[&slot], "slot {slot}: {}", view.how());
                    if is_last {
                        path_of(&view);
                        break;
                    }
                }
            });
        }
        writer.join().unwrap();
    });
}

/// A validator by the state decoded from its bytes.
fn validator_in(state: &BeaconState<'_>, index: usize) -> Option<ValidatorAt> {
    if index >= state.validator_count() {
        return None;
    }
    let Some(FlatField::Numbers(balances)) = state.flat_field("balances") else { panic!() };
    let flags = ["previous_epoch_participation", "current_epoch_participation"].map(|name| {
        match state.flat_field(name) {
            Some(FlatField::Bytes(flags)) => Some(flags[index]),
            _ => None,
        }
    });
    let participation = match flags {
        [Some(previous), Some(current)] => Some([previous, current]),
        _ => None,
    };
    Some(ValidatorAt {
        index,
        epoch: state.slot() / 8,
        validator: Validator::decode(&state.encoded_validator(index)),
        balance: balances[index],
        participation,
    })
}

#[test]
fn single_validators_are_read_without_decoding_their_states() {
    let truth = all_states();
    for shape in ["12,6,4+3,0", "12,6,4,3", "12+3", "11,6+3"] {
        let layers = layers(shape);
        let (archive, values) = stored(&layers, |slot| slot % 8 == 0);
        let states = states_by(&archive, &layers);
        let rules = minimal_rules(states.source());
        let mut in_chunks = 0;
        for (slot, ssz) in truth.iter().filter(|(slot, _)| *slot % 8 == 0) {
            let state = BeaconState::from_ssz(Arc::clone(&rules), ssz).unwrap();
            for index in [0, 7, 31, 63, 64, 65, 70, 200] {
                let found = states.validator_at(index, Slot(*slot)).unwrap();
                assert_eq!(found, validator_in(&state, index), "{shape}, slot {slot}");
            }
            // Nothing is kept, since no state was decoded.
            in_chunks += usize::from(states.cached_bytes() == 0 && values.contains_key(slot));
        }
        assert!(in_chunks > 60, "{shape}: {in_chunks} of {}", values.len());
        // A state that is not kept is replayed.
        let state = BeaconState::from_ssz(Arc::clone(&rules), &truth[&333]).unwrap();
        assert_eq!(states.validator_at(5, Slot(333)).unwrap(), validator_in(&state, 5));
    }
}

#[test]
fn a_history_has_the_states_at_the_starts_of_epochs() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, _) = stored(&layers, |slot| slot % 8 == 0);
    let states = states_by(&archive, &layers);
    let rules = minimal_rules(states.source());
    for (range, epochs) in [(3..5, 0..=72), (60..76, 40..=60), (0..300, 5..=9), (7..7, 1..=2)] {
        let wanted: Vec<EpochOfValidators> = epochs
            .clone()
            .map(|epoch: u64| {
                let ssz = &truth[&(epoch * 8)];
                let state = BeaconState::from_ssz(Arc::clone(&rules), ssz).unwrap();
                let validators =
                    range.clone().filter_map(|index| validator_in(&state, index)).collect();
                EpochOfValidators { epoch, validators }
            })
            .collect();
        let found: Vec<EpochOfValidators> =
            states.history(range, epochs).map(Result::unwrap).collect();
        assert!(found == wanted);
    }
    // Nothing follows an error.
    let mut beyond = states.history(0..1, 72..=80);
    assert!(beyond.next().unwrap().is_ok());
    assert!(matches!(beyond.next().unwrap().unwrap_err(), ReplayError::BeyondEnd { .. }));
    assert!(beyond.next().is_none());
}

#[test]
fn a_damaged_record_gives_no_wrong_validator() {
    let (layers, truth) = (layers("12,6,4+3,0"), all_states());
    let (archive, values) = stored(&layers, |slot| slot % 8 == 0 && slot <= 400);
    let state = |slot: u64| {
        let rules = minimal_rules(states_by(&archive, &layers).source());
        BeaconState::from_ssz(rules, &truth[&slot]).unwrap()
    };
    for slot in [320, 328, 392] {
        let wanted = validator_in(&state(slot), 9);
        let value = &values[&slot];
        for place in (0..value.len()).step_by(1 + value.len() / 60) {
            let mut damaged = values.clone();
            damaged.get_mut(&slot).unwrap()[place] ^= 0x41;
            put(&archive, Column::StateDiffs, damaged.iter());
            let found = states_by(&archive, &layers).validator_at(9, Slot(slot)).unwrap();
            assert_eq!(found, wanted, "slot {slot}, byte {place}");
        }
    }
}

#[test]
fn a_mapped_state_is_borrowed_whatever_the_kind_of_snapshot() {
    /// As readers of any kind of snapshot call it.
    fn is_borrowed(snapshots: &impl Snapshot) -> bool {
        matches!(snapshots.get(Slot(0)), Ok(Some(Cow::Borrowed(_))))
    }
    let archive = minimal_from(0);
    let mapped = Source::of(&archive.open()).unwrap();
    assert!(is_borrowed(&mapped.snapshots));
    let read = Archive::open(archive.path(), ReaderOptions::default()).unwrap();
    assert!(!is_borrowed(&Source::of(&read).unwrap().snapshots));
}
