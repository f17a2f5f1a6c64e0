//! A column, open for reading.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::directory::{Directory, OpenConf};
use crate::files::pread::{OsPread, Pread};
use crate::files::watch::Watch;
use crate::format::corruption::check_spec;
use crate::format::names;
use crate::read::commit::Commit;
use crate::read::files::Files;
use crate::read::options::ReaderOptions;
use crate::read::pread_view::PreadView;
use crate::read::snapshot::Taken;
use crate::read::view::View;
use crate::sync::{Arc, Mutex, PoisonError, RwLock};

/// Maximum number of attempts to open a column that is replaced concurrently.
const MAX_ATTEMPTS: usize = 1000;

/// A column, open for reading. Its [`Snapshot`](crate::Snapshot)s are [`PreadView`]s, which read with
/// `pread` and return copies. Those of a `Reader<View>` are [`View`]s, which map the files and return slices.
///
/// Cheap to clone and to send: clones share the latest snapshot. A reader takes no lock, creates no file,
/// works on a read-only mount, and never waits for the writer. (Closing a replaced commit marker may wait
/// for the file system's journal, so a thread of the process does it.)
///
/// It stays with the directory on which it was opened, even if the directory is renamed. When the column
/// is replaced as a whole ([`Writer::cut`](crate::Writer::cut)), a [`View`] keeps the files that it has
/// mapped, and a [`PreadView`] reads those that are still open in the reader's cache (up to 64). From then on,
/// a read of any other file and every refresh is [`Error::Replaced`].
#[derive(Clone, Debug)]
pub struct Reader<S = PreadView> {
    pub(super) shared: Arc<Shared<S>>,
}

/// A column whose files are mapped; opened by [`Reader::open_mapped`].
pub type MappedReader = Reader<View>;

#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) files: Arc<Files>,
    options: ReaderOptions,
    latest: RwLock<S>,
    /// Held by the thread that takes the next snapshot.
    taking: Mutex<()>,
    /// Idle watches on the directory.
    watches: Mutex<Vec<Watch>>,
}

impl Reader {
    /// Opens the column in `directory` and takes a first snapshot, whose records are read with `pread`.
    ///
    /// This is the reader for tools, for services that read a few records at a time, and wherever the
    /// medium may be failing: a bad sector, or a file that another program has shortened, is an error of
    /// the call that reads it. A read costs one or two system calls and a copy. See
    /// [`Self::open_mapped`] for the other reader.
    ///
    /// The cost does not depend on the number of files: only the current one is read, to check that the
    /// conf fits it.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`] if there is no conf; [`Error::ConfMismatch`] if the column does not match
    /// the options; [`Error::Corrupt`] if the conf is damaged or does not fit the files;
    /// [`Error::Unsupported`]; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, options: ReaderOptions) -> Result<Self> {
        Self::open_on(Arc::new(OsPread), directory.as_ref(), options)
    }

    /// As [`Self::open`], on a medium other than the operating system's.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[doc(hidden)]
    pub fn open_on(pread: Arc<dyn Pread>, path: &Path, options: ReaderOptions) -> Result<Self> {
        Self::open_as(pread, path, options)
    }

    /// Opens the column in `directory` and takes a first view, which maps files as they are read.
    ///
    /// This is the reader for programs that read much of a column, or the same records often: a daemon
    /// that serves them, a client's API threads, a researcher who scans. A read of a resident record costs
    /// no system call, no copy and no allocation. In return it trusts the medium and all other programs:
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// # Safety
    /// The files are mapped into memory. As long as the reader, a view of it, or an
    /// [`OwnedRecord`](crate::OwnedRecord) exists, in any thread, nobody may shorten or overwrite committed
    /// bytes of the column's files. Writers of this format, in this or any other process, never do; other
    /// tools can. If it happens, or if the medium fails to read a page, a read may end in `SIGBUS`, or bytes
    /// may change under a slice.
    ///
    /// Detectable faults are errors: a file that is missing, too short, unreadable or not a regular file
    /// when a view first reads it, even if an earlier view had it mapped. (Sealed files of a column without
    /// backfill are exempt: they never change, so a later view takes the map over unchecked.) A view keeps
    /// the content of a mapped file that is renamed, removed, replaced by a rename or made unreadable.
    #[expect(unsafe_code, reason = "declares the contract, does nothing unsafe itself")]
    pub unsafe fn open_mapped(
        directory: impl AsRef<Path>,
        options: ReaderOptions,
    ) -> Result<Reader<View>> {
        MappedReader::open_trusted(directory.as_ref(), options)
    }
}

