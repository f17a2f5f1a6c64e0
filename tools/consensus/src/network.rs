//! The known networks, recognized by their genesis validators root.

use crate::config_values::{BlobParameters, ConfigValues};
use crate::fork::Fork;
use crate::preset::Preset;
use crate::root::Root;

/// A public network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownNetwork {
    /// `CONFIG_NAME`, the first part of its file names.
    pub name: &'static str,
    /// The root of its genesis validators.
    pub genesis_validators_root: Root,
    /// Its preset.
    pub preset: Preset,
    /// Start time of slot 0, in seconds since 1970.
    pub genesis_time: u64,
    /// `SECONDS_PER_SLOT`
    pub seconds_per_slot: u64,
    /// The version of each fork of [`Fork::ALL`].
    pub fork_versions: [[u8; 4]; Fork::ALL.len()],
    /// The first epoch of each fork of [`Fork::ALL`].
    pub fork_epochs: [u64; Fork::ALL.len()],
    /// Later forks, which are not known here: name in the keys of the config, version, first epoch.
    pub later_forks: &'static [(&'static str, [u8; 4], u64)],
    /// The values of its configuration.
    pub values: ConfigValues,
    /// `BLOB_SCHEDULE` of its configuration.
    pub blob_schedule: &'static [BlobParameters],
}

impl KnownNetwork {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self {
            name: "mainnet",
            genesis_validators_root: root(
                "4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
            ),
            preset: Preset::Mainnet,
            genesis_time: 1_606_824_023,
            seconds_per_slot: 12,
            fork_versions: versions(0x0000_0000, 0x0100_0000, 0x0100_0000),
            fork_epochs: [0, 74_240, 144_896, 194_048, 269_568, 364_032, 411_392],
            later_forks: &[],
            values: ConfigValues::MAINNET,
            blob_schedule: &[BlobParameters::new(412_672, 15), BlobParameters::new(419_072, 21)],
        },
        Self {
            name: "sepolia",
            genesis_validators_root: root(
                "d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
            ),
            preset: Preset::Mainnet,
            genesis_time: 1_655_733_600,
            seconds_per_slot: 12,
            fork_versions: versions(0x9000_0069, 0x9000_0070, 0x0000_0001),
            fork_epochs: [0, 50, 100, 56_832, 132_608, 222_464, 272_640],
            later_forks: &[("GLOAS", [0x90, 0, 0, 0x76], 353_024)],
            values: ConfigValues::MAINNET,
            blob_schedule: &[BlobParameters::new(274_176, 15), BlobParameters::new(275_712, 21)],
        },
        Self {
            name: "holesky",
            genesis_validators_root: root(
                "9143aa7c615a7f7115e2b6aac319c03529df8242ae705fba9df39b79c59fa8b1",
            ),
            preset: Preset::Mainnet,
            genesis_time: 1_695_902_400,
            seconds_per_slot: 12,
            fork_versions: versions(0x0101_7000, 0x0201_7000, 0x0100_0000),
            fork_epochs: [0, 0, 0, 256, 29_696, 115_968, 165_120],
            later_forks: &[],
            values: ConfigValues { ejection_balance: 28_000_000_000, ..ConfigValues::MAINNET },
            blob_schedule: &[BlobParameters::new(166_400, 15), BlobParameters::new(167_936, 21)],
        },
        Self {
            name: "hoodi",
            genesis_validators_root: root(
                "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
            ),
            preset: Preset::Mainnet,
            genesis_time: 1_742_213_400,
            seconds_per_slot: 12,
            fork_versions: versions(0x1000_0910, 0x2000_0910, 0x1000_0000),
            fork_epochs: [0, 0, 0, 0, 0, 2048, 50_688],
            later_forks: &[],
            values: ConfigValues::MAINNET,
            blob_schedule: &[BlobParameters::new(52_480, 15), BlobParameters::new(54_016, 21)],
        },
        Self {
            name: "gnosis",
            genesis_validators_root: root(
                "f5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47",
            ),
            preset: Preset::Gnosis,
            genesis_time: 1_638_993_340,
            seconds_per_slot: 5,
            fork_versions: versions(0x0000_0064, 0x0100_0064, 0x0100_0000),
            fork_epochs: [0, 512, 385_536, 648_704, 889_856, 1_337_856, 1_714_688],
            later_forks: &[],
            values: ConfigValues::GNOSIS,
            blob_schedule: &[],
        },
        Self {
            name: "chiado",
            genesis_validators_root: root(
                "9d642dac73058fbf39c0ae41ab1e34e4d889043cb199851ded7095bc99eb4c1e",
            ),
            preset: Preset::Gnosis,
            genesis_time: 1_665_396_300,
            seconds_per_slot: 5,
            fork_versions: versions(0x0000_006f, 0x0100_006f, 0x0100_0000),
            fork_epochs: [0, 90, 180, 244_224, 516_608, 948_224, 1_353_216],
            later_forks: &[],
            values: ConfigValues::GNOSIS,
            blob_schedule: &[],
        },
    ];

    /// The network with this genesis validators root.
    #[must_use]
    pub fn by_root(root: &Root) -> Option<&'static Self> {
        Self::all().find(|known| known.genesis_validators_root == *root)
    }

    /// The network with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::all().find(|known| known.name == name)
    }

    /// Start time of a slot, in seconds since 1970.
    #[must_use]
    pub fn time_of(&self, slot: u64) -> Option<u64> {
        self.genesis_time.checked_add(slot.checked_mul(self.seconds_per_slot)?)
    }

    fn all() -> impl Iterator<Item = &'static Self> {
        const { &Self::ALL }.iter()
    }
}

