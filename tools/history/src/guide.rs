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

/// The state of any slot, whole or in parts.
///
/// An archive stores some states whole in `bss`, others as diffs to them in `bsd`, in layers
/// ([`hierarchy`](crate::states::hierarchy)). [`States`](crate::states::States) gives all of them, and those between:
/// a state that is not stored is replayed from the nearest one below. The state of a slot has the slot's block applied;
/// without a block it is the specification's state of that slot, in which the slot was processed and a fork that begins
/// there has begun.
///
/// ```no_run
/// use coldstore::{Archive, ReaderOptions, Slot};
/// use coldstore_history::states::States;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let archive = Archive::open("/data/mainnet", ReaderOptions::default())?;
/// let states = States::open(&archive, None)?;
/// let mut state = states.at(Slot(10_000_000))?;
/// println!("slot {}: {}", state.slot(), state.how());
/// println!("root {}", state.prove()?);
/// println!("validator 7 has {:?} Gwei", state.balance(7));
/// println!("finalized: {:?}", state.field("finalized_checkpoint"));
/// state.write_ssz(&mut std::io::sink())?;
/// # Ok(())
/// # }
/// ```
///
/// # Single validators
///
/// A question about a few validators does not decode their states: of each diff only the chunks with them are
/// read, and a run of epochs walks each chain of diffs once. Where states are not stored they are replayed, so
/// keep the epochs of which you ask: `coldstore reconstruct --keep epochs`.
///
/// ```no_run
/// # use coldstore::{Archive, ReaderOptions, Slot};
/// # use coldstore_history::states::States;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let archive = Archive::open("/data/mainnet", ReaderOptions::default())?;
/// let states = States::open(&archive, None)?.with_cache_bytes(256 << 20);
/// if let Some(validator) = states.validator_at(1_000_000, Slot(10_000_000))? {
///     println!("{}: {} Gwei", validator.status(), validator.balance);
/// }
/// for epoch in states.history(1_000_000..1_000_002, 312_500..=312_755) {
///     let epoch = epoch?;
///     let balances: Vec<u64> = epoch.validators.iter().map(|of| of.balance).collect();
///     println!("{}: {balances:?}", epoch.epoch);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # What is checked
///
/// | | compared with | when |
/// |---|---|---|
/// | a diff | its checksums, the layers in `archive.toml`, and the root of its base in `bsr` (8 bytes) | always |
/// | the block of a slot that is replayed | its root in `bbr` | always |
/// | a slot without a block | `bbr` repeats the root before | always |
/// | the state root that a block names | `bsr` | always |
/// | every rule of the transition but signatures and payloads | the state | always |
/// | the root of the state | `bsr` | [`prove`](crate::states::StateView::prove), or by a [`Check`] |
/// | the whole state | the next stored one | [`Replay::compare_with`] |
///
/// Nothing of the state is hashed unless it is asked for: the state roots that the transition needs are in `bsr`.
/// What is trusted without a proof is therefore the stored state from which a state is made, the state roots of
/// skipped slots, and the network's config.
///
/// # Where it ends
///
/// A record of `bsd` that is missing or damaged costs a replay from the nearest state below it that can be read, and
/// [`how`](crate::states::StateView::how) names the record and why. [`ReplayError`] tells apart what the archive lacks
/// (no stored state at or before the slot, a missing block, no root, a slot beyond the end) and what contradicts (a
/// block, a root or a state that does not fit the others). It names the slot, and for a state the first field that
/// differs. An archive that begins with era N needs nothing older. States of forks up to fulu are replayed; a state of a
/// later one can be stored and streamed.
///
/// # Costs
///
/// With a mapped archive ([`Archive::open_mapped`](coldstore::Archive::open_mapped)) stored states stay in the map, with
/// all public keys and credentials; a view of a mainnet state has some 45 MB of its own. Diffs are applied by
/// several threads. What is decoded is kept, the latest states first, up to
/// [`DEFAULT_CACHE_BYTES`](crate::states::DEFAULT_CACHE_BYTES): the next slot is then one diff away. Several
/// threads may share one `States`. A replayed slot costs its block, an epoch a pass over the registry. A proof hashes the
/// whole state, but of the validators only those that differ from the state that was hashed before.
///
/// [`Check`]: crate::replay::Check
/// [`Replay::compare_with`]: crate::replay::Replay::compare_with
/// [`ReplayError`]: crate::replay::ReplayError
pub mod any_state {}
