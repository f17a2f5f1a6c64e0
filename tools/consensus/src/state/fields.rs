//! The fields of a state's encoding: names, kinds, and their places in the bytes.

use std::ops::Range;

use super::prefix::roots_end;
use super::source::StateFault;
use crate::containers::{EXTRA_DATA_OFFSET_AT, Layouts, PAYLOAD_HEADER_FIELD, StateLayout};
use crate::fork::Fork;
use crate::hash::{Hasher, Malformed, check_count, count_of, offset_at};
use crate::preset::Preset;
use crate::ssz::{Field, Kind, OFFSET_BYTES, fixed_part_len};

/// How a field of a state is encoded. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A value of fixed length: a number, a root, or a container.
    Value {
        /// Its length.
        byte_len: usize,
    },
    /// A vector of elements of fixed length.
    Vector {
        /// Length of an element.
        element_len: usize,
        /// Number of elements.
        count: usize,
    },
    /// A list of elements of fixed length.
    List {
        /// Length of an element.
        element_len: usize,
        /// Maximum number of elements.
        limit: u64,
    },
    /// A value without such structure.
    Variable {
        /// Its maximum length.
        max_len: u64,
    },
}

/// A field of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateField {
    /// The name in the specification.
    pub name: &'static str,
    /// How it is encoded.
    pub kind: FieldKind,
}

impl StateField {
    const fn of(field: &Field) -> Self {
        let kind = match (field.of.kind, field.of.fixed_len) {
            (Kind::Vector { element }, Some(byte_len)) => {
                // Vectors of states have elements of fixed length.
                let element_len = match element.fixed_len {
                    Some(element_len) => element_len,
                    None => byte_len,
                };
                FieldKind::Vector { element_len, count: byte_len / element_len }
            }
            (_, Some(byte_len)) => FieldKind::Value { byte_len },
            (Kind::List { element, limit }, None) => match element.fixed_len {
                Some(element_len) => FieldKind::List { element_len, limit },
                None => FieldKind::Variable { max_len: field.of.max_len },
            },
            (_, None) => FieldKind::Variable { max_len: field.of.max_len },
        };
        Self { name: field.name, kind }
    }

    /// Length of every value in bytes; `None` if lengths differ.
    #[must_use]
    pub const fn fixed_len(&self) -> Option<usize> {
        match self.kind {
            FieldKind::Value { byte_len } => Some(byte_len),
            FieldKind::Vector { element_len, count } => Some(element_len * count),
            FieldKind::List { .. } | FieldKind::Variable { .. } => None,
        }
    }
}

/// The fields of a fork's state in a preset, in the order of the encoding.
#[derive(Clone, Copy, Debug)]
pub struct StateFields {
    layout: &'static StateLayout,
    preset: Preset,
}

impl StateFields {
    /// The fields of a fork.
    #[must_use]
    pub fn of(preset: Preset, fork: Fork) -> Self {
        Self { layout: &Layouts::of(preset).states[fork as usize], preset }
    }

    /// The fields of an encoded state, found by the lengths of its fixed part and of its payload's header.
    ///
    /// # Errors
    /// [`StateFault::UnknownLayout`] if the fixed part is as long as that of no known fork;
    /// [`StateFault::Malformed`].
    pub fn of_ssz(preset: Preset, ssz: &[u8]) -> Result<Self, StateFault> {
        let candidates = Self::candidates(preset, ssz)?;
        Self::settle(&candidates, |place| {
            let span = candidates[0].spans_in(ssz, ssz.len() as u64)?[place].clone();
            Ok(ssz.get(span).unwrap_or_default())
        })
        .map_err(StateFault::from)
    }

    /// The possible fields of a state, from the start of its encoding. Capella and deneb differ only in the
    /// payload's header: [`Self::settle`].
    ///
    /// # Errors
    /// As [`Self::of_ssz`].
    pub fn candidates(preset: Preset, start: &[u8]) -> Result<Vec<Self>, StateFault> {
        let fixed_len = offset_at(start, roots_end(preset))?;
        let layouts = Layouts::of(preset).states.iter();
        let candidates: Vec<Self> = layouts
            .filter(|layout| layout.fixed_len == fixed_len)
            .map(|layout| Self { layout, preset })
            .collect();
        if candidates.is_empty() {
            let wanted = format!("a fixed part as long as that of a fork in the {preset} preset");
            let found = format!("{fixed_len} bytes");
            return Err(StateFault::UnknownLayout(Malformed::new(wanted, found)));
        }
        Ok(candidates)
    }

