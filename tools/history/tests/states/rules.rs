//! The rules chosen for an archive.

use coldstore::Manifest;
use coldstore_consensus::{Config, KnownNetwork, Preset};
use coldstore_history::replay::{RulesError, Source, rules_of};
use test_support::chain_content::MINIMAL_CONFIG;

use crate::archive::minimal_from;

fn manifest(edit: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = Manifest::default();
    edit(&mut manifest);
    manifest
}

fn of_preset(name: &str) -> Manifest {
    manifest(|manifest| manifest.preset = Some(name.to_owned()))
}

#[test]
fn the_rules_are_those_of_the_known_network_of_the_archive() {
    let archive = minimal_from(9);
    let source = Source::of(&archive.open()).unwrap();
    for known in KnownNetwork::ALL {
        let root = known.genesis_validators_root.0;
        let manifest = manifest(|manifest| manifest.genesis_validators_root = Some(root));
        assert_eq!(rules_of(&manifest, &source, None).unwrap().preset(), known.preset);
        let config = Config::parse(MINIMAL_CONFIG).unwrap();
        let other = rules_of(&manifest, &source, Some(&config)).unwrap_err().to_string();
        assert!(other.contains(known.name), "{other}");
    }
}

#[test]
fn an_unknown_network_needs_a_config_that_fits_the_archive() {
    let archive = minimal_from(9);
    let source = Source::of(&archive.open()).unwrap();
    let rules = |manifest: Manifest, config: &str| {
        rules_of(&manifest, &source, Some(&Config::parse(config).unwrap()))
    };
    let unknown = rules_of(&Manifest::default(), &source, None).unwrap_err();
    assert!(matches!(unknown, RulesError::UnknownNetwork(_)), "{unknown}");
    let told = unknown.to_string();
    assert!(told.contains("0x0a08c27f") && told.contains("--network FILE"), "{told}");

    assert_eq!(rules(Manifest::default(), MINIMAL_CONFIG).unwrap().preset(), Preset::Minimal);
    // The preset may be the manifest's, or that of eras of this length.
    let unnamed = MINIMAL_CONFIG.replace("PRESET_BASE: minimal\n", "");
    let named = of_preset("minimal");
    let counted = manifest(|manifest| manifest.slots_per_era = Some(64));
    for manifest in [named, counted] {
        assert_eq!(rules(manifest, &unnamed).unwrap().preset(), Preset::Minimal);
    }
    for (manifest, config, told) in [
        (Manifest::default(), unnamed.as_str(), "PRESET_BASE"),
        (
            of_preset("mainnet"),
            MINIMAL_CONFIG,
            "the archive has the preset mainnet, the config minimal",
        ),
        (of_preset("other"), MINIMAL_CONFIG, "preset 'other' is unknown"),
        (
            Manifest::default(),
            "CONFIG_NAME: minimal\nPRESET_BASE: minimal\n",
            "GENESIS_FORK_VERSION",
        ),
        (
            Manifest::default(),
            "config_name = \"x\"\ngenesis_validators_root = \"0x\
             1111111111111111111111111111111111111111111111111111111111111111\"\n",
            "found 0x0a08c27f",
        ),
    ] {
        let refused = rules(manifest, config).unwrap_err().to_string();
        assert!(refused.contains(told), "{config}: {refused}");
    }
}
