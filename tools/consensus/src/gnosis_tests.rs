//! Tests of the gnosis preset. Values of a Gnosis network are not available, so they test that roots differ
//! from mainnet's exactly where the sizes do.

use std::collections::BTreeMap;

use super::tests::{blinded, fields, fields_of, random_values};
use super::*;
use crate::containers::StateLayout;
use crate::network::KnownNetwork;
use crate::sha256::{Node, hash_pair, mix_in_length};
use crate::ssz::{Field, Type};
use crate::state::hash_state;

const MAX_WITHDRAWALS: usize = 8;
const WITHDRAWAL_BYTES: usize = 8 + 8 + 20 + 8;
const ETH1_DATA_BYTES: usize = 32 + 8 + 32;
/// `EPOCHS_PER_ETH1_VOTING_PERIOD` times `SLOTS_PER_EPOCH`.
const MAX_VOTES: usize = 64 * 16;

/// The root of a list with room for `limit` elements, hashed naively.
fn root_of_list(roots: &[Node], limit: usize) -> Node {
    let mut nodes = roots.to_vec();
    nodes.resize(limit, [0; 32]);
    while nodes.len() > 1 {
        nodes =
            nodes.as_chunks::<2>().0.iter().map(|[left, right]| hash_pair(left, right)).collect();
    }
    mix_in_length(&nodes[0], roots.len() as u64)
}

/// The fields whose root as a field of `ours` differs from their root as one of `theirs`.
fn differing<'b>(
    ours: &[Field],
    theirs: &[Field],
    bytes: &'b [u8],
) -> BTreeMap<&'static str, (&'static Type, &'static Type, &'b [u8])> {
    let mut hasher = Hasher::default();
    let mut differing = BTreeMap::new();
    for ((ours, theirs), value) in ours.iter().zip(theirs).zip(fields_of(theirs, bytes)) {
        assert_eq!(ours.name, theirs.name);
        if hasher.root(ours.of, value) != hasher.root(theirs.of, value) {
            differing.insert(ours.name, (ours.of, theirs.of, value));
        }
    }
    differing
}

fn container(of: &Type) -> &'static [Field] {
    match of.kind {
        Kind::Container(fields) => fields,
        other => panic!("{other:?}"),
    }
}

/// The root of a list of withdrawals with at most `limit` elements.
fn withdrawals_root(of: &Type, bytes: &[u8], limit: usize) -> Node {
    let Kind::List { element, .. } = of.kind else { panic!("{:?}", of.kind) };
    let mut hasher = Hasher::default();
    let roots: Vec<Node> = bytes
        .chunks(WITHDRAWAL_BYTES)
        .map(|withdrawal| hasher.root(element, withdrawal).unwrap())
        .collect();
    root_of_list(&roots, limit)
}

#[test]
fn gnosis_blocks_differ_from_mainnets_only_in_withdrawals() {
    let (mut same, mut differ, mut refused) = (0, 0, 0);
    for (name, block) in random_values("mainnet-", "-block-") {
        let mainnet = BlockHasher::new(Preset::Mainnet).hash(&block).unwrap();
        let gnosis = BlockHasher::new(Preset::Gnosis).hash(&block);
        let of = |preset, is_blinded| {
            let mut layouts = Layouts::of(preset).blocks.iter();
            let is_it = |layout: &&BlockLayout| {
                layout.fork == mainnet.fork && layout.is_blinded == is_blinded
            };
            layouts.find(is_it).unwrap()
        };
        let (ours, theirs) = (of(Preset::Gnosis, false), of(Preset::Mainnet, false));
        let found = differing(fields(ours), fields(theirs), &block[BODY_AT..]);
        if mainnet.fork < Fork::Capella {
            assert!(found.is_empty(), "{name}: {:?}", found.keys());
            assert_eq!(gnosis.unwrap(), mainnet, "{name}");
            same += 1;
            continue;
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), [&"execution_payload"], "{name}");
        let (ours_of, theirs_of, payload) = found["execution_payload"];
        let found = differing(container(ours_of), container(theirs_of), payload);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&"withdrawals"], "{name}");
        let (ours_of, theirs_of, withdrawals) = found["withdrawals"];
        let mut hasher = Hasher::default();
        let by_mainnet = withdrawals_root(theirs_of, withdrawals, 2 * MAX_WITHDRAWALS);
        assert_eq!(hasher.root(theirs_of, withdrawals).unwrap(), by_mainnet, "{name}");
        if withdrawals.len() > MAX_WITHDRAWALS * WITHDRAWAL_BYTES {
            assert!(matches!(gnosis, Err(BlockFault::Malformed(_))), "{name}: {gnosis:?}");
            refused += 1;
            continue;
        }
        let by_gnosis = withdrawals_root(ours_of, withdrawals, MAX_WITHDRAWALS);
        assert_eq!(hasher.root(ours_of, withdrawals).unwrap(), by_gnosis, "{name}");
        // With that root in its header the block is one of mainnet: no limit of gnosis applies.
        let bare = blinded(ours, of(Preset::Mainnet, true), &block);
        let wanted = BlockHasher::new(Preset::Mainnet).hash(&bare).unwrap().root;
        assert_eq!(gnosis.unwrap().root, wanted, "{name}");
        assert_ne!(wanted, mainnet.root, "{name}");
        differ += 1;
    }
    assert_eq!((same, differ > 0, differ + refused), (9, true, 12), "{differ} differ");
}

