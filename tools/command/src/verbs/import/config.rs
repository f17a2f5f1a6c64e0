//! Checks the files against the operator's config: preset, forks and name.

use anyhow::{Context, Result, bail, ensure};
use coldstore::era::{EraFile, ImportPlan, PlannedFile};
use coldstore_consensus::{Preset, Root, StateFork};

use crate::networks::{Network, is_config_name};
use crate::output;

const NOTHING: &str = "there is no era in these files";
const AS_THEY_ARE: &str =
    "nothing can be proved of these files, --trust-files imports them as they are";

/// The preset of the chain: `named`, if the files do not contradict it, or else the preset that the
/// files imply.
pub(super) fn preset_of(
    plan: &ImportPlan,
    slots_per_era: Option<u64>,
    named: Option<&str>,
) -> Result<Preset> {
    let first = plan.files().first().context(NOTHING)?;
    let path = first.path.display().to_string();
    let possible = possible_presets(first, slots_per_era)?;
    let of_eras = match slots_per_era {
        Some(slots) => format!("{path}: eras of {slots} slots"),
        None => format!("{path}: its state"),
    };
    match (named.map(str::parse), &possible[..]) {
        (Some(Err(unknown)), _) => bail!("{unknown}: {AS_THEY_ARE}"),
        (Some(Ok(named)), possible) => {
            ensure!(possible.contains(&named), "{of_eras} cannot be of the preset {named}");
            Ok(named)
        }
        (None, []) => {
            bail!("{of_eras}: the preset is unknown (known are {}): {AS_THEY_ARE}", Preset::names())
        }
        (None, [only]) => Ok(*only),
        (None, [first, others @ ..]) => {
            let others: Vec<&str> = others.iter().map(|preset| preset.name()).collect();
            output::tell(&format!(
                "the network is unknown, and its preset is assumed to be {first}: if it is {}, pass a \
                 config with that PRESET_BASE by --network FILE",
                others.join(" or ")
            ));
            Ok(*first)
        }
    }
}

fn possible_presets(planned: &PlannedFile, slots_per_era: Option<u64>) -> Result<Vec<Preset>> {
    let mut file = EraFile::open(&planned.path)?;
    let group = *file.groups().first().context(NOTHING)?;
    let state = file.state_head(&group)?;
    let path = file.path().display().to_string();
    let root = Root(state.head.genesis_validators_root);
    let mut bytes = file.state_stream(&state.record);
    Preset::of_chain(Some(&root), slots_per_era, &mut bytes).context(path)
}

/// The config name in the file names, `<config name>-<era>-<short root>.era`, if they agree. It does
/// not identify the chain.
pub(super) fn config_name(plan: &ImportPlan) -> Option<String> {
    let mut names = plan.files().iter().filter_map(config_name_of);
    let name = names.next()?;
    names.all(|other| other == name).then(|| name.to_owned())
}

/// The config name in the name of a file.
fn config_name_of(file: &PlannedFile) -> Option<&str> {
    let stem = file.path.file_name()?.to_str()?.strip_suffix(".era")?;
    let mut parts = stem.rsplitn(3, '-');
    let (root, era, name) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = root.len() == 8 && root.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_era = era.len() >= 5 && era.parse() == Ok(file.first_era);
    (is_hex && is_era && is_config_name(name)).then_some(name)
}

/// Refuses files that contradict the network's config.
pub(super) fn check(
    plan: &ImportPlan,
    slots_per_era: Option<u64>,
    network: &Network,
) -> Result<()> {
    if network.file.is_none() {
        return Ok(());
    }
    plan.files().iter().try_for_each(|planned| {
        check_file(planned, slots_per_era, network)?;
        check_name(planned, network)
    })
}

/// Refuses a file of another preset than the config's, or with other forks.
pub(super) fn check_file(
    planned: &PlannedFile,
    slots_per_era: Option<u64>,
    network: &Network,
) -> Result<()> {
    let Some(config) = &network.file else { return Ok(()) };
    let path = planned.path.display();
    let possible = possible_presets(planned, slots_per_era)?;
    let named = network.preset.as_deref().and_then(|name| name.parse::<Preset>().ok());
    if let Some(named) = named
        && !possible.contains(&named)
    {
        bail!("{path}: it cannot be of the preset {named}, as {config} says");
    }
    let Some(preset) = named.or_else(|| possible.first().copied()) else { return Ok(()) };
    let mut file = EraFile::open(&planned.path)?;
    for group in file.groups().to_vec() {
        let record = file.state_head(&group)?.record;
        let fork = StateFork::read(&mut file.state_stream(&record));
        let fork = fork.with_context(|| format!("{path}: cannot read"))?;
        let checked = network.schedule.check(&fork, group.state_slot.0, preset.slots_per_epoch());
        checked.with_context(|| format!("{path}: it contradicts {config}"))?;
    }
    Ok(())
}

fn check_name(planned: &PlannedFile, network: &Network) -> Result<()> {
    let (Some(config), Some(name)) = (&network.file, config_name_of(planned)) else {
        return Ok(());
    };
    ensure!(
        name == network.config_name,
        "{}: its name says that it is of {name}, not of {}, as {config} says",
        planned.path.display(),
        network.config_name
    );
    Ok(())
}
