//! Chooses the files to import; the others are left out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coldstore::Column;
use coldstore::archive::held::is_there;
use coldstore::era::ImportError;
use coldstore::era::{BadFile, ImportPlan, PlannedFile};
use coldstore_consensus::Root;
use serde::Serialize;

use super::config;
use super::looks::Described;
use crate::networks::{self, Network};
use crate::open;
use crate::output;

/// Bytes of two files that are compared at a time.
const COMPARED_BYTES: usize = 1 << 20;

/// Advice for files of several chains.
const WHICH: &str = "--network NAME|FILE says which of them to import";

/// A file that is left out, and the reason.
#[derive(Serialize)]
pub(super) struct LeftOut {
    file: PathBuf,
    why: String,
    /// Whether the file is not a valid `.era` file; false if it is merely not needed.
    bad: bool,
}

/// Chooses the files to import; reports the others.
pub(super) fn choose(
    paths: &[PathBuf],
    network: Option<&Network>,
) -> Result<(ImportPlan, Vec<LeftOut>)> {
    let mut plan = match ImportPlan::scan_chains(paths) {
        Ok(plan) => plan,
        Err(ImportError::BadFiles { files }) if files.len() > 1 => {
            report(&files.iter().map(LeftOut::bad).collect::<Vec<_>>());
            return Err(ImportError::BadFiles { files }.into());
        }
        Err(ImportError::BadFiles { files }) => {
            let described = files.first().map(|file| Described(file).to_string());
            bail!("{}", described.unwrap_or_default())
        }
        Err(error) => return Err(error.into()),
    };
    let chain = network.and_then(|network| chain_of_network(&plan, network));
    let others = match chain {
        Some(root) => plan.retain(|file| file.genesis_validators_root == root.0),
        None => Vec::new(),
    };
    if let (Some(network), [], [other, ..]) = (network, plan.files(), &others[..]) {
        network
            .check_root(Root(other.genesis_validators_root))
            .with_context(|| other.path.display().to_string())?;
    }
    check_one_chain(plan.files())?;
    let copies = leave_out_copies(&mut plan)?;
    let left_out: Vec<LeftOut> = plan
        .bad_files()
        .iter()
        .map(LeftOut::bad)
        .chain(others.iter().map(LeftOut::of_another_chain))
        .chain(copies.iter().map(LeftOut::copy))
        .collect();
    report(&left_out);
    Ok((plan, left_out))
}

/// Removes every file that has the same bytes as a remaining one, and returns the removed files.
fn leave_out_copies(plan: &mut ImportPlan) -> io::Result<Vec<PlannedFile>> {
    let (mut kept, mut failed) = (Vec::<PlannedFile>::new(), Ok(()));
    let copies = plan.retain(|file| {
        let mut before = kept.iter().rev().take_while(|kept| kept.first_era == file.first_era);
        let is_copy = before.try_fold(false, |is_copy, before| {
            Ok::<_, io::Error>(is_copy || has_bytes_of(file, before)?)
        });
        let is_copy = is_copy.unwrap_or_else(|error| {
            let path = file.path.display();
            failed = Err(io::Error::new(error.kind(), format!("{path}: cannot compare: {error}")));
            false
        });
        if !is_copy {
            kept.push(file.clone());
        }
        !is_copy
    });
    failed.map(|()| copies)
}

fn has_bytes_of(file: &PlannedFile, other: &PlannedFile) -> io::Result<bool> {
    if (file.byte_len, file.last_era) != (other.byte_len, other.last_era) {
        return Ok(false);
    }
    let files = [File::open(&file.path)?, File::open(&other.path)?];
    let mut parts = [vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]];
    let mut offset = 0;
    while offset < file.byte_len {
        let left = usize::try_from(file.byte_len - offset).unwrap_or(usize::MAX);
        let byte_len = left.min(COMPARED_BYTES);
        for (file, part) in files.iter().zip(&mut parts) {
            file.read_exact_at(&mut part[..byte_len], offset)?;
        }
        if parts[0][..byte_len] != parts[1][..byte_len] {
            return Ok(false);
        }
        offset += byte_len as u64;
    }
    Ok(true)
}

