//! The chain of an archive, from its manifest and its states.

mod preset;
mod states;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use coldstore::manifest::FILE_NAME;
use coldstore::{Manifest, Slot};
use coldstore_consensus::{KnownNetwork, Preset, Root};

use self::states::End;

pub(crate) use self::preset::preset_of;
pub(crate) use self::states::States;

/// The known facts about a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// From `archive.toml`, or of a known network.
    pub(crate) config_name: Option<String>,
    /// From `archive.toml`, or a state.
    pub(crate) genesis_validators_root: Option<Root>,
    /// From `archive.toml`, a known network, or a state whose block roots match `bbr`.
    pub(crate) slots_per_era: Option<u64>,
    /// From `archive.toml`, or of a known network. It may be an unknown preset.
    pub(crate) preset: Option<String>,
}

/// A value in `archive.toml` contradicted by the archive's states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// "genesis validators root" …
    pub(crate) what: &'static str,
    /// The value in a state in `bss`.
    pub(crate) wanted: String,
    /// The value in `archive.toml`.
    pub(crate) found: String,
}

impl Chain {
    /// The facts in the manifest.
    pub(crate) fn recorded(manifest: &Manifest) -> Self {
        Self {
            config_name: manifest.config_name.clone(),
            genesis_validators_root: manifest.genesis_validators_root.map(Root),
            slots_per_era: manifest.slots_per_era,
            preset: manifest.preset.clone(),
        }
    }

