//! The proof of an era, saved for a later run.

use std::fs::File;
use std::io::{self, Read};

use coldstore::format::names;
use coldstore::format::sums::{SUMS_BYTES, SumEntry, SumTable};
use coldstore::{Column, Error, FileId, Result, Slot, View};
use coldstore_consensus::Root;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::report::Resumed;
use super::roots::EraColumns;
use super::{DeepVerifier, Findings};

/// Prefix of every digest, with the version of its input.
const TAG: &[u8] = b"coldstore era proof 3";

/// An era proved as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedEra {
    /// Its number.
    pub era: u64,
    /// Digest of the era's roots, of the checksums of its blocks and states, and of the numbers below,
    /// at the time of the proof.
    pub seal: Root,
    /// Its blocks.
    pub blocks: u64,
    /// Blinded blocks among these, with the header of the payload only.
    pub blinded_blocks: u64,
    /// Its skipped slots.
    pub skipped_slots: u64,
    /// Its states.
    pub states: u64,
    /// States among these that were rebuilt from diffs.
    #[serde(default)]
    pub rebuilt_states: u64,
    /// States in `bsd` that were not rebuilt themselves.
    #[serde(default)]
    pub covered_states: u64,
    /// Number of bytes hashed.
    pub bytes: u64,
}

impl ProvedEra {
    fn counts(&self) -> [u64; 7] {
        let Self { blocks, blinded_blocks, skipped_slots, states, .. } = *self;
        let Self { rebuilt_states, covered_states, bytes, .. } = *self;
        [blocks, blinded_blocks, skipped_slots, states, rebuilt_states, covered_states, bytes]
    }
}

