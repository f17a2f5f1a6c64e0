//! The header of a value and the table of its sections (FORMAT.md, section 1).

use coldstore::Slot;
use coldstore_consensus::{Fork, Preset};

use super::fault::{Decoded, Wrong};

pub(crate) const MAGIC: [u8; 4] = *b"CSD1";
const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 10;
const CRC_AT: usize = 56;
/// The fork of a state of unknown layout.
const UNKNOWN_FORK: u8 = 255;
/// An encoding with this bit may be ignored by who does not know it.
const OPTIONAL: u8 = 0x80;
pub(crate) const CHUNK_LOG2: std::ops::RangeInclusive<u8> = 4..=20;
/// Validators that a diff may add.
const MAX_ADDED_VALIDATORS: u32 = 1 << 20;
/// Bytes of a state that may be longer than twice its base.
const MAX_ADDED_BYTES: u64 = 64 << 20;

/// The kind of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fields in columns, on any earlier state.
    Columns = 1,
    /// The same on the state of the slot before, within an epoch.
    Slot = 2,
    /// The state in pieces, for unknown layouts.
    Generic = 3,
}

/// The names of fields by number. A number is never used for another name.
pub(crate) const FIELDS: [&str; 41] = [
    SMALL_FIELDS,
    "genesis_time",
    "genesis_validators_root",
    "slot",
    "fork",
    "latest_block_header",
    "block_roots",
    "state_roots",
    "historical_roots",
    "eth1_data",
    "eth1_data_votes",
    "eth1_deposit_index",
    "validators",
    "balances",
    "randao_mixes",
    "slashings",
    "previous_epoch_attestations",
    "current_epoch_attestations",
    "previous_epoch_participation",
    "current_epoch_participation",
    "justification_bits",
    "previous_justified_checkpoint",
    "current_justified_checkpoint",
    "finalized_checkpoint",
    "inactivity_scores",
    "current_sync_committee",
    "next_sync_committee",
    "latest_execution_payload_header",
    "next_withdrawal_index",
    "next_withdrawal_validator_index",
    "historical_summaries",
    "deposit_requests_start_index",
    "deposit_balance_to_consume",
    "exit_balance_to_consume",
    "earliest_exit_epoch",
    "consolidation_balance_to_consume",
    "earliest_consolidation_epoch",
    "pending_deposits",
    "pending_partial_withdrawals",
    "pending_consolidations",
    "proposer_lookahead",
];
/// Number 0: all small fields together.
pub(crate) const SMALL_FIELDS: &str = "small fields";
/// The number of a state of unknown layout.
const WHOLE_NUMBER: u8 = 255;
/// The name under which it is reported.
pub(crate) const WHOLE: &str = "the whole state";

/// The number of a field.
pub(crate) fn number_of(name: &str) -> Option<u8> {
    if name == WHOLE {
        return Some(WHOLE_NUMBER);
    }
    (0..).zip(FIELDS).find(|(_, field)| *field == name).map(|(number, _)| number)
}

fn name_of(number: u8) -> Option<&'static str> {
    match number {
        WHOLE_NUMBER => Some(WHOLE),
        number => FIELDS.get(usize::from(number)).copied(),
    }
}

/// What a value says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// `None` for an unknown layout.
    pub(crate) fork: Option<Fork>,
    pub(crate) preset: Preset,
    pub(crate) slot: Slot,
    pub(crate) base_slot: Slot,
    /// The first bytes of the root of the base.
    pub(crate) base_tag: [u8; 8],
    /// Length of the encoded state.
    pub(crate) ssz_len: u64,
    pub(crate) base_validators: u32,
    pub(crate) validators: u32,
    pub(crate) chunk_log2: u8,
}

/// A section of a value.
#[derive(Clone, Debug)]
pub(crate) struct Section<'v> {
    pub(crate) field: &'static str,
    pub(crate) encoding: u8,
    bytes: &'v [u8],
    crc: u32,
}

impl<'v> Section<'v> {
    /// The section's bytes, if they have its checksum.
    pub(crate) fn bytes(&self) -> Decoded<&'v [u8]> {
        match crc32c::crc32c(self.bytes) {
            found if found == self.crc => Ok(self.bytes),
            found => Err(Wrong::new(
                format_args!("a section with CRC-32C {:08x}", self.crc),
                format_args!("{found:08x}"),
            )),
        }
    }

    /// Its length.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Appends what a section has in the value. Sections are put in ascending order of their fields' numbers.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    table: Vec<u8>,
    bytes: Vec<u8>,
    count: u16,
}