    /// Reads `archive.toml` first, then the states in `bss`. Maps nothing.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let manifest = Manifest::read(root)?;
        let mut chain = manifest.as_ref().map_or_else(Self::default, Self::recorded);
        if chain.genesis_validators_root.is_none() || chain.slots_per_era.is_none() {
            // Without `bss`, or with states of another chain, nothing more is known.
            chain.ask_states(&States::of(root)?)?;
        }
        if let Some(known) = chain.genesis_validators_root.as_ref().and_then(KnownNetwork::by_root)
        {
            chain.config_name.get_or_insert_with(|| known.name.to_owned());
            chain.slots_per_era.get_or_insert(known.preset.slots_per_era());
            chain.preset.get_or_insert_with(|| known.preset.to_string());
        }
        Ok(chain)
    }

    /// The preset, as far as it is known without reading a state.
    pub(crate) fn known_preset(&self) -> Option<Preset> {
        match &self.preset {
            Some(name) => name.parse().ok(),
            None => Preset::with_slots_per_era(self.slots_per_era?).next(),
        }
    }

    /// The first contradiction by the archive's oldest or newest state. A state with the wrong slot is
    /// ignored.
    pub(crate) fn contradiction(
        &self,
        states: &States,
    ) -> coldstore::Result<Option<Contradiction>> {
        for from in [End::Oldest, End::Newest] {
            let Some(state) = states.from(from).next().transpose()? else { continue };
            let Some(head) = state.head() else { continue };
            let slots_per_era = states.slots_per_era(&state)?;
            let root = Root(head.genesis_validators_root);
            if let Some(denied) = self.denied_by(state.slot, root, slots_per_era) {
                return Ok(Some(denied));
            }
        }
        Ok(None)
    }

    fn denied_by(
        &self,
        slot: Slot,
        root: Root,
        slots_per_era: Option<u64>,
    ) -> Option<Contradiction> {
        let known = KnownNetwork::by_root(&root);
        let slots_per_era = known.map(|known| known.preset.slots_per_era()).or(slots_per_era);
        // The preset determines the slots per era.
        let preset = self.preset.as_deref().and_then(|name| name.parse::<Preset>().ok());
        let other_preset = preset.zip(slots_per_era).and_then(|(preset, slots)| {
            (preset.slots_per_era() != slots).then(|| format!("one with eras of {slots} slots"))
        });
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        [
            (
                "genesis validators root",
                Some(root.to_string()),
                self.genesis_validators_root.map(|root| root.to_string()),
            ),
            ("network", known.map(|known| known.name.to_owned()), self.config_name.clone()),
            ("number of slots per era", text(slots_per_era), text(self.slots_per_era)),
            ("preset", known.map(|known| known.preset.to_string()), self.preset.clone()),
            ("preset", other_preset, self.preset.clone()),
        ]
        .into_iter()
        .find_map(|(what, wanted, found)| {
            let (wanted, found) = (wanted?, found?);
            let wanted_by = || format!("{wanted}, by the state of slot {slot} in bss");
            (wanted != found).then(|| Contradiction { what, wanted: wanted_by(), found })
        })
    }

    /// Refuses an archive if `archive.toml` and the states are of different chains.
    pub(crate) fn check_states(&self, root: &Path) -> Result<()> {
        let Some(Contradiction { what, wanted, found }) = self.contradiction(&States::of(root)?)?
        else {
            return Ok(());
        };
        bail!(
            "{}: the {what} is {wanted}, not {found}: correct the file, or restore this archive's \
             own",
            root.join(FILE_NAME).display()
        )
    }

    fn ask_states(&mut self, states: &States) -> Result<()> {
        for state in states.from(End::Oldest).take(2) {
            let state = state?;
            if let Some(head) = state.head() {
                let root = Root(head.genesis_validators_root);
                self.genesis_validators_root.get_or_insert(root);
            }
            if self.slots_per_era.is_none() {
                self.slots_per_era = states.slots_per_era(&state)?;
            }
        }
        if self.slots_per_era.is_none() {
            self.slots_per_era = states.slots_per_era_of_diffs()?;
        }
        Ok(())
    }

    /// Start time of a slot in seconds since 1970; `None` unless the network is known.
    pub(crate) fn time_of(&self, slot: Slot) -> Option<u64> {
        self.genesis_validators_root.as_ref().and_then(KnownNetwork::by_root)?.time_of(slot.0)
    }

    /// Merges in the facts from an import; refuses an import of another chain.
    pub(crate) fn merged(self, imported: Self) -> Result<Self> {
        Ok(Self {
            genesis_validators_root: agreed(
                "genesis validators root",
                self.genesis_validators_root,
                imported.genesis_validators_root,
            )?,
            slots_per_era: agreed(
                "number of slots per era",
                self.slots_per_era,
                imported.slots_per_era,
            )?,
            config_name: agreed("network", self.config_name, imported.config_name)?,
            preset: agreed("preset", self.preset, imported.preset)?,
        })
    }

    /// Writes the known facts to the manifest.
    pub(crate) fn record(&self, manifest: &mut Manifest) {
        manifest.config_name.clone_from(&self.config_name);
        manifest.genesis_validators_root = self.genesis_validators_root.map(|root| root.0);
        manifest.slots_per_era = self.slots_per_era;
        manifest.preset.clone_from(&self.preset);
    }

    /// Refuses a state of another chain.
    pub(crate) fn check_root(&self, found: Root) -> Result<()> {
        if let Some(wanted) = self.genesis_validators_root {
            ensure!(
                wanted == found,
                "the archive's genesis validators root is {wanted}, that of its states {found}"
            );
        }
        Ok(())
    }
}

fn agreed<T: PartialEq + fmt::Display>(
    what: &str,
    ours: Option<T>,
    theirs: Option<T>,
) -> Result<Option<T>> {
    if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
        ensure!(ours == theirs, "{FILE_NAME}: the archive's {what} is {ours}, not {theirs}");
    }
    Ok(ours.or(theirs))
}

