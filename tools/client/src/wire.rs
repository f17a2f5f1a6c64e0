//! The JSON that the daemon and its clients exchange.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that JSON must carry as a decimal string: many readers of JSON keep no more than 53
/// bits of a number.
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

/// The answer to a slot stream. All of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCommitted {
    /// Records, those included that were there already.
    pub committed: Decimal,
    /// The first slot, unless the stream had none.
    pub first: Option<Decimal>,
    /// The last slot.
    pub last: Option<Decimal>,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind, for programs: the name of a variant of `coldstore::Error` or of
    /// `coldstore::ObjectionKind`, or `Malformed`, `UnknownColumn`, `NotFound`, `MethodNotAllowed`,
    /// `UnsupportedMediaType`, `NoRecord`, `Stalled`, `TooSlow`,
    /// `DiskFull`.
    pub error: String,
    /// One sentence, for people.
    pub message: String,
    /// The slot that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Decimal>,
    /// Of a stream that failed midway: what is durable of it, from its beginning. Behind that, the items
    /// of one file in one batch of the daemon may be durable too, all of them or none, and such parts in
    /// any order. Sending the stream again is safe.
    #[serde(flatten)]
    pub prefix: Option<StreamCommitted>,
}

/// The answer to `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: Decimal,
    /// The archive's directory.
    pub archive: String,
    /// Open connections, this one included.
    pub connections: Decimal,
    /// Bytes of request bodies that are held at the moment.
    pub held_bytes: Decimal,
    /// The five columns.
    pub columns: Vec<ColumnStatus>,
}

/// One column, as `/v1/status` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnStatus {
    /// The short name.
    pub column: String,
    /// The long name.
    pub name: String,
    /// The highest slot with a record.
    pub highest_slot: Option<Decimal>,
    /// Whether skipped slots behind the highest may be filled.
    pub backfill: bool,
    /// The bound on one value, in bytes.
    pub max_value_bytes: Decimal,
    /// Jobs that wait or are being written.
    pub queued_jobs: Decimal,
    /// Bytes of their payloads.
    pub queued_bytes: Decimal,
    /// The failure after which nothing more is written until a restart.
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
    fn a_refusal_carries_the_prefix_of_a_stream_only() {
        let refusal = Refusal {
            error: "Conflict".to_owned(),
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