/// The chain of a network among those of the files. A beacon config has no genesis validators root.
/// Then the chain is found only if the config contradicts all others.
fn chain_of_network(plan: &ImportPlan, network: &Network) -> Option<Root> {
    if network.genesis_validators_root.is_some() {
        return network.genesis_validators_root;
    }
    let mut chains: Vec<&PlannedFile> = Vec::new();
    for file in plan.files() {
        let root = file.genesis_validators_root;
        match chains.iter_mut().find(|other| other.genesis_validators_root == root) {
            // Prefer a file with a known era length over era 0.
            Some(other) if other.slots_per_era.is_none() => *other = file,
            Some(_) => {}
            None => chains.push(file),
        }
    }
    if chains.len() < 2 {
        return None;
    }
    let fits = |file: &&PlannedFile| config::check_file(file, file.slots_per_era, network).is_ok();
    match chains.into_iter().filter(fits).collect::<Vec<_>>()[..] {
        [only] => Some(Root(only.genesis_validators_root)),
        _ => None,
    }
}

/// Refuses to begin an archive after a bad file, since the eras before the first one cannot be added
/// later. The era of a bad file is guessed from its name.
pub(super) fn check_beginning(plan: &ImportPlan, archive: &Path) -> Result<()> {
    let is_begun = is_there(archive)? && {
        let archive = open::archive(archive)?;
        let roots = archive.column_if_there(Column::BlockRoots)?;
        roots.is_some_and(|roots| roots.view().highest_written_slot().is_some())
    };
    // Era 0 has no blocks: an archive that begins with era 1 lacks only the genesis state.
    let first = plan.files().iter().filter(|file| file.last_era > 0).map(|file| file.first_era);
    let Some(first) = first.min().filter(|first| !is_begun && *first > 0) else { return Ok(()) };
    let may_be_before = |file: &&BadFile| match era_by_name(&file.path) {
        Some(era) => era < first,
        None => first > 1,
    };
    if let Some(file) = plan.bad_files().iter().find(may_be_before) {
        bail!(
            "the archive would begin with era {first}, but {} may be an earlier era, which cannot be \
             added later: download that file again, or remove it to begin with era {first}",
            file.path.display()
        );
    }
    Ok(())
}

/// The number in `mainnet-00012-0a1b2c3d.era`.
fn era_by_name(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.rsplit('-').nth(1)?.parse().ok()
}

/// Fails (exit status 3) if a file was left out as bad.
pub(super) fn check_left_out(left_out: &[LeftOut]) -> Result<()> {
    match left_out.iter().filter(|file| file.bad).count() {
        0 => Ok(()),
        1 => bail!("1 file was left out because it is not a valid .era file: see above"),
        more => {
            bail!("{more} files were left out because they are not valid .era files: see above")
        }
    }
}

fn report(left_out: &[LeftOut]) {
    for file in left_out {
        output::tell(&format!("left out: {}", file.why));
    }
}

impl LeftOut {
    fn bad(file: &BadFile) -> Self {
        Self { file: file.path.clone(), why: Described(file).to_string(), bad: true }
    }

    fn of_another_chain(file: &PlannedFile) -> Self {
        let why = format!("{}: of {}", file.path.display(), chain_of(file));
        Self { file: file.path.clone(), why, bad: false }
    }

    fn copy(file: &PlannedFile) -> Self {
        let why = format!("{}: another file has the same bytes", file.path.display());
        Self { file: file.path.clone(), why, bad: false }
    }
}

fn chain_of(file: &PlannedFile) -> String {
    let root = Root(file.genesis_validators_root);
    match networks::name_of(root) {
        Some(name) => name.to_owned(),
        None => format!("the network with the genesis validators root {root}"),
    }
}

fn check_one_chain(files: &[PlannedFile]) -> Result<()> {
    let Some(first) = files.first() else { return Ok(()) };
    let differs =
        |file: &&PlannedFile| file.genesis_validators_root != first.genesis_validators_root;
    if let Some(other) = files.iter().find(differs) {
        bail!(
            "{} is of {}, {} is of {}: {WHICH}",
            first.path.display(),
            chain_of(first),
            other.path.display(),
            chain_of(other)
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests make files by hand")]
mod tests {
    use test_support::e2store::{Encoding, Parts};
    use test_support::{MINIMAL, era_files};

    use super::*;

    #[test]
    fn copies_are_left_out_and_files_that_differ_stay() {
        let mut paths = era_files(MINIMAL)[..=4].to_vec();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = files.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let fourth = std::fs::read(&paths[4]).unwrap();
        paths.push(write("copy.era", &fourth));
        paths.push(paths[2].clone());
        paths.push(write("other.era", &Parts::parse(&fourth).build(Encoding::Nimbus)));
        let mut plan = ImportPlan::scan(&paths).unwrap();
        let copies = leave_out_copies(&mut plan).unwrap();
        assert_eq!(copies.iter().map(|file| file.first_era).collect::<Vec<_>>(), [2, 4]);
        let kept: Vec<u64> = plan.files().iter().map(|file| file.first_era).collect();
        assert_eq!(kept, [0, 1, 2, 3, 4, 4]);
    }
}
