//! A column, open for reading.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::files::directory::{Directory, OpenConf};
use crate::files::watch::Watch;
use crate::format::corruption::check_spec;
use crate::format::names;
use crate::read::files::Files;
use crate::read::options::ReaderOptions;
use crate::read::view::View;

/// Attempts to open a column that is replaced meanwhile.
const MAX_ATTEMPTS: usize = 1000;

/// A column, open for reading.
///
/// A handle that is cheap to clone and to send: clones share the latest view and the maps. A
/// reader takes no lock, creates no file, works on a read-only mount, and never waits for the
/// writer. (Closing a commit marker that was replaced may wait for the file system's journal; a
/// thread of the process does that.)
///
/// It stays with the directory it was opened on, also when that is renamed. When the column is
/// replaced as a whole ([`Writer::cut`](crate::Writer::cut)), its views keep what they have mapped;
/// whatever is touched for the first time, and every refresh, is [`Error::Replaced`] from then on.
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
    /// Watches on the directory that nobody waits on at the moment.
    watches: Mutex<Vec<Watch>>,
}

impl Reader {
    /// Opens the column in `directory` and takes a first view. The cost does not depend on the
    /// number of files: only the current one is mapped, to see whether the conf fits it.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`] when there is no conf; [`Error::ConfMismatch`] when the column is
    /// not the one that the options expect; [`Error::Corrupt`] when the conf is damaged or does
    /// not belong to the files beside it; [`Error::Unsupported`]; [`Error::Io`].
    ///
    /// # Safety
    /// The files are mapped into memory. For as long as the reader, a view of it, or an
    /// [`OwnedRecord`](crate::OwnedRecord) exists, in any thread, nobody may shorten or overwrite
    /// committed bytes of the column's files. Writers of this format, in this or any other
    /// process, never do; other tools can. When it happens all the same, a read may end in
    /// `SIGBUS` or see bytes change under a slice.
    ///
    /// What can be noticed is an error instead: a file that is gone, too short, no regular file or
    /// not readable when a view looks at it for the first time, also where an earlier view had it
    /// mapped. (But for sealed files of a column without backfill: those never change, and a later
    /// view takes the map over without a look.) What a view has mapped stays what it was when the
    /// file is renamed, removed, replaced by a rename or made unreadable.
    #[expect(unsafe_code, reason = "declares the contract, does nothing unsafe itself")]
    pub unsafe fn open(directory: impl AsRef<Path>, options: ReaderOptions) -> Result<Self> {
        Self::open_mapped(directory.as_ref(), options)
    }

    /// [`Reader::open`] for those who pass its contract on.
    pub(crate) fn open_mapped(path: &Path, options: ReaderOptions) -> Result<Self> {
        for _ in 0..MAX_ATTEMPTS {
            match Self::open_once(path, options)? {
                Some(reader) => return Ok(reader),
                None => std::thread::yield_now(),
            }
        }
        let source = std::io::ErrorKind::TimedOut.into();
        Err(Error::io(path, "open a column that is not replaced at once", source))
    }

    /// `None` when the column was replaced meanwhile.
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

    /// The latest view that this reader or a clone of it has taken. No system call.
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

    /// A view of what is committed now: one `stat`, and where that shows a new conf, a new view.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the conf is gone or damaged; [`Error::Replaced`]; [`Error::Io`].
    pub fn refresh(&self) -> Result<View> {
        let view = self.view();
        if view.is_latest()? {
            return Ok(view);
        }
        // One thread at a time: what is read last is put in place last, so that no reader ever
        // goes back to an older view.
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

    /// The column's directory, as it was named when the reader was opened.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.files.directory.path()
    }
}

impl Shared {
    /// A watch that reports every commit from now on. It is given back with
    /// [`Self::return_watch`], since ending one is slow.
    pub(super) fn take_watch(&self) -> Watch {
        let spare = self.watches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Watch::commits(&self.files.directory))
    }

    pub(super) fn return_watch(&self, watch: Watch) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
    }
}
