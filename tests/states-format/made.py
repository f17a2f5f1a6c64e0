"""States that no chain has: numbers at the ends of what their types hold, in every combination of a class."""

from hashlib import sha256

from layout import VALIDATOR, State

ETH = 10**9
MOST = 2**64 - 1
EFFECTIVE_BALANCES = [32 * ETH, 31 * ETH, 2048 * ETH, 0, 32 * ETH, 2049 * ETH, 32 * ETH + 1, MOST, 64 * ETH, ETH]
SCORES = [0, 4, 0, 16, 100, MOST, 2**40, 0, 7]
BALANCES = [32 * ETH, 32 * ETH + 12345, 0, 1, MOST, 2048 * ETH, 31 * ETH - 1]


def u64(values: list[int]) -> bytes:
    return b"".join((value & MOST).to_bytes(8, "little") for value in values)


def noise(seed: str, index: int) -> int:
    return int.from_bytes(sha256(f"{seed} {index}".encode()).digest()[:8], "little")


def with_effective_balances(validators: bytes, shift: int) -> bytes:
    changed = bytearray(validators)
    for index in range(len(validators) // VALIDATOR):
        value = EFFECTIVE_BALANCES[(index + shift) % len(EFFECTIVE_BALANCES)]
        at = index * VALIDATOR + 80
        changed[at : at + 8] = value.to_bytes(8, "little")
    return bytes(changed)


def odd_base(of: State) -> State:
    state = State(of.preset, of.fork, dict(of.values))
    # As many validators that every class has some.
    validators = with_effective_balances(of.values["validators"] * 3, 0)
    count = len(validators) // VALIDATOR
    indices = range(count)
    state.values |= {
        "validators": validators,
        "balances": u64([BALANCES[index % len(BALANCES)] for index in indices]),
        "inactivity_scores": u64([SCORES[index % len(SCORES)] for index in indices]),
        "previous_epoch_participation": bytes(noise("previous", index) % 16 for index in indices),
        "current_epoch_participation": bytes(noise("current", index) % 256 for index in indices),
    }
    return state


def odd_next(base: State, slot: int, seed: str) -> State:
    """A state after it: changes by flags and score, exceptions, and three validators more."""
    state = State(base.preset, base.fork, dict(base.values))
    old, added = base.values, 3
    count = len(old["validators"]) // VALIDATOR
    flags = [byte & 7 for byte in old["previous_epoch_participation"]]

    def numbers(name: str) -> list[int]:
        return [int.from_bytes(old[name][at : at + 8], "little") for at in range(0, 8 * count, 8)]

    def is_exception(index: int) -> bool:
        return noise(seed, index) % 9 == 0

    scores = [
        noise(seed + " score", index) % 50 if is_exception(index) else max(0, min(score + (4 if of == 0 else -1), MOST))
        for index, (score, of) in enumerate(zip(numbers("inactivity_scores"), flags))
    ]
    balances = []
    for index, (balance, of) in enumerate(zip(numbers("balances"), flags)):
        change = (of - 3) * 1000 * (1 + index % 2)
        if is_exception(index):
            # To 32 ETH, to 0, by a sync duty, or anywhere.
            change = [32 * ETH - balance, -balance, 777, noise(seed + " balance", index)][index % 4]
        balances.append(balance + change)
    key = [of + 8 * (byte & 7) for of, byte in zip(flags, old["current_epoch_participation"])]
    new = [noise(seed, 1000 + index) if is_exception(index) else key[index] * 5 for index in range(count)]
    state.values |= {
        "slot": slot.to_bytes(8, "little"),
        "validators": with_effective_balances(old["validators"], 1) + old["validators"][: added * VALIDATOR],
        "balances": u64(balances + [32 * ETH, 0, MOST]),
        "inactivity_scores": u64(scores + [0, 1, MOST]),
        "previous_epoch_participation": bytes(old["current_epoch_participation"] + bytes([0, 7, 255])),
        "current_epoch_participation": bytes([byte % 256 for byte in new] + [0, 7, 255]),
    }
    return state
