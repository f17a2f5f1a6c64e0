//! Which states are stored whole, which as diffs, and which state a diff may refer to: arithmetic
//! on slots.
//!
//! Every path from a record to its base, to that one's base, and so on, descends strictly, stays in one window
//! of the coarsest layer, and ends at a raw state.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use coldstore::{CorruptItem, Error, Manifest, Slot};
use coldstore_consensus::Preset;

/// Maximum number of layers.
pub const MAX_LAYERS: usize = 8;

/// Maximum number of records on a path.
pub const MAX_STEPS: u64 = 4096;

/// Maximum exponent of a layer.
const MAX_EXPONENT: u8 = 40;

/// The layers of a hierarchy: for each the exponent of the distance of its slots, coarsest first.
///
/// A slot belongs to the first layer whose distance divides it. States of the first layer are raw. Those of the
/// other flat layers refer to the nearest slot below of the layer above; those of a chained layer to the slot
/// of its own distance below.
///
/// As text: the flat exponents, separated by commas, and after a `+` the chained ones: `18,13,11,9+5,0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    flat: Vec<u8>,
    chained: Vec<u8>,
}

/// The layer of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// A raw state: of the first layer, or listed as a base.
    Raw,
    /// Of a flat layer with this exponent.
    Flat(u8),
    /// Of a chained layer with this exponent.
    Chained(u8),
    /// Of no layer: a diff to the nearest slot below of a flat layer.
    None,
}

/// Why exponents, or a text, are no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadShape {
    /// A part of the text is not a number.
    #[error(
        "{found:?} is not an exponent: wanted a number from 0 to {MAX_EXPONENT}, as in \"18,13,11,9+5,0\""
    )]
    NotAnExponent {
        /// The part.
        found: String,
    },
    /// There is no flat layer.
    #[error("no flat layer: wanted at least one exponent before the \"+\"")]
    NoFlatLayer,
    /// There are more than [`MAX_LAYERS`].
    #[error("{found} layers: at most {MAX_LAYERS}")]
    TooMany {
        /// Their number.
        found: usize,
    },
    /// An exponent is not below the one before it.
    #[error("exponent {found} after {before}: wanted each below the one before it")]
    NotDescending {
        /// The exponent.
        found: u8,
        /// The one before it.
        before: u8,
    },
    /// A path may have more than [`MAX_STEPS`] records.
    #[error(
        "a path of up to {found} records: at most {MAX_STEPS}; put a layer between the chained ones"
    )]
    TooLong {
        /// The records.
        found: u64,
    },
}

impl Shape {
    /// A shape of these exponents, coarsest first.
    ///
    /// # Errors
    /// [`BadShape`]
    pub fn new(flat: &[u8], chained: &[u8]) -> Result<Self, BadShape> {
        let exponents = || flat.iter().chain(chained).copied();
        if let Some(found) = exponents().find(|exponent| *exponent > MAX_EXPONENT) {
            return Err(BadShape::NotAnExponent { found: found.to_string() });
        }
        if flat.is_empty() {
            return Err(BadShape::NoFlatLayer);
        }
        if flat.len() + chained.len() > MAX_LAYERS {
            return Err(BadShape::TooMany { found: flat.len() + chained.len() });
        }
        if let Some((before, found)) = exponents().zip(exponents().skip(1)).find(|(a, b)| a <= b) {
            return Err(BadShape::NotDescending { found, before });
        }
        let shape = Self { flat: flat.to_vec(), chained: chained.to_vec() };
        match shape.max_steps() {
            found if found > MAX_STEPS => Err(BadShape::TooLong { found }),
            _ => Ok(shape),
        }
    }

    /// The layers of a preset: snapshots every 32 eras, eras, two layers of keyframes within an era, and
    /// chained epochs and slots. For mainnet `18,13,11,9+5,0`.
    #[must_use]
    pub fn of_preset(preset: Preset) -> Self {
        let exponent = |slots: u64| u8::try_from(slots.ilog2()).unwrap_or(MAX_EXPONENT);
        let (era, epoch) = (exponent(preset.slots_per_era()), exponent(preset.slots_per_epoch()));
        let flat = [era + 5, era, era.saturating_sub(2), era.saturating_sub(4)];
        let flat = flat.into_iter().filter(|exponent| *exponent > epoch).collect();
        Self { flat, chained: vec![epoch, 0] }
    }

