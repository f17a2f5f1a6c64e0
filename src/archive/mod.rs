//! An archive: the five columns under one root directory.

pub mod held;
mod pipeline;
mod read;
mod record;
mod write;

pub use self::pipeline::ArchivePipeline;
pub use self::read::{Archive, MappedArchive};
pub(crate) use self::record::rebuilt;
pub use self::record::record;
pub use self::write::{ArchiveWriter, ArchiveWriterOptions};
