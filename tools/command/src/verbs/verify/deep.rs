//! `coldstore verify --deep`: the proof.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use coldstore::files::pread::Pread;
use coldstore::verify::{Finding, Severity, VerifyOptions, verify_column_on};
use coldstore::{Column, Error, Manifest, MappedArchive, Reader, ReaderOptions, Slot, Snapshot};
use coldstore_history::deep::{DeepOptions, DeepVerifier, has_diffs};
use coldstore_history::import::{Trust, TrustFault, TrustedRoot};

use super::Verify;
use super::checkpoint::{self, Checkpoint, ProofOf};
use super::report::{self, Report};
use super::verdict::ProofOutcome;
use crate::chain::{Chain, preset_of};
use crate::failure::{self, Usage};
use crate::open;
use crate::output;
use crate::progress::Progress;
use crate::signals;

/// The proof to run, or why there is none.
pub(super) enum Deep {
    /// No root covers the column's records.
    Nothing,
    /// Nothing can be proved, for this reason.
    NotProved(String),
    Proof(Box<Proof>),
}

/// A proof and its inputs.
pub(super) struct Proof {
    archive: MappedArchive,
    options: DeepOptions,
    trust: Trust,
    from: Option<Slot>,
    to: Option<Slot>,
    checkpoint: Option<Checkpoint>,
    stop: Arc<AtomicBool>,
}

/// The columns covered by roots. A proof maps all of them, even if only one was requested.
const PROVED: [Column; 5] = Column::ALL;

/// Whether one of the columns is covered by roots: `bsd` if it holds diffs of this software.
fn is_provable(archive: &Path, columns: &[Column]) -> Result<bool> {
    Ok(columns.iter().any(|column| *column != Column::StateDiffs)
        || columns.contains(&Column::StateDiffs) && has_diffs(archive)?)
}

/// Reads the other columns that a proof of `columns` maps, and reports unreadable places. Damage in
/// them is left to their own verification.
pub(super) fn read_others(
    archive: &Path,
    columns: &[Column],
    pread: &Arc<dyn Pread>,
    report: &mut Report,
) -> Result<()> {
    let others = PROVED.into_iter().filter(|other| !columns.contains(other));
    let is_provable = is_provable(archive, columns)?;
    for column in others.filter(|_| is_provable) {
        let directory = archive.join(column.dir_name());
        let progress = Progress::waiting(&format!("read {column}"));
        let mut reported = Ok(());
        let mut take = |finding: Finding| {
            if finding.severity == Severity::Unreadable && reported.is_ok() {
                reported = progress.suspend(|| report.unreadable(column, &finding));
            }
        };
        let (pread, options) = (Arc::clone(pread), VerifyOptions::default());
        let read = verify_column_on(pread, &directory, Some(column.spec()), &options, &mut take);
        drop(progress);
        reported?;
        match read {
            Ok(_) | Err(Error::NoSuchColumn { .. }) => {}
            Err(error) => {
                failure::tell(column, error);
                report.failed += 1;
            }
        }
    }
    Ok(())
}

impl Deep {
    /// Refuses wrong arguments before hours of reading. Maps nothing, because unread data may be
    /// unreadable.
    pub(super) fn check_arguments(asked: &Verify, columns: &[Column]) -> Result<()> {
        if !is_provable(&asked.archive, columns)? {
            return Ok(());
        }
        if let Some(path) = &asked.resume {
            checkpoint::check_place(path, &asked.archive)?;
        }
        for TrustedRoot { slot, .. } in &asked.trusted_state_root {
            if !may_have(&asked.archive, *slot) {
                return Err(nowhere(*slot).into());
            }
        }
        Ok(())
    }

    /// Maps the columns: call it only after every column of the proof was read without an error.
    pub(super) fn prepare(asked: &Verify, columns: &[Column]) -> Result<Self> {
        if !is_provable(&asked.archive, columns)? {
            return Ok(Self::Nothing);
        }
        let archive = open::archive(&asked.archive)?;
        let chain = Chain::of(&asked.archive)?;
        let preset = match preset_of(&chain, &archive)? {
            Ok(preset) => preset,
            Err(why) => return Ok(Self::NotProved(why)),
        };
        let trusted = asked.trusted_state_root.clone();
        let trust = Trust::establish(trusted, preset, None, Some(&archive));
        let trust = trust.map_err(|fault| match fault {
            TrustFault::Nowhere(slot) => anyhow::Error::from(nowhere(slot)),
            TrustFault::State(error) => error.into(),
        })?;
        let manifest = Manifest::read(&asked.archive)?;
        let blocks_pruned_before =
            manifest.and_then(|manifest| manifest.column(Column::Blocks).pruned_before);
        let of = ProofOf {
            genesis_validators_root: chain.genesis_validators_root,
            preset: preset.to_string(),
            column: asked.column.map(|column| column.dir_name().to_owned()),
            from: asked.from.map(|slot| slot.0),
            to: asked.to.map(|slot| slot.0),
            trusted: asked.trusted_state_root.iter().map(ToString::to_string).collect(),
            states: asked.states.to_string(),
        };
        let open = |path| Checkpoint::open(path, of);
        Ok(Self::Proof(Box::new(Proof {
            archive,
            options: DeepOptions {
                preset,
                column: asked.column,
                blocks_pruned_before,
                sample: asked.states,
            },
            trust,
            from: asked.from,
            to: asked.to,
            checkpoint: asked.resume.clone().map(open).transpose()?,
            stop: signals::stop_flag()?,
        })))
    }