impl MappedReader {
    /// [`Reader::open_mapped`] for callers that pass its contract on.
    pub(crate) fn open_trusted(path: &Path, options: ReaderOptions) -> Result<Self> {
        Self::open_as(Arc::new(OsPread), path, options)
    }
}

/// Takes a snapshot of the column in a directory. `check` decides whether it can be used.
pub(super) fn first_snapshot<S: Taken>(
    pread: &Arc<dyn Pread>,
    path: &Path,
    options: ReaderOptions,
    check: impl Fn(&S) -> Result<()>,
) -> Result<S> {
    let no_column = || Error::NoSuchColumn { directory: path.into() };
    for _ in 0..MAX_ATTEMPTS {
        let directory = Directory::open(path)?.ok_or_else(no_column)?;
        let files = Arc::new(Files::new(directory, Arc::clone(pread), options.access));
        match read_conf(&files, options)? {
            Some(seen) => {
                let snapshot = S::first(Commit::new(files, Arc::new(seen), options));
                match check(&snapshot) {
                    Err(Error::Replaced { .. }) => {}
                    checked => return checked.map(|()| snapshot),
                }
            }
            None if files.directory.was_replaced() => {}
            None => return Err(no_column()),
        }
        crate::sync::thread::yield_now();
    }
    let source = std::io::ErrorKind::TimedOut.into();
    Err(Error::io(path, "open a column that is not replaced at once", source))
}

impl<S: Taken> Reader<S> {
    #[expect(clippy::needless_pass_by_value, reason = "callers make it for this call")]
    pub(crate) fn open_as(
        pread: Arc<dyn Pread>,
        path: &Path,
        options: ReaderOptions,
    ) -> Result<Self> {
        let snapshot = first_snapshot(&pread, path, options, S::check_current)?;
        let files = Arc::clone(&snapshot.commit().files);
        let (latest, taking, watches) = (RwLock::new(snapshot), Mutex::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { files, options, latest, taking, watches }) })
    }

    /// The latest snapshot taken by this reader or a clone. Costs no system call.
    #[must_use]
    pub fn view(&self) -> S {
        let view = self.shared.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !view.holds_too_much() {
            return view;
        }
        let mut latest = self.shared.latest.write().unwrap_or_else(PoisonError::into_inner);
        if latest.holds_too_much() {
            *latest = latest.afresh();
        }
        latest.clone()
    }

    /// A snapshot of the last commit. Costs one `stat`; takes a new snapshot if it shows a new conf.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the conf is missing or damaged; [`Error::Replaced`]; [`Error::Io`].
    pub fn refresh(&self) -> Result<S> {
        let view = self.view();
        if view.commit().is_latest()? {
            return Ok(view);
        }
        // One thread at a time: snapshots are published in the order in which they are read, so that no
        // reader ever returns to an older one.
        let _taking = self.shared.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        if view.commit().is_latest()? {
            return Ok(view);
        }
        let gone = || self.shared.files.directory.conf_is_gone();
        let seen = read_conf(&self.shared.files, self.shared.options)?.ok_or_else(gone)?;
        let view = view.next(seen);
        *self.shared.latest.write().unwrap_or_else(PoisonError::into_inner) = view.clone();
        Ok(view)
    }

    /// The column's directory, by its path when the reader was opened.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.files.directory.path()
    }
}

fn read_conf(files: &Files, options: ReaderOptions) -> Result<Option<OpenConf>> {
    let Some(seen) = files.directory.read_conf()? else {
        return Ok(None);
    };
    if let Some(wanted) = options.expected {
        check_spec(files.directory.file_path(names::CONF), wanted, seen.conf.spec)?;
    }
    Ok(Some(seen))
}

impl<S> Shared<S> {
    /// A watch that reports every commit from now on. Callers return it with [`Self::return_watch`], since
    /// closing a watch is slow.
    pub(super) fn take_watch(&self) -> Watch {
        let spare = self.watches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Watch::commits(&self.files.directory))
    }

    pub(super) fn return_watch(&self, watch: Watch) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
    }
}