    /// The exponents of the flat layers. The first one's states are raw.
    #[must_use]
    pub fn flat(&self) -> &[u8] {
        &self.flat
    }

    /// The exponents of the chained layers.
    #[must_use]
    pub fn chained(&self) -> &[u8] {
        &self.chained
    }

    /// The layers, coarsest first.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        let (raw, flat) = self.flat.split_at(1);
        let raw = raw.iter().map(|_| Layer::Raw);
        let flat = flat.iter().copied().map(Layer::Flat);
        raw.chain(flat).chain(self.chained.iter().copied().map(Layer::Chained))
    }

    /// The layer of a slot.
    #[must_use]
    pub fn layer(&self, slot: Slot) -> Layer {
        let exponents = self.flat.iter().chain(&self.chained);
        let of = exponents.zip(self.layers()).find(|(exponent, _)| floor(slot, **exponent) == slot);
        of.map_or(Layer::None, |(_, layer)| layer)
    }

    /// The first slot of the window of a slot. Its state is raw.
    #[must_use]
    pub fn window(&self, slot: Slot) -> Slot {
        floor(slot, self.flat[0])
    }

    /// The slots to which a diff at `slot` may refer, the one that the layers ask for first: the coarser
    /// ones take its place where it is not there. Empty for a slot of the first layer. All are below `slot` and
    /// in its window.
    pub fn bases(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        let (chained, coarser) = match self.layer(slot) {
            Layer::Raw => (None, 0),
            Layer::Flat(own) => (None, self.flat.iter().take_while(|flat| **flat > own).count()),
            Layer::Chained(own) => (slot.0.checked_sub(1 << own).map(Slot), self.flat.len()),
            Layer::None => (None, self.flat.len()),
        };
        let flat = self.flat.iter().take(coarser).rev().map(move |exponent| floor(slot, *exponent));
        let mut previous = None;
        let bases = chained.into_iter().chain(flat);
        bases.filter(move |base| previous.replace(*base) != Some(*base))
    }

    /// Maximum number of records from any slot to its raw state, including both.
    #[must_use]
    pub fn max_steps(&self) -> u64 {
        let (mut coarser, mut steps) = (self.flat.last().copied().unwrap_or(0), 0);
        for exponent in &self.chained {
            steps += (1 << (coarser - exponent)) - 1;
            coarser = *exponent;
        }
        // A slot of no layer is one step from the last flat layer, and the chained layers are not on its path.
        steps.max(u64::from(coarser > 0)) + self.flat.len() as u64
    }
}

