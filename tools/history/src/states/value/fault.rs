//! Why a diff cannot be read, applied or made.

use std::fmt::Display;

use coldstore::Slot;

/// A diff that cannot be read, applied or made. Nothing of the state may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "slot {slot}: the state's diff in bsd{}{}: wanted {wanted}, found {found}; `coldstore verify --deep` shows \
     which records are damaged",
    of_base(*.base), of_field(*.field)
)]
pub struct DiffFault {
    /// The state's slot.
    pub slot: Slot,
    /// The slot of the state on which the diff is, if known.
    pub base: Option<Slot>,
    /// The field, if the fault is in one.
    pub field: Option<&'static str>,
    /// What should be there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

fn of_base(base: Option<Slot>) -> String {
    base.map_or_else(String::new, |base| format!(", on the state of slot {base}"))
}

fn of_field(field: Option<&'static str>) -> String {
    field.map_or_else(String::new, |field| format!(", {field}"))
}

/// A fault in a part of a diff, before it is known where the part is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    wanted: String,
    found: String,
}

/// A result of decoding a part of a diff.
pub(crate) type Decoded<T> = Result<T, Wrong>;

impl Wrong {
    pub(crate) fn new(wanted: impl Display, found: impl Display) -> Self {
        Self { wanted: wanted.to_string(), found: found.to_string() }
    }

    pub(crate) fn at(
        self,
        slot: Slot,
        base: Option<Slot>,
        field: Option<&'static str>,
    ) -> DiffFault {
        let Self { wanted, found } = self;
        DiffFault { slot, base, field, wanted, found }
    }
}
