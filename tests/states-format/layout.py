"""Layouts of beacon states, written from the consensus specification (phase0 to fulu).

A state is a fixed part, in which each variable field has a 4-byte offset, and the variable fields after it.
"""

from dataclasses import dataclass

FORKS = ["phase0", "altair", "bellatrix", "capella", "deneb", "electra", "fulu"]
PRESETS = ["mainnet", "minimal", "gnosis"]

# SLOTS_PER_EPOCH, SLOTS_PER_HISTORICAL_ROOT, EPOCHS_PER_HISTORICAL_VECTOR, EPOCHS_PER_SLASHINGS_VECTOR,
# SYNC_COMMITTEE_SIZE, MAX_COMMITTEES_PER_SLOT, TARGET_COMMITTEE_SIZE, SHUFFLE_ROUND_COUNT
CONSTANTS = {
    "mainnet": (32, 8192, 65536, 8192, 512, 64, 128, 90),
    "minimal": (8, 64, 64, 64, 32, 4, 4, 10),
    "gnosis": (16, 8192, 65536, 8192, 512, 64, 128, 90),
}


@dataclass(frozen=True)
class Preset:
    name: str

    def __post_init__(self):
        names = (
            "slots_per_epoch",
            "slots_per_historical_root",
            "epochs_per_historical_vector",
            "epochs_per_slashings_vector",
            "sync_committee_size",
            "max_committees_per_slot",
            "target_committee_size",
            "shuffle_round_count",
        )
        for name, value in zip(names, CONSTANTS[self.name]):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Field:
    """A field of a state: of `size` bytes, or variable; `item` is the length of an item of a list or vector."""

    name: str
    size: int | None
    item: int | None


ROOT = 32
U64 = 8
VALIDATOR = 48 + 32 + 8 + 1 + 4 * 8
ETH1_DATA = 32 + 8 + 32
HEADER = 8 + 8 + 3 * 32
FORK = 4 + 4 + 8
CHECKPOINT = 8 + 32
PENDING_DEPOSIT = 48 + 32 + 8 + 96 + 8


def fields(preset: Preset, fork: str) -> list[Field]:
    """The fields of a fork's state, in order."""
    since = FORKS.index(fork)

    def has(name: str) -> bool:
        return since >= FORKS.index(name)

    def fixed(name, size):
        return Field(name, size, None)

    def vector(name, item, count):
        return Field(name, item * count, item)

    def sequence(name, item):
        return Field(name, None, item)

    def variable(name):
        return Field(name, None, None)

    committee = 48 * preset.sync_committee_size + 48
    layout = [
        fixed("genesis_time", U64),
        fixed("genesis_validators_root", ROOT),
        fixed("slot", U64),
        fixed("fork", FORK),
        fixed("latest_block_header", HEADER),
        vector("block_roots", ROOT, preset.slots_per_historical_root),
        vector("state_roots", ROOT, preset.slots_per_historical_root),
        sequence("historical_roots", ROOT),
        fixed("eth1_data", ETH1_DATA),
        sequence("eth1_data_votes", ETH1_DATA),
        fixed("eth1_deposit_index", U64),
        sequence("validators", VALIDATOR),
        sequence("balances", U64),
        vector("randao_mixes", ROOT, preset.epochs_per_historical_vector),
        vector("slashings", U64, preset.epochs_per_slashings_vector),
    ]
    if has("altair"):
        layout += [
            sequence("previous_epoch_participation", 1),
            sequence("current_epoch_participation", 1),
        ]
    else:
        layout += [variable("previous_epoch_attestations"), variable("current_epoch_attestations")]
    layout += [
        fixed("justification_bits", 1),
        fixed("previous_justified_checkpoint", CHECKPOINT),
        fixed("current_justified_checkpoint", CHECKPOINT),
        fixed("finalized_checkpoint", CHECKPOINT),
    ]
    if has("altair"):
        layout += [
            sequence("inactivity_scores", U64),
            fixed("current_sync_committee", committee),
            fixed("next_sync_committee", committee),
        ]
    if has("bellatrix"):
        layout += [variable("latest_execution_payload_header")]
    if has("capella"):
        layout += [
            fixed("next_withdrawal_index", U64),
            fixed("next_withdrawal_validator_index", U64),
            sequence("historical_summaries", 2 * ROOT),
        ]
    if has("electra"):
        layout += [
            fixed("deposit_requests_start_index", U64),
            fixed("deposit_balance_to_consume", U64),
            fixed("exit_balance_to_consume", U64),
            fixed("earliest_exit_epoch", U64),
            fixed("consolidation_balance_to_consume", U64),
            fixed("earliest_consolidation_epoch", U64),
            sequence("pending_deposits", PENDING_DEPOSIT),
            sequence("pending_partial_withdrawals", 3 * U64),
            sequence("pending_consolidations", 2 * U64),
        ]
    if has("fulu"):
        # (MIN_SEED_LOOKAHEAD + 1) * SLOTS_PER_EPOCH
        layout += [vector("proposer_lookahead", U64, 2 * preset.slots_per_epoch)]
    return layout


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


class NotAState(Exception):
    """Bytes that are no state."""


class State:
    """A state as the bytes of its fields."""

    def __init__(self, preset: Preset, fork: str, values: dict[str, bytes]):
        self.preset, self.fork, self.values = preset, fork, values

    @property
    def slot(self) -> int:
        return number(self.values["slot"])

    @classmethod
    def decode(cls, preset: Preset, fork: str, ssz: bytes) -> "State":
        values, variable, at = {}, [], 0
        for field in fields(preset, fork):
            if field.size is None:
                variable.append((field, number(ssz[at : at + 4])))
                at += 4
            else:
                values[field.name] = ssz[at : at + field.size]
                at += field.size
        ends = [offset for _, offset in variable[1:]] + [len(ssz)]
        if variable[0][1] != at:
            raise NotAState(f"the first offset is {variable[0][1]}, not {at}")
        for (field, offset), end in zip(variable, ends):
            if not offset <= end <= len(ssz) or (end - offset) % (field.item or 1) != 0:
                raise NotAState(f"{field.name}: bytes {offset} to {end} of {len(ssz)}")
            values[field.name] = ssz[offset:end]
        return cls(preset, fork, values)

    def encode(self) -> bytes:
        layout = fields(self.preset, self.fork)
        at = sum(4 if field.size is None else field.size for field in layout)
        fixed, variable = [], []
        for field in layout:
            value = self.values[field.name]
            if field.size is None:
                fixed.append(at.to_bytes(4, "little"))
                variable.append(value)
                at += len(value)
            else:
                if len(value) != field.size:
                    raise NotAState(f"{field.name}: {len(value)} bytes")
                fixed.append(value)
        return b"".join(fixed + variable)