/// The greatest multiple of `2^exponent` that is not above the slot.
fn floor(slot: Slot, exponent: u8) -> Slot {
    Slot(slot.0 >> exponent << exponent)
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (before, exponents) in [("", &self.flat), ("+", &self.chained)] {
            for (index, exponent) in exponents.iter().enumerate() {
                let before = if index == 0 { before } else { "," };
                write!(f, "{before}{exponent}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Shape {
    type Err = BadShape;

    fn from_str(text: &str) -> Result<Self, BadShape> {
        let exponents = |text: &str| {
            let parts = text.split(',').map(str::trim);
            let parsed = parts.map(|part| {
                part.parse().map_err(|_| BadShape::NotAnExponent { found: part.to_owned() })
            });
            parsed.collect::<Result<Vec<u8>, _>>()
        };
        match text.split_once('+') {
            None => Self::new(&exponents(text)?, &[]),
            Some((flat, chained)) => Self::new(&exponents(flat)?, &exponents(chained)?),
        }
    }
}

/// The hierarchy of an archive: its layers, the layers that it had before, and the raw states that are bases
/// besides those of the first layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    shape: Shape,
    before: Vec<Shape>,
    /// Ascending.
    bases: Vec<Slot>,
}

impl Hierarchy {
    /// A hierarchy of these layers.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, before: Vec::new(), bases: Vec::new() }
    }

    /// The hierarchy of an archive, by its manifest; that of the preset if none is recorded.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the manifest has layers that are none.
    pub fn of_manifest(archive: &Path, manifest: &Manifest, preset: Preset) -> Result<Self, Error> {
        let mut shapes = Vec::new();
        for text in &manifest.state_layers {
            shapes.push(text.parse::<Shape>().map_err(|bad| {
                let file = archive.join(coldstore::manifest::FILE_NAME);
                let wanted = "layers as state_layers, such as \"18,13,11,9+5,0\"";
                Error::corrupt(file, None, CorruptItem::Manifest, wanted, bad.to_string())
            })?);
        }
        let shape = shapes.pop().unwrap_or_else(|| Shape::of_preset(preset));
        let hierarchy = Self { shape, before: shapes, bases: Vec::new() };
        Ok(manifest.state_bases.iter().copied().fold(hierarchy, Self::with_base))
    }

    /// Writes the hierarchy to a manifest.
    pub fn record(&self, manifest: &mut Manifest) {
        let shapes = self.before.iter().chain([&self.shape]);
        manifest.state_layers = shapes.map(Shape::to_string).collect();
        manifest.state_bases.clone_from(&self.bases);
    }

    /// The hierarchy with other layers from now on. What the earlier ones allow stays allowed.
    #[must_use]
    pub fn reshaped(mut self, shape: Shape) -> Self {
        if shape != self.shape {
            self.before.retain(|before| *before != shape);
            self.before.push(std::mem::replace(&mut self.shape, shape));
        }
        self
    }

    /// The hierarchy with one more raw state as a base.
    #[must_use]
    pub fn with_base(mut self, base: Slot) -> Self {
        if let Err(place) = self.bases.binary_search(&base) {
            self.bases.insert(place, base);
        }
        self
    }

    /// The layers.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The earlier layers, oldest first.
    #[must_use]
    pub fn before(&self) -> &[Shape] {
        &self.before
    }

    /// The listed bases, ascending.
    #[must_use]
    pub fn listed_bases(&self) -> &[Slot] {
        &self.bases
    }

    /// The layer of a slot; [`Layer::Raw`] for a listed base.
    #[must_use]
    pub fn layer(&self, slot: Slot) -> Layer {
        match self.bases.binary_search(&slot) {
            Ok(_) => Layer::Raw,
            Err(_) => self.shape.layer(slot),
        }
    }

    /// The first slot of the window of a slot, by these layers or by earlier ones: no path of a diff leads
    /// below.
    #[must_use]
    pub fn window(&self, slot: Slot) -> Slot {
        let shapes = std::iter::once(&self.shape).chain(&self.before);
        shapes.map(|shape| shape.window(slot)).min().unwrap_or_default()
    }

    /// The slots to which a diff at `slot` may refer, best first: [`Shape::bases`], then the listed bases
    /// of its window, nearest first. A writer takes the first one whose state is there. Empty if the state is
    /// raw.
    #[must_use]
    pub fn bases(&self, slot: Slot) -> Vec<Slot> {
        match self.layer(slot) {
            Layer::Raw => Vec::new(),
            _ => self.bases_of(&self.shape, slot),
        }
    }

    /// Whether a diff at `slot` may refer to `base`, by these layers or by earlier ones.
    #[must_use]
    pub fn allows(&self, slot: Slot, base: Slot) -> bool {
        let mut shapes = std::iter::once(&self.shape).chain(&self.before);
        shapes.any(|shape| self.bases_of(shape, slot).contains(&base))
    }

    fn bases_of(&self, shape: &Shape, slot: Slot) -> Vec<Slot> {
        let mut bases: Vec<_> = shape.bases(slot).collect();
        let window = shape.window(slot);
        let below = self.bases.partition_point(|base| *base < slot);
        for listed in self.bases[..below].iter().rev().take_while(|base| **base >= window) {
            if !bases.contains(listed) {
                bases.push(*listed);
            }
        }
        bases
    }

    /// The path of a slot if every record is where the layers ask for it: the slot, its base, and so on to a raw
    /// state.
    #[must_use]
    pub fn path(&self, slot: Slot) -> Vec<Slot> {
        let next = |slot: &Slot| self.bases(*slot).into_iter().next();
        std::iter::successors(Some(slot), next).collect()
    }
}

#[cfg(test)]
mod tests;