impl DeepVerifier<'_> {
    /// Takes an era from an earlier proof, instead of [`DeepVerifier::verify_era`]. Its roots are
    /// hashed and compared again. Its blocks and states are taken if the roots and checksums are
    /// unchanged. The caller must check the records against their checksums, with
    /// [`coldstore::verify`].
    ///
    /// Returns `false` and counts nothing if the era has changed since, or no state has its roots.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive cannot be read.
    pub fn take_era(&mut self, earlier: &ProvedEra) -> Result<bool> {
        let columns = EraColumns::read(&self.views, self.options.preset, earlier.era)?;
        let wanted = self.known.era_root(earlier.era).map(|(wanted, _)| wanted);
        if wanted.is_none() || columns.era_root() != wanted {
            return Ok(false);
        }
        if self.seal(&columns, earlier.counts())? != Some(earlier.seal) {
            return Ok(false);
        }
        let mut findings = Findings { report: &mut |_, _| false, damages: 0 };
        self.verify_roots(&columns, &mut findings, false);
        let ProvedEra { blocks, blinded_blocks, skipped_slots, states, bytes, .. } = *earlier;
        self.report.rebuilt_states += earlier.rebuilt_states;
        self.report.covered_states += earlier.covered_states;
        let report = &mut self.report;
        report.blocks += blocks;
        report.blinded_blocks += blinded_blocks;
        report.skipped_slots += skipped_slots;
        report.states += states;
        report.bytes += bytes;
        let Resumed { eras, blocks: taken_blocks, states: taken_states } = &mut report.taken;
        *eras += 1;
        *taken_blocks += blocks;
        *taken_states += states;
        self.last_era = wanted.map(|root| (earlier.era, root));
        Ok(true)
    }

    /// The last verified era, if it was proved whole and all its records have checksums.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive cannot be read.
    pub fn proved_era(&self) -> Result<Option<ProvedEra>> {
        let (before, now) = (&self.before, &self.report);
        let is_whole = now.tied_eras() > before.tied_eras()
            && now.damages == before.damages
            && now.unproved_blocks == before.unproved_blocks
            && now.unproved_states == before.unproved_states
            && now.unknown_slots == before.unknown_slots
            && now.never_imported == before.never_imported
            && now.pruned_slots == before.pruned_slots
            && now.lost_blocks == before.lost_blocks;
        let Some((era, _)) = self.last_era.filter(|_| is_whole) else { return Ok(None) };
        let columns = EraColumns::read(&self.views, self.options.preset, era)?;
        let proved = ProvedEra {
            era,
            seal: Root::default(),
            blocks: now.blocks - before.blocks,
            blinded_blocks: now.blinded_blocks - before.blinded_blocks,
            skipped_slots: now.skipped_slots - before.skipped_slots,
            states: now.states - before.states,
            rebuilt_states: now.rebuilt_states - before.rebuilt_states,
            covered_states: now.covered_states - before.covered_states,
            bytes: now.bytes - before.bytes,
        };
        let seal = self.seal(&columns, proved.counts())?;
        Ok(seal.map(|seal| ProvedEra { seal, ..proved }))
    }

    /// The digest of an era's roots, checksums and counts; `None` if a record has no checksum.
    fn seal(&self, columns: &EraColumns, counts: [u64; 7]) -> Result<Option<Root>> {
        let mut digest = Sha256::new();
        digest.update(TAG);
        digest.update(self.options.preset.name());
        digest.update(columns.era.to_le_bytes());
        counts.iter().for_each(|count| digest.update(count.to_le_bytes()));
        for slot in columns.slots() {
            for root in [columns.block_root(slot), columns.state_root(slot)] {
                digest.update([u8::from(root.is_some())]);
                digest.update(root.unwrap_or_default().0);
            }
        }
        let covered = match self.options.column {
            None => vec![Column::Blocks, Column::StateSnapshots, Column::StateDiffs],
            // Of a diff, also the states on which it builds are read.
            Some(Column::StateDiffs) => vec![Column::StateSnapshots, Column::StateDiffs],
            Some(column @ (Column::Blocks | Column::StateSnapshots)) => vec![column],
            // Blocks there are hashed too, but not compared with their checksums.
            Some(_) => return Ok(None),
        };
        for column in covered {
            let view = match column {
                Column::Blocks => &self.views.blocks,
                Column::StateDiffs => &self.views.diffs,
                _ => &self.views.snapshots,
            };
            let Some(view) = view else { continue };
            let spec = view.conf().spec;
            digest.update(column.dir_name());
            digest.update(spec.record_type);
            digest.update(spec.compression.to_string());
            let slots = columns
                .slots()
                .filter(|slot| *slot <= view.highest_written_slot().unwrap_or_default());
            if !self.add_sums(&mut digest, column, view, slots)? {
                return Ok(None);
            }
        }
        Ok(Some(Root(digest.finalize().into())))
    }

    /// Adds the checksums of a column's records; `false` if one has none.
    fn add_sums(
        &self,
        digest: &mut Sha256,
        column: Column,
        view: &View,
        slots: impl Iterator<Item = Slot>,
    ) -> Result<bool> {
        let mut table: Option<(FileId, Option<Box<SumTable>>)> = None;
        for slot in slots {
            match view.contains(slot) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(Error::Corrupt(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
            let file_id = slot.file_id();
            if table.as_ref().is_none_or(|(of, _)| *of != file_id) {
                table = Some((file_id, self.sum_table(column, view, file_id)?));
            }
            let sums = table.as_ref().and_then(|(_, table)| table.as_ref());
            let sum = sums.map(|sums| sums.get(slot.index_in_file())).unwrap_or_default();
            if sum == SumEntry::default() {
                return Ok(false);
            }
            digest.update(slot.0.to_le_bytes());
            digest.update(sum.record.to_bytes());
            digest.update(sum.entry.to_bytes());
        }
        Ok(true)
    }

    fn sum_table(
        &self,
        column: Column,
        view: &View,
        file_id: FileId,
    ) -> Result<Option<Box<SumTable>>> {
        let directory = self.archive.root().join(column.dir_name());
        let path = directory.join(names::sums_file(file_id));
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(SUMS_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(SumTable::from_bytes(&bytes, file_id, view.conf().spec.record_type)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path, "read", error)),
        }
    }
}
