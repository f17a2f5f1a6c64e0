//! A column, open for reading.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::directory::{Directory, OpenConf};
use crate::files::watch::Watch;
use crate::format::corruption::check_spec;
use crate::format::names;
use crate::read::files::Files;
use crate::read::options::ReaderOptions;
use crate::read::view::View;
use crate::sync::thread;
use crate::sync::{Arc, Mutex, PoisonError, RwLock};

/// Maximum number of attempts to open a column that is replaced concurrently.
const MAX_ATTEMPTS: usize = 1000;

/// A column, open for reading.
///
/// Cheap to clone and to send: clones share the latest view and the maps. A reader takes no lock, creates
/// no file, works on a read-only mount, and never waits for the writer. (Closing a replaced commit marker
/// may wait for the file system's journal, so a thread of the process does it.)
///
/// It stays with the directory on which it was opened, even if the directory is renamed. When the column
/// is replaced as a whole ([`Writer::cut`](crate::Writer::cut)), its views keep the files that they have
/// mapped. From then on, the first read of any other file and every refresh is [`Error::Replaced`].
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Arc<Files>,
    options: ReaderOptions,
    latest: RwLock<View>,
    /// Held by the thread that takes the next view.
    taking: Mutex<()>,
    /// Idle watches on the directory.
    watches: Mutex<Vec<Watch>>,
}

impl Reader {
    /// Opens the column in `directory` and takes a first view. The cost does not depend on the number of
    /// files: only the current one is mapped, to check that the conf fits it.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`] if there is no conf; [`Error::ConfMismatch`] if the column does not match
    /// the options; [`Error::Corrupt`] if the conf is damaged or does not fit the files;
    /// [`Error::Unsupported`]; [`Error::Io`].
    ///
    /// # Safety
    /// The files are mapped into memory. As long as the reader, a view of it, or an
    /// [`OwnedRecord`](crate::OwnedRecord) exists, in any thread, nobody may shorten or overwrite committed
    /// bytes of the column's files. Writers of this format, in this or any other process, never do; other
    /// tools can. If it happens, a read may end in `SIGBUS`, or bytes may change under a slice.
    ///
    /// Detectable faults are errors: a file that is missing, too short, unreadable or not a regular file
    /// when a view first reads it, even if an earlier view had it mapped. (Sealed files of a column without
    /// backfill are exempt: they never change, so a later view takes the map over unchecked.) A view keeps
    /// the content of a mapped file that is renamed, removed, replaced by a rename or made unreadable.
    #[expect(unsafe_code, reason = "declares the contract, does nothing unsafe itself")]
    pub unsafe fn open(directory: impl AsRef<Path>, options: ReaderOptions) -> Result<Self> {
        Self::open_mapped(directory.as_ref(), options)
    }

    /// [`Reader::open`] for callers that pass its contract on.
    pub(crate) fn open_mapped(path: &Path, options: ReaderOptions) -> Result<Self> {
        for _ in 0..MAX_ATTEMPTS {
            match Self::open_once(path, options)? {
                Some(reader) => return Ok(reader),
                None => thread::yield_now(),
            }
        }
        let source = std::io::ErrorKind::TimedOut.into();
        Err(Error::io(path, "open a column that is not replaced at once", source))
    }

    /// Opens a column; `None` if it was replaced during the attempt.
    fn open_once(path: &Path, options: ReaderOptions) -> Result<Option<Self>> {
        let no_column = || Error::NoSuchColumn { directory: path.into() };
        let directory = Directory::open(path)?.ok_or_else(no_column)?;
        let files = Arc::new(Files::new(directory, options.access));
        let Some(seen) = Self::read_conf(&files, options)? else {
            return if files.directory.was_replaced() { Ok(None) } else { Err(no_column()) };
        };
        let view = View::new(Arc::clone(&files), Arc::new(seen), options);
        match view.check_current() {
            Err(Error::Replaced { .. }) => return Ok(None),
            checked => checked?,
        }
        let (latest, taking, watches) = (RwLock::new(view), Mutex::default(), Mutex::default());
        let shared = Shared { files, options, latest, taking, watches };
        Ok(Some(Self { shared: Arc::new(shared) }))
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

    /// The latest view taken by this reader or a clone. Costs no system call.
    #[must_use]
    pub fn view(&self) -> View {
        let view = self.shared.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        if view.mapped_files() <= self.shared.options.max_mapped_files {
            return view;
        }
        let mut latest = self.shared.latest.write().unwrap_or_else(PoisonError::into_inner);
        if latest.mapped_files() > self.shared.options.max_mapped_files {
            *latest = latest.afresh();
        }
        latest.clone()
    }

    /// A view of the last commit. Costs one `stat`; takes a new view if it shows a new conf.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the conf is missing or damaged; [`Error::Replaced`]; [`Error::Io`].
    pub fn refresh(&self) -> Result<View> {
        let view = self.view();
        if view.is_latest()? {
            return Ok(view);
        }
        // One thread at a time: views are published in the order in which they are read, so that no
        // reader ever returns to an older one.
        let _taking = self.shared.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        if view.is_latest()? {
            return Ok(view);
        }
        let gone = || self.shared.files.directory.conf_is_gone();
        let seen = Self::read_conf(&self.shared.files, self.shared.options)?.ok_or_else(gone)?;
        let changed = self.shared.files.take_changes(&seen.conf);
        let view = view.next(seen, changed);
        *self.shared.latest.write().unwrap_or_else(PoisonError::into_inner) = view.clone();
        Ok(view)
    }

    /// The column's directory, by its path when the reader was opened.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.files.directory.path()
    }
}

impl Shared {
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