impl Sections {
    pub(crate) fn put(&mut self, field: &str, encoding: u8, bytes: &[u8]) {
        let number = number_of(field);
        let byte_len = u32::try_from(bytes.len());
        debug_assert!(number.is_some() && byte_len.is_ok());
        self.table.extend([number.unwrap_or_default(), encoding]);
        self.table.extend(byte_len.unwrap_or(u32::MAX).to_le_bytes());
        self.table.extend(crc32c::crc32c(bytes).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
    }
}

impl Header {
    /// The value with this header and these sections.
    pub(crate) fn write(&self, sections: &Sections) -> Vec<u8> {
        let value_len = HEADER_BYTES + sections.table.len() + sections.bytes.len();
        let mut value = Vec::with_capacity(value_len);
        value.extend(MAGIC);
        let fork = self.fork.map_or(UNKNOWN_FORK, |fork| fork as u8);
        value.extend([VERSION, self.kind as u8, fork, preset_number(self.preset)]);
        value.extend(self.slot.0.to_le_bytes());
        value.extend(self.base_slot.0.to_le_bytes());
        value.extend(self.base_tag);
        value.extend(self.ssz_len.to_le_bytes());
        value.extend(self.base_validators.to_le_bytes());
        value.extend(self.validators.to_le_bytes());
        value.extend(sections.count.to_le_bytes());
        value.extend([self.chunk_log2, 0]);
        value.extend(u32::try_from(value_len).unwrap_or(u32::MAX).to_le_bytes());
        debug_assert_eq!(value.len(), CRC_AT);
        value.extend([0; HEADER_BYTES - CRC_AT]);
        value.extend_from_slice(&sections.table);
        let crc = crc32c::crc32c(&value);
        value[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        value.extend_from_slice(&sections.bytes);
        value
    }

    /// Reads the header and the table of sections, and checks both.
    pub(crate) fn read(value: &[u8]) -> Decoded<(Self, Vec<Section<'_>>)> {
        let Some(header) = value.first_chunk::<HEADER_BYTES>() else {
            let wanted = format!("a header of {HEADER_BYTES} bytes");
            return Err(Wrong::new(wanted, format_args!("{} bytes", value.len())));
        };
        if header[..5] != [&MAGIC[..], &[VERSION]].concat() {
            let found = const_hex::encode(&header[..5]);
            return Err(Wrong::new("the magic CSD1 and version 1", found));
        }
        let value_len = u32_at(header, 52) as usize;
        if value_len != value.len() {
            let found = format!("{}", value.len());
            return Err(Wrong::new(format_args!("a value of {value_len} bytes"), found));
        }
        let table_len = usize::from(u16::from_le_bytes([header[48], header[49]])) * ENTRY_BYTES;
        let Some((head, rest)) = value.split_at_checked(HEADER_BYTES + table_len) else {
            let wanted = format!("a table of {table_len} bytes");
            return Err(Wrong::new(wanted, format_args!("{} bytes", value.len() - HEADER_BYTES)));
        };
        check_crc(head)?;
        let header = Self::of(header)?;
        header.check()?;
        Ok((header, sections(&head[HEADER_BYTES..], rest)?))
    }

    fn of(bytes: &[u8; HEADER_BYTES]) -> Decoded<Self> {
        let kind = match bytes[5] {
            1 => Kind::Columns,
            2 => Kind::Slot,
            3 => Kind::Generic,
            kind => return Err(Wrong::new("a kind from 1 to 3", kind)),
        };
        let fork = match (bytes[6], Fork::ALL.get(usize::from(bytes[6]))) {
            (_, Some(fork)) => Some(*fork),
            (UNKNOWN_FORK, None) => None,
            (fork, None) => return Err(Wrong::new("a known fork", format_args!("fork {fork}"))),
        };
        let preset = Preset::ALL.into_iter().find(|preset| preset_number(*preset) == bytes[7]);
        let preset = preset
            .ok_or_else(|| Wrong::new("a known preset", format_args!("preset {}", bytes[7])))?;
        if bytes[51] != 0 || bytes[60..] != [0; 4] {
            return Err(Wrong::new("zeros in the header's reserved bytes", "others"));
        }
        Ok(Self {
            kind,
            fork,
            preset,
            slot: Slot(u64_at(bytes, 8)),
            base_slot: Slot(u64_at(bytes, 16)),
            base_tag: std::array::from_fn(|index| bytes[24 + index]),
            ssz_len: u64_at(bytes, 32),
            base_validators: u32_at(bytes, 40),
            validators: u32_at(bytes, 44),
            chunk_log2: bytes[50],
        })
    }

    pub(crate) fn check(&self) -> Decoded<()> {
        if self.base_slot >= self.slot {
            let wanted = format!("a base before slot {}", self.slot);
            return Err(Wrong::new(wanted, format_args!("slot {}", self.base_slot)));
        }
        if self.ssz_len > u64::from(u32::MAX) {
            let wanted = "a state of less than 4 GiB";
            return Err(Wrong::new(wanted, format_args!("{} bytes", self.ssz_len)));
        }
        if !CHUNK_LOG2.contains(&self.chunk_log2) {
            return Err(Wrong::new("chunks of 2^4 to 2^20", format_args!("2^{}", self.chunk_log2)));
        }
        let most = self.base_validators.saturating_add(MAX_ADDED_VALIDATORS);
        if !(self.base_validators..=most).contains(&self.validators) {
            let wanted = format!("{} to {most} validators", self.base_validators);
            return Err(Wrong::new(wanted, self.validators));
        }
        if self.fork.is_some() == (self.kind == Kind::Generic) {
            let found = format!("{:?} of {:?}", self.kind, self.fork);
            return Err(Wrong::new("a known fork, or the generic kind", found));
        }
        Ok(())
    }

    /// Checks the length of the state against that of its base.
    pub(crate) fn check_len(&self, base_len: u64) -> Decoded<()> {
        let most = base_len.saturating_mul(2).saturating_add(MAX_ADDED_BYTES);
        if self.ssz_len <= most {
            return Ok(());
        }
        let wanted = format!("a state of at most {most} bytes on one of {base_len}");
        Err(Wrong::new(wanted, self.ssz_len))
    }
}

fn check_crc(head: &[u8]) -> Decoded<()> {
    let crc = crc32c::crc32c(&head[..CRC_AT]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    let found = crc32c::crc32c_append(crc, &head[CRC_AT + 4..]);
    match u32_at(head, CRC_AT) {
        wanted if wanted == found => Ok(()),
        wanted => {
            let wanted = format!("a header with CRC-32C {wanted:08x}");
            Err(Wrong::new(wanted, format_args!("{found:08x}")))
        }
    }
}

/// The sections of a table, whose bytes follow one another.
fn sections<'v>(table: &[u8], mut rest: &'v [u8]) -> Decoded<Vec<Section<'v>>> {
    let mut sections: Vec<Section<'v>> = Vec::with_capacity(table.len() / ENTRY_BYTES);
    let mut last = None;
    for entry in table.as_chunks::<ENTRY_BYTES>().0 {
        let [number, encoding, ..] = *entry;
        if last.is_some_and(|last| last >= number) {
            return Err(Wrong::new("sections in ascending order of fields", number));
        }
        last = Some(number);
        let byte_len = u32_at(entry, 2) as usize;
        let Some((bytes, behind)) = rest.split_at_checked(byte_len) else {
            let wanted = format!("a section of {byte_len} bytes");
            return Err(Wrong::new(wanted, format_args!("{} bytes", rest.len())));
        };
        rest = behind;
        match name_of(number) {
            Some(field) => sections.push(Section { field, encoding, bytes, crc: u32_at(entry, 6) }),
            None if encoding & OPTIONAL != 0 => {}
            None => return Err(Wrong::new("a known field", format_args!("field {number}"))),
        }
    }
    match rest.len() {
        0 => Ok(sections),
        more => Err(Wrong::new("the end after the last section", format_args!("{more} bytes"))),
    }
}

fn preset_number(preset: Preset) -> u8 {
    match preset {
        Preset::Mainnet => 0,
        Preset::Minimal => 1,
        Preset::Gnosis => 2,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}
