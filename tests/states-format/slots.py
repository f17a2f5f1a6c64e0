"""Lists with an element per validator, from slot to slot: `FORMAT.md`, section 7, encodings 8 and 9."""

from collections import Counter

from coding import MASK, Sink, Source, require, unzigzag, zigzag
from committees import committees
from layout import VALIDATOR, State
from predicted import encoded, numbers

ETH = 10**9
TO_ZERO, TO_32_ETH, TO_2048_ETH, ON_REWARDED = range(4)
FIXED = {0: TO_ZERO, 32 * ETH: TO_32_ETH, 2048 * ETH: TO_2048_ETH}


def attesters(base: State, name: str) -> list[list[int]]:
    """By slot of the list's epoch."""
    epoch = base.slot // base.preset.slots_per_epoch
    if name == "previous_epoch_participation":
        epoch = max(epoch - 1, 0)
    return [sum(of_slot, []) for of_slot in committees(base, epoch)]


def continued(base: State, name: str, length: int) -> bytearray:
    value = base.values.get(name, b"")
    return bytearray(value + bytes(length - len(value)))


def keys(base: State, count: int) -> list[int]:
    return [byte & 7 for byte in continued(base, "previous_epoch_participation", count)]


def put_gaps(sink: Sink, places: list[int]):
    next_place = 0
    for place in places:
        sink.varint(place - next_place)
        next_place = place + 1


def read_gaps(source: Source, count: int, end: int) -> list[int]:
    places, next_place = [], 0
    for _ in range(count):
        place = next_place + source.varint()
        require(place < end, f"validator {place} of {end}")
        places.append(place)
        next_place = place + 1
    return places


def read_participation(source: Source, base: State, name: str, count: int) -> bytes:
    result, key, in_slots = continued(base, name, count), keys(base, count), attesters(base, name)
    taken, last = source.varint(), -1
    require(taken <= base.preset.slots_per_epoch, f"{taken} slots")
    ranked = []
    for _ in range(taken):
        place, *bits = source.take(9)
        require(last < place < base.preset.slots_per_epoch, f"slot {place} of the epoch")
        last = place
        for validator in in_slots[place]:
            result[validator] |= bits[key[validator]]
        ranked += in_slots[place]
    if taken:
        changed = source.varint()
        ranks = source.gaps(changed, len(ranked))
        for rank, byte in zip(ranks, source.packed(changed)):
            result[ranked[rank]] = byte
    changed = source.varint()
    length = source.varint()
    require(length <= 5 * changed, f"{length} bytes for {changed} validators")
    packed = Source(source.packed(length))
    validators = read_gaps(packed, changed, count)
    packed.end()
    for validator, byte in zip(validators, source.packed(changed)):
        result[validator] = byte
    return bytes(result)


def write_participation(sink: Sink, base: State, name: str, new: bytes, choice):
    old, key, in_slots = continued(base, name, len(new)), keys(base, len(new)), attesters(base, name)
    taken = []
    for place, members in enumerate(in_slots):
        if sum(old[of] != new[of] for of in members) * choice.slots_of_one_in >= len(members):
            taken.append(place)
    sink.varint(len(taken))
    ranked = []
    for place in taken:
        set_by_key = [Counter() for _ in range(8)]
        for of in in_slots[place]:
            set_by_key[key[of]][new[of] & ~old[of]] += 1
        bits = bytes(of.most_common(1)[0][0] if of else 0 for of in set_by_key)
        sink.put(bytes([place]) + bits)
        for of in in_slots[place]:
            old[of] |= bits[key[of]]
        ranked += in_slots[place]
    if taken:
        ranks = [rank for rank, of in enumerate(ranked) if old[of] != new[of]]
        sink.varint(len(ranks))
        sink.gaps(ranks)
        sink.packed(bytes(new[ranked[rank]] for rank in ranks))
        for of in ranked:
            old[of] = new[of]
    others = [of for of in range(len(new)) if old[of] != new[of]]
    gaps = Sink()
    put_gaps(gaps, others)
    sink.varint(len(others))
    sink.varint(len(gaps.data))
    sink.packed(bytes(gaps.data))
    sink.packed(bytes(new[of] for of in others))


def sync_members(base: State) -> list[int]:
    validators, first = base.values["validators"], {}
    for index in range(len(validators) // VALIDATOR):
        first.setdefault(validators[index * VALIDATOR : index * VALIDATOR + 48], index)
    committee = base.values.get("current_sync_committee", b"")[:-48]
    return [first[committee[at : at + 48]] for at in range(0, len(committee), 48)]


def rewarded(balances: list[int], members: list[int], reward: int, took_part: set[int]) -> list[int]:
    result = list(balances)
    for place, member in enumerate(members):
        change = reward if place in took_part else -reward
        result[member] = result[member] + change & MASK
    return result


def read_balances(source: Source, base: State, count: int) -> bytes:
    balances = numbers(bytes(continued(base, "balances", 8 * count)))
    reward = source.varint()
    if reward:
        members, listed = sync_members(base), source.u8()
        require(listed <= 1, f"members of kind {listed}")
        places = set(source.gaps(source.varint(), len(members)))
        took_part = places if listed else set(range(len(members))) - places
        balances = rewarded(balances, members, reward, took_part)
    changed = source.varint()
    length = source.varint()
    require(length <= 16 * changed, f"{length} bytes for {changed} balances")
    packed = Source(source.packed(length))
    validators = read_gaps(packed, changed, count)
    codes = packed.take(changed)
    for validator, code in zip(validators, codes):
        require(code <= ON_REWARDED, f"code {code}")
        if code == ON_REWARDED:
            balances[validator] = balances[validator] + unzigzag(packed.varint()) & MASK
        else:
            balances[validator] = list(FIXED)[code]
    packed.end()
    return encoded(balances)


def write_balances(sink: Sink, base: State, new: bytes, choice):
    balances, wanted = numbers(bytes(continued(base, "balances", len(new)))), numbers(new)
    members = sync_members(base)
    changes = Counter(
        abs(wanted[of] - balances[of]) for of in members if abs(wanted[of] - balances[of]) < ETH
    )
    changes.pop(0, None)
    reward = changes.most_common(1)[0][0] if changes else 0
    sink.varint(reward)
    if reward:
        took_part = {place for place, of in enumerate(members) if wanted[of] >= balances[of]}
        listed = took_part if choice.lists_who_took_part else set(range(len(members))) - took_part
        sink.put(bytes([choice.lists_who_took_part]))
        sink.varint(len(listed))
        sink.gaps(sorted(listed))
        balances = rewarded(balances, members, reward, took_part)
    changed = [of for of in range(len(wanted)) if wanted[of] != balances[of]]
    codes = bytes(FIXED.get(wanted[of], ON_REWARDED) for of in changed)
    packed = Sink()
    put_gaps(packed, changed)
    packed.put(codes)
    for of, code in zip(changed, codes):
        if code == ON_REWARDED:
            packed.varint(zigzag(wanted[of] - balances[of]))
    sink.varint(len(changed))
    sink.varint(len(packed.data))
    sink.packed(bytes(packed.data))