/// One line of text.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.config_name.as_deref().unwrap_or("unknown"))?;
        if let Some(slots) = self.slots_per_era {
            write!(f, ", {slots} slots per era")?;
        }
        let root = self.genesis_validators_root;
        root.map_or(Ok(()), |root| write!(f, ", genesis validators root {root}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coldstore::era::{COLUMNS, ImportPlan, import};
    use coldstore::{ArchiveWriter, ArchiveWriterOptions, Reader, StatesPolicy};
    use test_support::BadSectors;

    use super::*;

    /// States were mapped to identify the chain: a bad sector ended the process.
    #[test]
    fn a_bad_sector_in_a_state_or_root_is_an_error_with_its_path() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("archive");
        let files =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chain-minimal/era");
        let options = ArchiveWriterOptions::default().columns(COLUMNS);
        let mut archive = ArchiveWriter::open(&root, options).unwrap();
        let mut go_on =
            |_: &coldstore::era::ImportProgress<'_>| std::ops::ControlFlow::Continue(());
        let plan = ImportPlan::scan(&[files]).unwrap();
        import(&plan, &mut archive, StatesPolicy::All, &mut go_on).unwrap();

        let mut told = Chain::default();
        told.ask_states(&States::of(&root).unwrap()).unwrap();
        assert_eq!(told.slots_per_era, Some(64));
        let wrong = Chain { slots_per_era: Some(8192), ..told.clone() };
        let denied = wrong.contradiction(&States::of(&root).unwrap()).unwrap().unwrap();
        assert_eq!(denied.wanted, "64, by the state of slot 576 in bss");
        for name in ["bss/data_00000", "bss/data_00000.off", "bbr/data_00000"] {
            let open = |path: &Path, options| {
                let error = rustix::io::Errno::IO.raw_os_error();
                let medium = BadSectors { name, bytes: 0..u64::MAX, error };
                Reader::open_on(Arc::new(medium), path, options)
            };
            let states = States::open(&root, &open).unwrap();
            let failed = wrong.contradiction(&states).unwrap_err();
            let wanted = format!("{}: cannot read", root.join(name).display());
            assert!(failed.to_string().starts_with(&wanted), "{failed}");
        }
    }

    fn unnamed() -> Chain {
        Chain {
            config_name: None,
            genesis_validators_root: Some(Root([7; 32])),
            slots_per_era: Some(64),
            preset: None,
        }
    }

    #[test]
    fn a_network_name_is_learned_and_kept() {
        let named = Chain { config_name: Some("minimal".to_owned()), ..unnamed() };
        assert_eq!(unnamed().merged(named.clone()).unwrap(), named);
        assert_eq!(named.clone().merged(unnamed()).unwrap(), named);
        let other = Chain { config_name: Some("other".to_owned()), ..unnamed() };
        assert!(named.merged(other).is_err());
    }

    #[test]
    fn a_state_contradicts_the_manifest_of_another_network() {
        let gnosis = "0xf5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47";
        let gnosis: Root = gnosis.parse().unwrap();
        let denied = |chain: Chain, root| {
            chain.denied_by(Slot(7), root, Some(64)).map(|denied| (denied.what, denied.found))
        };
        assert_eq!(denied(unnamed(), Root([7; 32])), None);
        assert_eq!(denied(Chain::default(), gnosis), None, "nothing is said");
        let of_gnosis = Chain { genesis_validators_root: Some(gnosis), ..Chain::default() };
        assert_eq!(denied(of_gnosis.clone(), gnosis), None);
        let (what, found) = denied(of_gnosis.clone(), Root([7; 32])).unwrap();
        assert_eq!((what, found), ("genesis validators root", gnosis.to_string()));
        let wrong = Chain { config_name: Some("mainnet".to_owned()), ..of_gnosis.clone() };
        assert_eq!(denied(wrong, gnosis).unwrap(), ("network", "mainnet".to_owned()));
        let wrong = Chain { slots_per_era: Some(8192), ..unnamed() };
        assert_eq!(denied(wrong, Root([7; 32])).unwrap().0, "number of slots per era");
        let wrong = Chain { preset: Some("mainnet".to_owned()), ..unnamed() };
        let wanted = ("preset", "mainnet".to_owned());
        assert_eq!(denied(wrong, Root([7; 32])).unwrap(), wanted, "its eras have 8192 slots");
        let wrong = Chain { preset: Some("mainnet".to_owned()), ..of_gnosis };
        assert_eq!(denied(wrong, gnosis).unwrap(), ("preset", "mainnet".to_owned()));
    }

    #[test]
    fn another_chain_is_refused() {
        let other = Chain { genesis_validators_root: Some(Root([8; 32])), ..unnamed() };
        assert!(unnamed().merged(other).is_err());
        assert!(unnamed().merged(Chain { slots_per_era: Some(8192), ..unnamed() }).is_err());
    }
}