    /// Runs the proof, and adds its verdict to the report.
    pub(super) fn run(self, report: &mut Report) -> Result<()> {
        let proof = match self {
            Self::Nothing => {
                output::tell("nothing is proved: no root covers this column");
                return Ok(());
            }
            Self::NotProved(why) => ProofOutcome::not_proved(why),
            Self::Proof(proof) => proof.run(report)?,
        };
        report.verified.proof = Some(proof);
        Ok(())
    }
}

impl Proof {
    fn run(mut self, report: &mut Report) -> Result<ProofOutcome> {
        let mut verifier = DeepVerifier::new(&self.archive, self.options, self.trust.clone())?;
        let slots = self.options.preset.slots_per_era();
        let era_of = |slot: Slot| slot.0 / slots + 1;
        let (first, last) = verifier.eras()?.map_or((1, 0), |eras| {
            let first = self.from.map_or(0, era_of).max(*eras.start());
            (first, self.to.map_or(u64::MAX, era_of).min(*eras.end()))
        });
        // Earlier results only hold for unchanged records.
        let may_take = report.verified.damages == 0;
        let mut findings = Vec::new();
        let progress = Progress::waiting("prove");
        for era in first..=last {
            if self.stop.load(Ordering::Relaxed) {
                return self.stopped(era);
            }
            progress.set_message(format!("prove era {era} of {last}"));
            let earlier = self.checkpoint.as_ref().and_then(|file| file.earlier(era));
            if let Some(earlier) = earlier.filter(|_| may_take)
                && verifier.take_era(&earlier)?
            {
                continue;
            }
            let mut printed = Ok(());
            verifier.verify_era(era, &mut |column, finding: Finding| {
                let place = (finding.file.clone(), finding.slot);
                if finding.severity == Severity::Damage && report.told.contains(&place) {
                    return false;
                }
                if report.json {
                    findings.push(report::object(&finding));
                } else if printed.is_ok() {
                    printed = progress.suspend(|| report.print(column, &finding));
                }
                true
            })?;
            printed?;
            if let Some(checkpoint) = &mut self.checkpoint {
                checkpoint.keep(era, verifier.proved_era()?)?;
            }
        }
        drop(progress);
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.write()?;
        }
        report.verified.damages += verifier.report().damages;
        let taken_from = self.checkpoint.as_ref().map(Checkpoint::path).map(Path::to_path_buf);
        // An empty range of eras has no reason.
        let why_not = verifier.why_not_proved().filter(|_| first <= last);
        let preset = Some(self.options.preset);
        let mut proof = ProofOutcome::new(preset, verifier.report(), why_not, findings);
        proof.taken_from = taken_from;
        Ok(proof)
    }

    fn stopped(&mut self, era: u64) -> Result<ProofOutcome> {
        let Some(checkpoint) = &mut self.checkpoint else {
            bail!("stopped before era {era}");
        };
        checkpoint.write()?;
        bail!("stopped before era {era}; --resume {} resumes there", checkpoint.path().display());
    }
}

fn nowhere(slot: Slot) -> Usage {
    Usage(format!("trusted state root of slot {slot}: it is not in the archive"))
}

/// Whether the archive may have the state of a slot or its root. An unreadable column may have it.
fn may_have(archive: &Path, slot: Slot) -> bool {
    [Column::StateRoots, Column::StateSnapshots, Column::StateDiffs].into_iter().any(|column| {
        let options = ReaderOptions::default().expect(column.spec());
        let opened = Reader::open(archive.join(column.dir_name()), options);
        match opened.and_then(|reader| reader.view().first_from(slot)) {
            Ok(found) => found == Some(slot),
            Err(Error::NoSuchColumn { .. }) => false,
            Err(_) => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;

    use coldstore::files::pread::OsPread;
    use coldstore::{ArchiveWriter, ArchiveWriterOptions};

    use super::*;

    /// A medium with an unreadable data file of `bbr`.
    #[derive(Debug)]
    struct BadSector;

    impl Pread for BadSector {
        fn pread(&self, path: &Path, file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            if path.ends_with("bbr/data_00000") {
                return Err(io::Error::from(rustix::io::Errno::IO));
            }
            OsPread.pread(path, file, buffer, at)
        }
    }

    /// A proof of one column mapped the others without reading them first: a bad sector there ended the
    /// process.
    #[test]
    fn a_bad_sector_in_another_column_is_reported_before_the_proof() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("archive");
        let options = ArchiveWriterOptions::default().column(Column::BlockRoots);
        let mut archive = ArchiveWriter::open(&root, options).unwrap();
        archive.writer(Column::BlockRoots).unwrap().put(Slot(0), &[7; 32]).unwrap();
        drop(archive);
        let pread: Arc<dyn Pread> = Arc::new(BadSector);
        let read = |columns: &[Column]| {
            let mut report = Report::new(true, true);
            read_others(&root, columns, &pread, &mut report).unwrap();
            report.verified
        };
        let verified = read(&[Column::Blocks]);
        assert_eq!((verified.unreadable, verified.damages), (1, 0));
        let [finding] = &verified.findings[..] else { panic!("one finding") };
        assert_eq!(finding["file"], root.join("bbr/data_00000").display().to_string());
        assert_eq!(
            (&finding["severity"], &finding["what"]),
            (&"unreadable".into(), &"bytes".into())
        );
        let found = finding["found"].as_str().unwrap();
        assert!(found.contains("os error 5"), "{found}");
        // Without a proof nothing is mapped, and the requested columns were already read.
        for columns in [&[Column::StateDiffs][..], &PROVED] {
            assert_eq!(read(columns).unreadable, 0);
        }
    }
}
