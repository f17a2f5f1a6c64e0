//! The small containers of states and blocks as values (consensus specification, "Containers").

use crate::root::Root;

/// Reads the fields of a fixed-size container in order. The length of the bytes is checked before.
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Fields<'b> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        *self.borrow()
    }

    pub(crate) fn borrow<const N: usize>(&mut self) -> &'b [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                field
            }
            None => &[0; N],
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    pub(crate) fn root(&mut self) -> Root {
        Root(self.bytes())
    }

    pub(crate) fn checkpoint(&mut self) -> Checkpoint {
        Checkpoint { epoch: self.number(), root: self.root() }
    }
}

/// A container of fixed size.
pub(crate) trait Fixed: Sized {
    /// Length of its encoding.
    const BYTES: usize;

    fn read(fields: &mut Fields<'_>) -> Self;

    fn write(&self, out: &mut Vec<u8>);

    /// Reads a list of it.
    fn read_list<C: FromIterator<Self>>(bytes: &[u8]) -> C {
        bytes.chunks_exact(Self::BYTES).map(|bytes| Self::read(&mut Fields(bytes))).collect()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) epoch: u64,
    pub(crate) root: Root,
}

impl Fixed for Checkpoint {
    const BYTES: usize = 40;

    fn read(fields: &mut Fields<'_>) -> Self {
        fields.checkpoint()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.root.0);
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of epoch {}", self.root, self.epoch)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Eth1Data {
    pub(crate) deposit_root: Root,
    pub(crate) deposit_count: u64,
    pub(crate) block_hash: Root,
}

impl Fixed for Eth1Data {
    const BYTES: usize = 72;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            deposit_root: fields.root(),
            deposit_count: fields.number(),
            block_hash: fields.root(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.deposit_root.0);
        out.extend_from_slice(&self.deposit_count.to_le_bytes());
        out.extend_from_slice(&self.block_hash.0);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttestationData {
    pub(crate) slot: u64,
    pub(crate) index: u64,
    pub(crate) beacon_block_root: Root,
    pub(crate) source: Checkpoint,
    pub(crate) target: Checkpoint,
}

impl Fixed for AttestationData {
    const BYTES: usize = 128;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            slot: fields.number(),
            index: fields.number(),
            beacon_block_root: fields.root(),
            source: fields.checkpoint(),
            target: fields.checkpoint(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.beacon_block_root.0);
        self.source.write(out);
        self.target.write(out);
    }
}

/// An attestation that phase0 keeps in the state until the end of the next epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingAttestation {
    /// The encoded bitlist.
    pub(crate) aggregation_bits: Box<[u8]>,
    pub(crate) data: AttestationData,
    pub(crate) inclusion_delay: u64,
    pub(crate) proposer_index: u64,
}

/// The part of a `PendingAttestation` before its bits: an offset and the other fields.
pub(crate) const PENDING_ATTESTATION_FIXED: usize = 4 + AttestationData::BYTES + 8 + 8;

impl PendingAttestation {
    /// Reads an encoded attestation of at least [`PENDING_ATTESTATION_FIXED`] bytes.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let _offset: [u8; 4] = fields.bytes();
        let data = AttestationData::read(&mut fields);
        let (inclusion_delay, proposer_index) = (fields.number(), fields.number());
        Self { aggregation_bits: fields.0.into(), data, inclusion_delay, proposer_index }
    }

    pub(crate) fn byte_len(&self) -> usize {
        PENDING_ATTESTATION_FIXED + self.aggregation_bits.len()
    }

    #[expect(clippy::cast_possible_truncation, reason = "a constant below 2^32")]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(PENDING_ATTESTATION_FIXED as u32).to_le_bytes());
        self.data.write(out);
        out.extend_from_slice(&self.inclusion_delay.to_le_bytes());
        out.extend_from_slice(&self.proposer_index.to_le_bytes());
        out.extend_from_slice(&self.aggregation_bits);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingDeposit {
    pub(crate) pubkey: [u8; 48],
    pub(crate) withdrawal_credentials: [u8; 32],
    pub(crate) amount: u64,
    pub(crate) signature: [u8; 96],
    pub(crate) slot: u64,
}

impl Fixed for PendingDeposit {
    const BYTES: usize = 192;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            pubkey: fields.bytes(),
            withdrawal_credentials: fields.bytes(),
            amount: fields.number(),
            signature: fields.bytes(),
            slot: fields.number(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pubkey);
        out.extend_from_slice(&self.withdrawal_credentials);
        out.extend_from_slice(&self.amount.to_le_bytes());
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(&self.slot.to_le_bytes());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingPartialWithdrawal {
    pub(crate) validator_index: u64,
    pub(crate) amount: u64,
    pub(crate) withdrawable_epoch: u64,
}

impl Fixed for PendingPartialWithdrawal {
    const BYTES: usize = 24;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            validator_index: fields.number(),
            amount: fields.number(),
            withdrawable_epoch: fields.number(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.validator_index, self.amount, self.withdrawable_epoch] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingConsolidation {
    pub(crate) source_index: u64,
    pub(crate) target_index: u64,
}

impl Fixed for PendingConsolidation {
    const BYTES: usize = 16;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self { source_index: fields.number(), target_index: fields.number() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.source_index.to_le_bytes());
        out.extend_from_slice(&self.target_index.to_le_bytes());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    pub(crate) index: u64,
    pub(crate) validator_index: u64,
    pub(crate) address: [u8; 20],
    pub(crate) amount: u64,
}

impl Fixed for Withdrawal {
    const BYTES: usize = 44;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            index: fields.number(),
            validator_index: fields.number(),
            address: fields.bytes(),
            amount: fields.number(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.validator_index.to_le_bytes());
        out.extend_from_slice(&self.address);
        out.extend_from_slice(&self.amount.to_le_bytes());
    }
}

impl std::fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, validator_index, amount, .. } = self;
        write!(f, "withdrawal {index} of {amount} Gwei for validator {validator_index}")
    }
}