fn layout(preset: Preset, fork: Fork) -> &'static StateLayout {
    Layouts::of(preset).states.iter().find(|layout| layout.fork == fork).unwrap()
}

#[test]
fn gnosis_states_differ_from_mainnets_only_in_lists_sized_by_epochs() {
    let mut seen = 0;
    for (name, state) in random_values("mainnet-", "-state-") {
        let mainnet = hash_state(Preset::Mainnet, &mut &state[..]).unwrap();
        let fork = mainnet.body.as_ref().unwrap().fork;
        if fork == Fork::Fulu {
            // Its proposer lookahead is longer than in gnosis.
            let unknown = hash_state(Preset::Gnosis, &mut &state[..]);
            assert!(unknown.unwrap().body.is_none(), "{name}: longer than any state of gnosis");
            continue;
        }
        let (ours, theirs) = (layout(Preset::Gnosis, fork), layout(Preset::Mainnet, fork));
        let found = differing(ours.fields, theirs.fields, &state);
        let mut wanted = vec!["eth1_data_votes"];
        if fork == Fork::Phase0 {
            wanted = [&["current_epoch_attestations"], &wanted[..]].concat();
            wanted.push("previous_epoch_attestations");
        }
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), wanted, "{name}");
        let (of_votes, _, votes) = found["eth1_data_votes"];
        let Kind::List { element, .. } = of_votes.kind else { panic!("{:?}", of_votes.kind) };
        let mut hasher = Hasher::default();
        let votes = votes.chunks(ETH1_DATA_BYTES).map(|vote| hasher.root(element, vote).unwrap());
        let votes: Vec<Node> = votes.collect();
        let (.., bytes) = found["eth1_data_votes"];
        if votes.len() > MAX_VOTES {
            assert!(Hasher::default().root(of_votes, bytes).is_err(), "{name}");
            continue;
        }
        let wanted = root_of_list(&votes, MAX_VOTES);
        assert_eq!(Hasher::default().root(of_votes, bytes).unwrap(), wanted, "{name}");
        let gnosis = hash_state(Preset::Gnosis, &mut &state[..]).unwrap();
        assert_eq!(gnosis.prefix, mainnet.prefix, "{name}");
        assert_ne!(gnosis.body.unwrap().root, mainnet.body.unwrap().root, "{name}");
        seen += 1;
    }
    assert!(seen >= 6, "a state of each fork up to electra: {seen}");
}

#[test]
fn gnosis_lists_have_the_limits_of_the_preset() {
    let electra = layout(Preset::Gnosis, Fork::Electra);
    let votes = electra.fields.iter().find(|field| field.name == "eth1_data_votes").unwrap();
    let root_of =
        |count: usize| Hasher::default().root(votes.of, &vec![0; count * ETH1_DATA_BYTES]);
    assert!(root_of(MAX_VOTES).is_ok());
    assert!(root_of(MAX_VOTES + 1).is_err());
    let fulu = layout(Preset::Gnosis, Fork::Fulu);
    let lookahead = fulu.fields.iter().find(|field| field.name == "proposer_lookahead").unwrap();
    assert_eq!(lookahead.of.fixed_len, Some(2 * 16 * 8));
}

/// For an unknown network with eras of 8192 slots, the length of a fulu state's fixed part decides.
#[test]
fn the_preset_of_a_chain_follows_from_its_root_or_from_its_states() {
    let of_chain = |root: Option<&str>, slots, fixed_len: u32| {
        let mut state = vec![0; 524_464 + 4];
        state[524_464..].copy_from_slice(&fixed_len.to_le_bytes());
        let root = root.map(|name| KnownNetwork::by_name(name).unwrap().genesis_validators_root);
        Preset::of_chain(root.as_ref(), slots, &mut &state[..]).unwrap()
    };
    let fulu = |preset| u32::try_from(layout(preset, Fork::Fulu).fixed_len).unwrap();
    let (mainnet, minimal, gnosis) = (Preset::Mainnet, Preset::Minimal, Preset::Gnosis);
    assert_eq!(of_chain(Some("gnosis"), Some(8192), 0), [gnosis]);
    assert_eq!(of_chain(Some("chiado"), None, 0), [gnosis]);
    assert_eq!(of_chain(Some("hoodi"), Some(8192), 0), [mainnet]);
    assert_eq!(of_chain(Some("hoodi"), Some(64), 0), [], "that is not hoodi");
    assert_eq!(of_chain(None, Some(8192), fulu(gnosis)), [gnosis]);
    assert_eq!(of_chain(None, Some(8192), fulu(mainnet)), [mainnet]);
    assert_eq!(of_chain(None, None, fulu(gnosis)), [gnosis]);
    let deneb = u32::try_from(layout(gnosis, Fork::Deneb).fixed_len).unwrap();
    assert_eq!(of_chain(None, None, deneb), [mainnet, gnosis], "the config or the root decides");
    assert_eq!(of_chain(None, Some(8192), 7), [mainnet, gnosis], "a later fork, say");
    assert_eq!(of_chain(None, Some(64), 7), [minimal]);
    assert_eq!(of_chain(None, Some(32), 7), []);
    assert_eq!(of_chain(None, None, 7), []);
}
