//! The known networks, recognized by their genesis validators root.

use crate::Root;
use crate::preset::Preset;

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
}

impl KnownNetwork {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::of(
            ("mainnet", Preset::Mainnet),
            "4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
            (1_606_824_023, 12),
        ),
        Self::of(
            ("sepolia", Preset::Mainnet),
            "d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
            (1_655_733_600, 12),
        ),
        Self::of(
            ("holesky", Preset::Mainnet),
            "9143aa7c615a7f7115e2b6aac319c03529df8242ae705fba9df39b79c59fa8b1",
            (1_695_902_400, 12),
        ),
        Self::of(
            ("hoodi", Preset::Mainnet),
            "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
            (1_742_213_400, 12),
        ),
        Self::of(
            ("gnosis", Preset::Gnosis),
            "f5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47",
            (1_638_993_340, 5),
        ),
        Self::of(
            ("chiado", Preset::Gnosis),
            "9d642dac73058fbf39c0ae41ab1e34e4d889043cb199851ded7095bc99eb4c1e",
            (1_665_396_300, 5),
        ),
    ];

    const fn of(
        (name, preset): (&'static str, Preset),
        root: &str,
        (genesis_time, seconds_per_slot): (u64, u64),
    ) -> Self {
        let Ok(root) = const_hex::const_decode_to_array(root.as_bytes()) else {
            panic!("a root has 64 hex digits")
        };
        let genesis_validators_root = Root(root);
        Self { name, genesis_validators_root, preset, genesis_time, seconds_per_slot }
    }

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
}
