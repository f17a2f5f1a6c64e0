"""Who attests when, written from the consensus specification: shuffling and committees of an epoch."""

from hashlib import sha256

from layout import VALIDATOR, State, number

DOMAIN_BEACON_ATTESTER = bytes.fromhex("01000000")
MIN_SEED_LOOKAHEAD = 1


def active_indices(validators: bytes, epoch: int) -> list[int]:
    active = []
    for index in range(len(validators) // VALIDATOR):
        at = index * VALIDATOR + 48 + 32 + 8 + 1 + 8
        activation, exit = number(validators[at : at + 8]), number(validators[at + 8 : at + 16])
        if activation <= epoch < exit:
            active.append(index)
    return active


def seed(state: State, epoch: int) -> bytes:
    count = state.preset.epochs_per_historical_vector
    at = (epoch + count - MIN_SEED_LOOKAHEAD - 1) % count * 32
    mix = state.values["randao_mixes"][at : at + 32]
    return sha256(DOMAIN_BEACON_ATTESTER + epoch.to_bytes(8, "little") + mix).digest()


def shuffled_index(index: int, count: int, seed: bytes, rounds: int, hashes: dict) -> int:
    def digest(text: bytes) -> bytes:
        if text not in hashes:
            hashes[text] = sha256(text).digest()
        return hashes[text]

    for round in range(rounds):
        start = seed + bytes([round])
        pivot = number(digest(start)[:8]) % count
        flip = (pivot + count - index) % count
        position = max(index, flip)
        source = digest(start + (position // 256).to_bytes(4, "little"))
        if source[position % 256 // 8] >> position % 8 & 1:
            index = flip
    return index


def committees(state: State, epoch: int) -> list[list[list[int]]]:
    """By slot of the epoch and by index: the validators of each committee, in order."""
    preset = state.preset
    active = active_indices(state.values["validators"], epoch)
    per_slot = len(active) // preset.slots_per_epoch // preset.target_committee_size
    per_slot = max(1, min(preset.max_committees_per_slot, per_slot))
    count, mix, hashes = per_slot * preset.slots_per_epoch, seed(state, epoch), {}
    shuffled = [
        active[shuffled_index(index, len(active), mix, preset.shuffle_round_count, hashes)]
        for index in range(len(active))
    ]
    every = [
        shuffled[len(active) * i // count : len(active) * (i + 1) // count] for i in range(count)
    ]
    return [every[i * per_slot : (i + 1) * per_slot] for i in range(preset.slots_per_epoch)]
