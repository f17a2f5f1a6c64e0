//! The rules of an archive's chain.

use std::sync::Arc;

use coldstore::read::Taken;
use coldstore::{Archive, Manifest, Slot, Snapshot};
use coldstore_consensus::transition::ChainRules;
use coldstore_consensus::{
    Config, ConfigFault, KnownNetwork, Malformed, Preset, Root, StatePrefix,
};

use super::Source;

/// Why the rules of an archive's chain are unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A record cannot be read.
    #[error(transparent)]
    Storage(#[from] coldstore::Error),
    /// Neither the manifest nor a state identifies the chain.
    #[error("the archive has no state, so its chain is unknown")]
    NoState,
    /// The bytes in `bss` are not a state.
    #[error("slot {slot}: the state in bss cannot be read: {fault}")]
    NotAState {
        /// The slot.
        slot: Slot,
        /// Why not.
        fault: Malformed,
    },
    /// The network is not a known one, and no config was given.
    #[error(
        "the network with the genesis validators root {0} is unknown, and the archive has no config: pass \
         its config.yaml (--network FILE)"
    )]
    UnknownNetwork(Root),
    /// The config is of another network, or lacks something.
    #[error("the network's config: {0}")]
    Config(#[from] ConfigFault),
    /// The preset is unknown, or not that of the archive.
    #[error("{0}")]
    Preset(String),
}

/// The rules of an archive's chain: of a config given, or else of the known network with the archive's genesis
/// validators root. States of another chain are then refused.
///
/// # Errors
/// [`RulesError`]
pub fn rules_of<S: Snapshot>(
    manifest: &Manifest,
    source: &Source<S>,
    config: Option<&Config>,
) -> Result<Arc<ChainRules>, RulesError> {
    let root = match manifest.genesis_validators_root {
        Some(root) => Root(root),
        None => root_of_states(source)?,
    };
    let config = match (config, KnownNetwork::by_root(&root)) {
        (Some(config), _) => config.clone(),
        (None, Some(known)) => Config::of_known(known),
        (None, None) => return Err(RulesError::UnknownNetwork(root)),
    };
    config.check_root(root)?;
    let preset = preset_of(manifest, &config)?;
    Ok(Arc::new(ChainRules::new(preset, &config)?.with_genesis_validators_root(root)))
}

impl<S: Taken> Source<S> {
    /// The snapshots of an archive, and the rules of its chain: [`rules_of`].
    ///
    /// # Errors
    /// [`RulesError`]; [`RulesError::Storage`] also if one of the columns is missing.
    pub fn with_rules(
        archive: &Archive<S>,
        config: Option<&Config>,
    ) -> Result<(Self, Arc<ChainRules>), RulesError> {
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let source = Self::of(archive)?;
        let rules = rules_of(&manifest, &source, config)?;
        Ok((source, rules))
    }
}

/// The genesis validators root in the oldest state.
fn root_of_states<S: Snapshot>(source: &Source<S>) -> Result<Root, RulesError> {
    let slot = source.snapshots.first_from(Slot(0))?.ok_or(RulesError::NoState)?;
    let state = source.snapshots.get(slot)?.ok_or(RulesError::NoState)?;
    // The field lies before those whose place depends on the preset.
    let prefix = StatePrefix::parse(Preset::Minimal, &state);
    prefix
        .map(|prefix| prefix.genesis_validators_root)
        .map_err(|fault| RulesError::NotAState { slot, fault })
}

/// The preset in the config, or else in the manifest; the two must agree.
fn preset_of(manifest: &Manifest, config: &Config) -> Result<Preset, RulesError> {
    let known = |name: &Option<String>| {
        name.as_deref().map(str::parse::<Preset>).transpose().map_err(RulesError::Preset)
    };
    let (wanted, found) = (known(&manifest.preset)?, known(&config.preset)?);
    if let (Some(wanted), Some(found)) = (wanted, found)
        && wanted != found
    {
        let message = format!("the archive has the preset {wanted}, the config {found}");
        return Err(RulesError::Preset(message));
    }
    let by_slots =
        manifest.slots_per_era.and_then(|slots| Preset::with_slots_per_era(slots).next());
    wanted.or(found).or(by_slots).ok_or_else(|| {
        let names = Preset::names();
        RulesError::Preset(format!("the config has no PRESET_BASE, which is one of {names}"))
    })
}
