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

/// The state of any slot.
///
/// An archive stores some states: those at the ends of eras, or fewer. [`States`](crate::states::States) gives the
/// others too: it takes the nearest stored state at or before the slot, and replays the blocks after it. The
/// state of a slot has the slot's block applied; without a block it is the specification's state of that slot,
/// in which the slot was processed and a fork that begins there has begun.
///
/// ```no_run
/// use coldstore::{Archive, ReaderOptions, Slot};
/// use coldstore_history::states::States;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let archive = Archive::open("/data/mainnet", ReaderOptions::default())?;
/// let states = States::open(&archive, None)?;
/// let mut state = states.at(Slot(10_000_000))?;
/// println!("{} slots from slot {}", state.replayed_slots(), state.base());
/// println!("root {}", state.prove()?);
/// state.write_ssz(&mut std::io::sink())?;
/// # Ok(())
/// # }
/// ```
///
/// # What is checked
///
/// | | compared with | when |
/// |---|---|---|
/// | the block of a slot | its root in `bbr` | always |
/// | a slot without a block | `bbr` repeats the root before | always |
/// | the state root that a block names | `bsr` | always |
/// | every rule of the transition but signatures and payloads | the state | always |
/// | the root of the state | `bsr` | [`prove`](crate::states::StateView::prove), or by a [`Check`] |
/// | the whole state | the next stored one | [`Replay::compare_with`] |
///
/// Nothing of the state is hashed unless it is asked for: the state roots that the transition needs are in `bsr`.
/// What is trusted without a proof is therefore the stored state from which the replay starts, the state roots of
/// skipped slots, and the network's config.
///
/// # Where it ends
///
/// [`ReplayError`] tells apart what the archive lacks (no stored state at or before the slot, a missing block, no
/// root, a slot beyond the end) and what contradicts (a block, a root or a state that does not fit the others). It
/// names the slot, and for a state the first field that differs. An archive that begins with era N needs nothing
/// older. Forks up to fulu are known; a state of a later one is refused.
///
/// # Costs
///
/// A stored state is decoded once: with a mapped archive ([`Archive::open_mapped`](coldstore::Archive::open_mapped))
/// public keys and credentials stay in the map. A slot costs its block; an epoch costs a pass over the registry. A
/// proof hashes the whole state. Several threads may share one `States`, each with a state of its own in memory.
///
/// [`Check`]: crate::replay::Check
/// [`Replay::compare_with`]: crate::replay::Replay::compare_with
/// [`ReplayError`]: crate::replay::ReplayError
pub mod any_state {}
