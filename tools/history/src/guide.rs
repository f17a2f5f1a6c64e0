//! The guide to embedding an archive. The guide to the engine is `coldstore::guide`.

/// A client's cold store over an archive.
///
/// The example implements a trait in the shape of Lighthouse's: values of five columns by slot, batches, an
/// iterator that owns what it reads from, root → slot, and `sync`. [`ArchivePipeline`] has the columns behind
/// one handle that may be cloned and shared; [`roots`](crate::roots) is the index.
///
/// **Lighthouse takes no lock on its static files: stop it before you open them for writing.** A writer of
/// this library locks every column, but a running Lighthouse neither sees nor respects that lock. Reading
/// beside it is safe.
///
/// [`ArchivePipeline`]: coldstore::ArchivePipeline
///
#[doc = concat!("```\n", include_str!("../examples/lighthouse.rs"), "\n```")]
pub mod lighthouse {}
