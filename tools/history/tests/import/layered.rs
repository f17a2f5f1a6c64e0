//! Imports that store boundary states as diffs.

use std::io::{Cursor, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use coldstore::era::{
    COLUMNS, EraExport, EraFile, EraOutcome, ImportOptions, ImportPlan, ImportProgress,
    ImportReport, StateOutcome, StateStore, import,
};
use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Column, Manifest, MappedArchive, ReaderOptions,
    Slot, StatesPolicy,
};
use coldstore_consensus::Preset;
use coldstore_history::import::{ImportProver, Trust};
use coldstore_history::states::boundary::BoundaryStates;
use coldstore_history::states::stored_state::StoredState;
use tempfile::TempDir;
use test_support::{MAINNET, MINIMAL, era_files, open_archive, scratch};

/// A chain with an archive of it.
struct Chain {
    directory: TempDir,
    files: Vec<PathBuf>,
    preset: Preset,
}

fn open(root: &Path) -> coldstore::Result<MappedArchive> {
    // SAFETY: nobody but this test writes to the archive, and only by its writers.
    #[expect(unsafe_code, reason = "states are read from maps")]
    unsafe {
        Archive::open_mapped(root, ReaderOptions::default())
    }
}

impl Chain {
    fn minimal() -> Self {
        Self { directory: scratch(), files: era_files(MINIMAL), preset: Preset::Minimal }
    }