    /// The one of the candidates that fits the payload's header, which is the field at the place given to
    /// `header`.
    ///
    /// # Errors
    /// [`Malformed`] if none fits, and those of `header`.
    pub fn settle<'h>(
        candidates: &[Self],
        header: impl FnOnce(usize) -> Result<&'h [u8], Malformed>,
    ) -> Result<Self, Malformed> {
        if let [only] = candidates {
            return Ok(*only);
        }
        let layouts: Vec<_> = candidates.iter().map(|fields| fields.layout).collect();
        let place = candidates.first().and_then(|fields| fields.place(PAYLOAD_HEADER_FIELD));
        let place = place.unwrap_or_default();
        let settled = settled(&layouts, place, header(place)?);
        let layout = settled.map_err(|malformed| malformed.inside(PAYLOAD_HEADER_FIELD))?;
        Ok(Self { layout, ..candidates[0] })
    }

    /// The preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// The fork.
    #[must_use]
    pub fn fork(&self) -> Fork {
        self.layout.fork
    }

    /// Length of the fixed part in bytes: fixed-length fields, and an offset of 4 bytes for each other.
    #[must_use]
    pub fn fixed_part_len(&self) -> usize {
        self.layout.fixed_len
    }

    /// Number of fields.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no state is without fields")]
    pub fn len(&self) -> usize {
        self.layout.fields.len()
    }

    /// The fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StateField> + use<> {
        self.layout.fields.iter().map(StateField::of)
    }

    /// The place of the field with a name.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.layout.fields.iter().position(|field| field.name == name)
    }

    /// Where the fields of an encoded state are. Offsets, lengths and limits are checked, and the payload's header;
    /// the other contents are not.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn spans(&self, ssz: &[u8]) -> Result<Vec<Range<usize>>, Malformed> {
        let spans = self.spans_in(ssz, ssz.len() as u64)?;
        for (field, span) in self.layout.fields.iter().zip(&spans) {
            check_content(field, &ssz[span.clone()])?;
        }
        Ok(spans)
    }

    /// As [`Self::spans`], from the fixed part of a state of `byte_len` bytes; [`Self::check_content`] is for the
    /// rest.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn spans_in(&self, fixed: &[u8], byte_len: u64) -> Result<Vec<Range<usize>>, Malformed> {
        spans_of(self.layout, fixed, byte_len)
    }

    /// Checks the content of the field at a place as far as later reads depend on it: a payload's header is one of
    /// this fork.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn check_content(&self, place: usize, bytes: &[u8]) -> Result<(), Malformed> {
        self.layout.fields.get(place).map_or(Ok(()), |field| check_content(field, bytes))
    }
}

/// The layout that the payload's header fits, of layouts that have the header at this place. Capella and deneb
/// states differ only in it.
pub(crate) fn settled(
    layouts: &[&'static StateLayout],
    place: usize,
    header: &[u8],
) -> Result<&'static StateLayout, Malformed> {
    let fixed_len = offset_at(header, EXTRA_DATA_OFFSET_AT)?;
    let fits = |layout: &&StateLayout| match layout.fields[place].of.kind {
        Kind::Container(fields) => fixed_part_len(fields) == fixed_len,
        _ => false,
    };
    layouts.iter().copied().find(fits).ok_or_else(|| {
        let wanted = "the payload header of one of the forks that have such a state";
        let found = format!("one whose fixed part has {fixed_len} bytes");
        Malformed::new(wanted, found)
    })
}

fn check_content(field: &Field, bytes: &[u8]) -> Result<(), Malformed> {
    if field.of.fixed_len.is_some() || !matches!(field.of.kind, Kind::Container(_)) {
        return Ok(());
    }
    let checked = Hasher::default().root(field.of, bytes);
    checked.map(drop).map_err(|malformed| malformed.inside(field.name))
}

/// Where the fields of a state of `byte_len` bytes are, by its fixed part.
fn spans_of(
    layout: &StateLayout,
    fixed: &[u8],
    byte_len: u64,
) -> Result<Vec<Range<usize>>, Malformed> {
    if fixed.len() < layout.fixed_len {
        let wanted = format!("a {} state of at least {} bytes", layout.fork, layout.fixed_len);
        return Err(Malformed::new(wanted, format!("{} bytes", fixed.len())));
    }
    let (mut fixed_at, mut starts) = (0, Vec::new());
    let mut spans = Vec::with_capacity(layout.fields.len());
    for field in layout.fields {
        let start = fixed_at;
        fixed_at += field.of.fixed_len.unwrap_or(OFFSET_BYTES);
        if field.of.fixed_len.is_none() {
            starts.push((spans.len(), offset_at(fixed, start)?));
        }
        spans.push(start..fixed_at);
    }
    // Offsets have 32 bits: a longer state has no last offset that reaches its end, yet its last field may.
    let state_end = usize::try_from(byte_len).unwrap_or(usize::MAX);
    let mut wanted = layout.fixed_len;
    for (place, (index, start)) in starts.iter().enumerate() {
        let Field { name, of } = layout.fields[*index];
        let end = starts.get(place + 1).map_or(state_end, |(_, end)| *end);
        if *start < wanted || place == 0 && *start != wanted || end < *start || end > state_end {
            let wanted = format!("an offset from {wanted} to {state_end}");
            return Err(Malformed::new(wanted, start.to_string()).inside(name));
        }
        if let Kind::List { element, limit } = of.kind
            && let Some(element_len) = element.fixed_len
        {
            count_of((end - start) as u64, element_len)
                .and_then(|count| check_count(count, limit))
                .map_err(|malformed| malformed.inside(name))?;
        }
        spans[*index] = *start..end;
        wanted = *start;
    }
    Ok(spans)
}