const fn root(hex: &str) -> Root {
    match const_hex::const_decode_to_array(hex.as_bytes()) {
        Ok(root) => Root(root),
        Err(_) => panic!("a root has 64 hex digits"),
    }
}

/// The versions of all forks; from altair on, each is the one before plus `step`.
const fn versions(genesis: u32, altair: u32, step: u32) -> [[u8; 4]; Fork::ALL.len()] {
    let mut versions = [genesis.to_be_bytes(); Fork::ALL.len()];
    let (mut version, mut index) = (altair, 1);
    while index < versions.len() {
        versions[index] = version.to_be_bytes();
        version += step;
        index += 1;
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_its_root_and_by_its_name() {
        for known in &KnownNetwork::ALL {
            assert_eq!(KnownNetwork::by_root(&known.genesis_validators_root), Some(known));
            assert_eq!(KnownNetwork::by_name(known.name), Some(known));
            assert!(known.genesis_time > 1_600_000_000, "{}", known.name);
        }
        assert_eq!(KnownNetwork::by_root(&Root::default()), None);
        let gnosis = KnownNetwork::by_name("gnosis").unwrap();
        let root = "0xf5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47";
        assert_eq!(
            (gnosis.genesis_validators_root.to_string().as_str(), gnosis.preset),
            (root, Preset::Gnosis)
        );
        assert_eq!(gnosis.time_of(16), Some(1_638_993_420));
    }

    #[test]
    fn fork_versions_are_those_of_the_networks_configs() {
        let of = |name| KnownNetwork::by_name(name).unwrap().fork_versions;
        let fulu = |name| of(name)[6];
        assert_eq!(fulu("mainnet"), [6, 0, 0, 0]);
        assert_eq!(of("sepolia")[..2], [[0x90, 0, 0, 0x69], [0x90, 0, 0, 0x70]]);
        assert_eq!(fulu("sepolia"), [0x90, 0, 0, 0x75]);
        assert_eq!(fulu("holesky"), [7, 1, 0x70, 0]);
        assert_eq!(fulu("hoodi"), [0x70, 0, 9, 0x10]);
        assert_eq!(fulu("gnosis"), [6, 0, 0, 0x64]);
        assert_eq!(fulu("chiado"), [6, 0, 0, 0x6f]);
    }
}