    fn mainnet() -> Self {
        Self { directory: scratch(), files: era_files(MAINNET), preset: Preset::Mainnet }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    fn boundary(&self, era: usize) -> Slot {
        Slot(era as u64 * self.preset.slots_per_era())
    }

    fn store(&self) -> BoundaryStates {
        BoundaryStates::new(self.root(), self.preset, open)
    }

    fn layered(&self, layers: &str) -> BoundaryStates {
        self.store().layered(Some(layers.parse().unwrap())).unwrap()
    }

    /// Imports files; `left` is how often the observer lets it go on.
    fn import(
        &self,
        files: &[PathBuf],
        states: StatesPolicy,
        mut store: BoundaryStates,
        mut left: u64,
    ) -> Result<ImportReport, String> {
        let plan = ImportPlan::scan(files).unwrap();
        let held = self.root().is_dir().then(|| open_archive(&self.root()));
        let trust = Trust::establish(Vec::new(), self.preset, Some(&plan), held.as_ref()).unwrap();
        let unproved = Manifest::read(&self.root()).unwrap().and_then(|known| known.unproved_state);
        let mut prover =
            ImportProver::new(&plan, self.preset, &trust, held.as_ref()).unproved_state(unproved);
        let columns = ArchiveWriterOptions::default()
            .columns(COLUMNS)
            .backfill(Column::StateDiffs)
            .refill(true)
            .deferred(true);
        let mut archive = ArchiveWriter::open(self.root(), columns).unwrap();
        let options = ImportOptions::from(states).prover(&mut prover).store(&mut store);
        let mut observer = |_: &ImportProgress<'_>| {
            left = left.saturating_sub(1);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let done = import(&plan, &mut archive, options, &mut observer);
        done.map_err(|failure| failure.error.to_string())
    }

    fn import_all(&self, layers: &str) -> ImportReport {
        let layered = self.layered(layers);
        self.import(&self.files, StatesPolicy::Layered, layered, u64::MAX).unwrap()
    }

    /// The state of an era's file.
    fn state_in_file(&self, era: usize) -> Vec<u8> {
        let mut file = EraFile::open(&self.files[era]).unwrap();
        let group = *file.groups().last().unwrap();
        let record = file.state_head(&group).unwrap().record;
        let mut state = Vec::new();
        file.state_stream(&record).read_to_end(&mut state).unwrap();
        state
    }

    /// The eras whose state is stored whole. Asserts that every state is there, and is that of its file.
    #[track_caller]
    fn whole_eras(&self) -> Vec<usize> {
        let archive = open_archive(&self.root());
        let mut whole = Vec::new();
        for era in 0..self.files.len() {
            let slot = self.boundary(era);
            let stored = StoredState::read(&archive, self.preset, slot).unwrap();
            let stored = stored.unwrap_or_else(|| panic!("no state of slot {slot}"));
            let (mut written, mut read) = (Vec::new(), Vec::new());
            stored.write_ssz(&mut written).unwrap();
            stored.reader().unwrap().read_to_end(&mut read).unwrap();
            let wanted = self.state_in_file(era);
            assert!(written == wanted && read == wanted, "the state of slot {slot} differs");
            assert_eq!(stored.ssz_len().unwrap(), wanted.len() as u64);
            if stored.is_whole() {
                whole.push(era);
            }
        }
        whole
    }

    /// The files of all eras, exported.
    fn exported(&self) -> Vec<Vec<u8>> {
        let archive = open_archive(&self.root());
        let views = archive.views(EraExport::COLUMNS).unwrap();
        let store = self.store();
        let export = |era: usize| {
            let kept = Some(&store as &dyn StateStore);
            let slots = self.preset.slots_per_era();
            let export = EraExport::prepare_kept(&views, slots, era as u64, kept).unwrap();
            let mut file = Cursor::new(Vec::new());
            export.write_to(&mut file, &mut |_| ControlFlow::Continue(())).unwrap();
            file.into_inner()
        };
        (0..self.files.len()).map(export).collect()
    }

    fn bases(&self) -> Vec<u64> {
        let manifest = Manifest::read(&self.root()).unwrap().unwrap();
        manifest.state_bases.iter().map(|slot| slot.0).collect()
    }
}

fn outcomes(report: &ImportReport, state: StateOutcome) -> usize {
    report.eras.iter().filter(|era| era.state == state).count()
}

#[test]
fn states_are_stored_by_layer_and_given_back() {
    for (layers, whole) in [
        ("11,6,4+3,0", &[0][..]),
        ("8,6", &[0, 4, 8]),
        ("9,8,7,6+3,0", &[0, 8]),
        ("9+6", &[0, 8]),
        ("11", &[0]),
        ("6", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ] {
        let chain = Chain::minimal();
        let report = chain.import_all(layers);
        assert_eq!(outcomes(&report, StateOutcome::Stored), 10, "{layers}");
        assert_eq!(chain.whole_eras(), whole, "{layers}");
        assert_eq!(chain.bases(), [] as [u64; 0], "{layers}");
        let manifest = Manifest::read(&chain.root()).unwrap().unwrap();
        assert_eq!(manifest.state_layers, [layers]);
        assert_eq!(manifest.state_values.as_deref(), Some("coldstore"));
        let raw = Chain::minimal();
        raw.import(&raw.files, StatesPolicy::All, raw.store(), u64::MAX).unwrap();
        assert!(chain.exported() == raw.exported(), "{layers}: an exported file differs");
    }
}

#[test]
fn states_of_the_mainnet_preset_are_stored_by_layer_and_given_back() {
    let chain = Chain::mainnet();
    chain.import_all("18,13,11,9+5,0");
    assert_eq!(chain.whole_eras(), [0]);
    let raw = Chain::mainnet();
    raw.import(&raw.files, StatesPolicy::All, raw.store(), u64::MAX).unwrap();
    assert!(chain.exported() == raw.exported(), "an exported file differs");
}

#[test]
fn an_import_again_compares_the_states_and_stores_nothing() {
    let chain = Chain::minimal();
    chain.import_all("8,6");
    for states in [StatesPolicy::Layered, StatesPolicy::All] {
        let again = chain.import(&chain.files, states, chain.layered("8,6"), u64::MAX).unwrap();
        assert_eq!(outcomes(&again, StateOutcome::Present), 10);
        assert_eq!((again.states, again.imported), (0, 0));
    }
}

#[test]
fn every_era_may_be_imported_by_a_command_of_its_own() {
    let chain = Chain::minimal();
    for file in &chain.files {
        let layered = chain.layered("8,6");
        chain.import(std::slice::from_ref(file), StatesPolicy::Layered, layered, u64::MAX).unwrap();
    }
    assert_eq!((chain.whole_eras(), chain.bases()), (vec![0, 4, 8], vec![]));
}

#[test]
fn states_are_added_in_any_order_to_an_archive_of_blocks() {
    for (order, whole, bases) in [
        // Each is the lowest of its window when it comes.
        (
            [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..],
            &[64, 128, 192, 320, 384, 448][..],
        ),
        ([2, 7, 0, 5, 3, 9, 1, 6, 8, 4], &[0, 2, 4, 5, 7, 8, 9], &[128, 320, 448]),
        ([4, 0, 8, 9, 7, 6, 5, 3, 2, 1], &[0, 4, 8, 9], &[]),
    ] {
        let chain = Chain::minimal();
        // The newest state is stored, whole.
        chain.import(&chain.files, StatesPolicy::None, chain.store(), u64::MAX).unwrap();
        for era in order {
            let (file, layered) = (&chain.files[era..=era], chain.layered("8,6"));
            chain.import(file, StatesPolicy::Layered, layered, u64::MAX).unwrap();
        }
        assert_eq!(
            (chain.whole_eras(), chain.bases()),
            (whole.to_vec(), bases.to_vec()),
            "{order:?}"
        );
        let raw = Chain::minimal();
        raw.import(&raw.files, StatesPolicy::All, raw.store(), u64::MAX).unwrap();
        assert!(chain.exported() == raw.exported(), "{order:?}: an exported file differs");
    }
}

#[test]
fn the_first_state_of_an_archive_is_a_base_in_its_window() {
    let mut chain = Chain::minimal();
    chain.files.drain(..2);
    let layered = chain.layered("9,6");
    chain.import(&chain.files, StatesPolicy::Layered, layered, u64::MAX).unwrap();
    assert_eq!(chain.bases(), [128]);
    chain.files = era_files(MINIMAL);
    let archive = open_archive(&chain.root());
    for era in 2..10 {
        let stored =
            StoredState::read(&archive, chain.preset, chain.boundary(era)).unwrap().unwrap();
        let mut state = Vec::new();
        stored.write_ssz(&mut state).unwrap();
        assert!(state == chain.state_in_file(era), "era {era}");
        assert_eq!(stored.is_whole(), era == 2 || era == 8, "era {era}");
    }
}

#[test]
fn whole_states_of_an_earlier_policy_stay_and_are_bases() {
    let chain = Chain::minimal();
    let every_third = StatesPolicy::Every(3.try_into().unwrap());
    chain.import(&chain.files[..6], every_third, chain.store(), u64::MAX).unwrap();
    // Eras 0, 3 and 5 are whole. In the window of era 4, era 5 becomes a base of those above it.
    chain.import_all("8,6");
    assert_eq!((chain.whole_eras(), chain.bases()), (vec![0, 3, 4, 5, 8], vec![]));
    let layers = |chain: &Chain| Manifest::read(&chain.root()).unwrap().unwrap().state_layers;
    assert_eq!(layers(&chain), ["8,6"]);

    // A change of the layers holds from there on.
    let chain = Chain::minimal();
    chain.import(&chain.files[..5], StatesPolicy::Layered, chain.layered("7,6"), u64::MAX).unwrap();
    chain.import_all("9,6");
    assert_eq!(layers(&chain), ["7,6", "9,6"]);
    assert_eq!((chain.whole_eras(), chain.bases()), (vec![0, 2, 4, 8], vec![]));
}

#[test]
fn an_import_that_stops_anywhere_is_resumed() {
    let undisturbed = Chain::minimal();
    undisturbed.import_all("8,6");
    let wanted = undisturbed.exported();
    let mut stops = 0;
    for left in (1..).step_by(7) {
        let chain = Chain::minimal();
        let stopped = chain.import(&chain.files, StatesPolicy::Layered, chain.layered("8,6"), left);
        if stopped.is_ok() {
            break;
        }
        stops += 1;
        chain.import_all("8,6");
        assert_eq!((chain.whole_eras(), chain.bases()), (vec![0, 4, 8], vec![]), "{left}");
        assert!(chain.exported() == wanted, "{left}: an exported file differs");
    }
    assert!(stops > 10, "{stops}");
}

#[test]
fn a_base_that_was_listed_before_a_kill_becomes_whole() {
    let chain = Chain::minimal();
    chain.import(&chain.files, StatesPolicy::None, chain.store(), u64::MAX).unwrap();
    // As if the process had been killed between the manifest and the record.
    Manifest::update(&chain.root(), |manifest| {
        manifest.state_layers = vec!["8,6".to_owned()];
        manifest.state_bases = vec![Slot(128)];
        Ok(())
    })
    .unwrap();
    chain.import_all("8,6");
    assert_eq!((chain.whole_eras(), chain.bases()), (vec![0, 2, 4, 8, 9], vec![128]));
}

#[test]
fn another_state_than_the_one_of_a_diff_is_refused() {
    let chain = Chain::minimal();
    chain.import_all("8,6");
    let store = chain.store();
    let mut state = chain.state_in_file(3);
    let slot = chain.boundary(3);
    assert!(store.holds(slot, &mut &state[..]).unwrap());
    assert!(!store.holds(Slot(slot.0 + 1), &mut &state[..]).unwrap());
    let longer = [&state[..], &[0]].concat();
    for other in [&state[..state.len() - 1], &longer] {
        let error = store.holds(slot, &mut &other[..]).unwrap_err();
        assert!(matches!(error, coldstore::Error::Conflict { .. }), "{error}");
    }
    let last = state.len() - 1;
    state[last] ^= 1;
    let error = store.holds(slot, &mut &state[..]).unwrap_err();
    assert!(matches!(error, coldstore::Error::Conflict { .. }), "{error}");
}

#[test]
fn a_missing_or_forbidden_base_is_named() {
    let chain = Chain::minimal();
    chain.import_all("9,8,7,6");
    let read = |era| {
        let archive = open_archive(&chain.root());
        StoredState::read(&archive, chain.preset, chain.boundary(era)).map(|state| state.is_some())
    };
    // Era 7 refers to era 6, era 6 to era 4, and that one to era 0.
    assert!(read(7).unwrap());
    let layers = |layers: &str| {
        Manifest::update(&chain.root(), |manifest| {
            manifest.state_layers = vec![layers.to_owned()];
            Ok(())
        })
        .unwrap();
    };
    layers("9,8,6");
    let error = read(7).unwrap_err().to_string();
    let wanted = "one of the slots that the layers in archive.toml allow, found 384";
    assert!(error.contains("slot 448: ") && error.contains(wanted), "{error}");
    layers("9,8,7,6");
    std::fs::remove_dir_all(chain.root().join("bss")).unwrap();
    let column = |column: Column, slots: &[u64]| {
        let options = ArchiveWriterOptions::default().column(column).refill(true);
        let mut writer = ArchiveWriter::open(chain.root(), options).unwrap();
        for slot in slots {
            let era = usize::try_from(slot / 64).unwrap();
            writer.writer(column).unwrap().put(Slot(*slot), &chain.state_in_file(era)).unwrap();
        }
    };
    column(Column::StateSnapshots, &[512]);
    let error = read(7).unwrap_err().to_string();
    let wanted = "slot 256: its diff in bsd is based on the state of slot 0, which neither";
    assert!(error.contains(wanted), "{error}");
    assert!(read(9).unwrap(), "era 9 refers to era 8");
}

#[test]
fn an_archive_of_lighthouse_takes_no_diffs() {
    let chain = Chain::minimal();
    let options = ArchiveWriterOptions::default().column(Column::StateSnapshots).raw(true);
    let mut writer = ArchiveWriter::open(chain.root(), options).unwrap();
    let compressed = zstd::encode_all(&chain.state_in_file(0)[..], 1).unwrap();
    writer.writer(Column::StateSnapshots).unwrap().put(Slot(0), &compressed).unwrap();
    drop(writer);
    let error = chain.store().layered(None).unwrap_err().to_string();
    assert!(error.starts_with("bss holds a state that Lighthouse compressed at slot 0"), "{error}");
}

#[test]
fn the_next_era_proves_a_newest_state_that_is_a_diff() {
    let chain = Chain::minimal();
    let import = |eras: std::ops::RangeInclusive<usize>| {
        let layered = chain.layered("8,6");
        chain.import(&chain.files[eras], StatesPolicy::Layered, layered, u64::MAX).unwrap()
    };
    std::fs::create_dir(chain.root()).unwrap();
    Manifest::update(&chain.root(), |manifest| {
        manifest.slots_per_era = Some(64);
        Ok(())
    })
    .unwrap();
    import(0..=6);
    let unproved = || Manifest::read(&chain.root()).unwrap().unwrap().unproved_state;
    assert_eq!(unproved(), Some(Slot(384)), "the newest state is a diff");
    let next = import(7..=7);
    assert!(matches!(next.eras[0].outcome, EraOutcome::Imported { .. }));
    assert_eq!(unproved(), Some(Slot(448)));
}
