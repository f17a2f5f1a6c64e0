//! What the system knows: bytes that went to and came from the disk, pages in memory, the machine.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rustix::fs::Advice;
use serde::Serialize;

/// Bytes that this process caused to be moved from and to the disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskBytes {
    /// Read.
    pub read: u64,
    /// Written: counted when a page is made dirty.
    pub written: u64,
}

impl DiskBytes {
    /// The counters of `/proc/self/io` now.
    #[must_use]
    pub fn now() -> Self {
        let text = fs::read_to_string("/proc/self/io").unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().parse().unwrap()
        };
        Self { read: field("read_bytes"), written: field("write_bytes") }
    }
}

/// All files below a directory.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files_below(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Bytes on the disk of all files below a directory.
#[must_use]
pub fn disk_usage(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files_below(directory).iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

/// Takes the files below a directory out of the page cache. They must not be mapped.
///
/// # Panics
/// When more than one page of a hundred stays.
pub fn evict(directory: &Path) {
    let mut resident = 0.0;
    for _ in 0..10 {
        for path in files_below(directory) {
            let file = File::open(path).unwrap();
            // A dirty page stays.
            file.sync_data().unwrap();
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
        resident = residency(directory);
        if resident < 0.001 {
            return;
        }
    }
    assert!(resident < 0.01, "{} stays in the page cache: {resident}", directory.display());
}

/// The part of the pages below a directory that is in the page cache, between 0 and 1.
#[must_use]
pub fn residency(directory: &Path) -> f64 {
    let (mut resident, mut pages) = (0, 0);
    for path in files_below(directory) {
        let file = File::open(&path).unwrap();
        if file.metadata().unwrap().len() == 0 {
            continue;
        }
        // SAFETY: the map is not read; `mincore` looks at the page cache alone.
        #[expect(unsafe_code, reason = "mincore asks about a map")]
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let mut states = vec![0_u8; map.len().div_ceil(4096)];
        // SAFETY: the address is that of a map of this length, and `states` has a byte for each of
        // its pages.
        #[expect(unsafe_code, reason = "mincore asks about a map")]
        let status =
            unsafe { libc::mincore(map.as_ptr() as *mut _, map.len(), states.as_mut_ptr().cast()) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        resident += states.iter().filter(|state| *state & 1 == 1).count();
        pages += states.len();
    }
    resident as f64 / (pages as f64).max(1.0)
}

/// Bytes of memory that can be had without swapping.
#[must_use]
pub fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
}

/// The machine, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Logical processors.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that holds the data, and the readahead of its device in KiB.
    pub file_system: String,
    /// The compiler's target and whether debug assertions are on.
    pub build: String,
}

impl Machine {
    /// This machine. `data` is where the stores are going to be.
    #[must_use]
    pub fn here(data: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / f64::from(1 << 20) * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(data),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        }
    }
}

/// Name, device and readahead of the file system that holds a path.
fn file_system(path: &Path) -> String {
    let path = path.ancestors().find_map(|path| fs::canonicalize(path).ok());
    let path = path.or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| "/".into());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() > 2 && path.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len());
    let Some(fields) = mount else {
        return "unknown".to_owned();
    };
    let device = Path::new(fields[0]).file_name().unwrap_or_default().to_string_lossy();
    let readahead = fs::read_to_string(format!("/sys/block/{device}/queue/read_ahead_kb"));
    let readahead = readahead.map_or("unknown".to_owned(), |kib| format!("{} KiB", kib.trim()));
    format!("{} on {device}, readahead {readahead}", fields[2])
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, kernel, file_system, build } = self;
        write!(
            f,
            "{processor}, {cores} logical processors, {memory_gib} GiB, Linux {kernel}, \
             {file_system}, {build} build"
        )
    }
}
