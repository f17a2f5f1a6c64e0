//! JSON types of the daemon's protocol.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as a decimal string in JSON, because many JSON readers keep only 53 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(pub u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map(Decimal).map_err(D::Error::custom)
    }
}

/// The answer to a slot stream, all of it durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCommitted {
    /// Number of records, including those already stored.
    pub committed: Decimal,
    /// The first slot; `None` if the stream was empty.
    pub first: Option<Decimal>,
    /// The last slot.
    pub last: Option<Decimal>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind, for programs.
    pub error: RefusalKind,
    /// One sentence of explanation.
    pub message: String,
    /// The slot concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Decimal>,
    /// For a stream that failed midway: its durable prefix. After it, the items of one file in one
    /// batch of the daemon may be durable too, all of them or none, and such parts in any order.
    /// Sending the stream again is safe.
    #[serde(flatten)]
    pub prefix: Option<StreamCommitted>,
}

/// Kinds of refusals. Their names are the wire's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalKind {
    /// Backfill is off for the column.
    BackfillDisabled,
    /// The slot holds another value.
    Conflict,
    /// Bytes on disk contradict the format.
    Corrupt,
    /// The disk is full.
    DiskFull,
    /// A defect of the daemon.
    Internal,
    /// Not a slot.
    InvalidSlot,
    /// A file operation failed.
    Io,
    /// The request is malformed.
    Malformed,
    /// The path does not answer this method.
    MethodNotAllowed,
    /// A batch has slots both above and below the highest.
    MixedBatch,
    /// The slot has no record.
    NoRecord,
    /// The archive lacks the column.
    NoSuchColumn,
    /// Slots do not ascend.
    NotAscending,
    /// No such path.
    NotFound,
    /// An earlier failure of the disk stopped all writes to the column until the daemon is restarted.
    Poisoned,
    /// The root would leave a gap below it.
    RootGap,
    /// The daemon is shutting down.
    ShuttingDown,
    /// A batch fills slots of several sealed files.
    SpansFiles,
    /// The client sent nothing for too long.
    Stalled,
    /// The slot lies more than one era above the archive's highest.
    TooFar,
    /// The value exceeds the column's bound.
    TooLarge,
    /// The client sent too slowly.
    TooSlow,
    /// Not the name of a column.
    UnknownColumn,
    /// The body is a form, or encoded.
    UnsupportedMediaType,
    /// The value is of another kind than the column's, or of another slot or chain.
    WrongValue,
    /// A kind unknown to this version.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Options of a write request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Values may be in any encoding, and roots may leave gaps.
    pub raw: bool,
    /// Slots may lie more than one era above the archive's highest.
    pub far: bool,
}

/// The answer to `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: Decimal,
    /// The archive's directory, as an absolute path without links.
    pub archive: String,
    /// Open connections, this one included.
    pub connections: Decimal,
    /// Bytes of request bodies currently held.
    pub held_bytes: Decimal,
    /// The five columns.
    pub columns: Vec<ColumnStatus>,
}

/// The status of one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnStatus {
    /// The short name.
    pub column: String,
    /// The long name.
    pub name: String,
    /// The highest slot with a record.
    pub highest_slot: Option<Decimal>,
    /// Whether missing slots below the highest may be filled.
    pub backfill: bool,
    /// The bound on one value, in bytes.
    pub max_value_bytes: Decimal,
    /// Number of jobs waiting or being written.
    pub queued_jobs: Decimal,
    /// Bytes of their payloads.
    pub queued_bytes: Decimal,
    /// The failure that stopped all writes until a restart.
    pub poisoned: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_json_strings() {
        let json = "\"18446744073709551615\"";
        assert_eq!(serde_json::to_string(&Decimal(u64::MAX)).unwrap(), json);
        assert_eq!(serde_json::from_str::<Decimal>(json).unwrap(), Decimal(u64::MAX));
        assert!(serde_json::from_str::<Decimal>("\"-1\"").is_err());
    }

    #[test]
    fn kinds_of_refusals_are_json_strings_and_unknown_ones_are_kept() {
        for (kind, name) in
            [(RefusalKind::NoRecord, "NoRecord"), (RefusalKind::Other("New".to_owned()), "New")]
        {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<RefusalKind>(&format!("\"{name}\"")).unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
    }

    #[test]
    fn a_refusal_carries_the_prefix_of_a_stream_only() {
        let refusal = Refusal {
            error: RefusalKind::Conflict,
            message: "slot 7 already holds a different value".to_owned(),
            slot: Some(Decimal(7)),
            prefix: None,
        };
        let json = serde_json::to_string(&refusal).unwrap();
        assert!(!json.contains("committed"), "{json}");
        assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
        let last = Some(Decimal(6));
        let prefix = StreamCommitted { committed: Decimal(7), first: Some(Decimal(0)), last };
        let refusal = Refusal { prefix: Some(prefix), ..refusal };
        let json = serde_json::to_string(&refusal).unwrap();
        assert!(json.contains(r#""committed":"7""#), "{json}");
        assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
    }
}
