"""Sections of `FORMAT.md`, sections 3 to 5: those that need no more than the base's field.

Of each encoding there is a reader and a writer of a section's content, after the length that the section of a
field of variable length begins with.
"""

from itertools import accumulate

from coding import MASK, Sink, Source, crc32c, require, unzigzag, zigzag
from layout import VALIDATOR, number

PIECE = 2**23
# Of a validator: pubkey, withdrawal_credentials, effective_balance, slashed, and four epochs.
COLUMNS = (48, 32, 8, 1, 8, 8, 8, 8)
STARTS = tuple(accumulate((0,) + COLUMNS))[:-1]


def items(data: bytes, width: int) -> list[bytes]:
    return [data[at : at + width] for at in range(0, len(data), width)]


def read_runs(source: Source, base: bytes, length: int, width: int) -> bytes:
    count, wanted = length // width, []
    place = 0
    for _ in range(source.varint()):
        place += source.varint()
        run = source.varint()
        require(place + run <= count, f"a run up to item {place + run} of {count}")
        wanted += range(place, place + run)
        place += run
    new = items(source.packed(len(wanted) * width), width)
    result = bytearray((base + bytes(length))[:length])
    for index, item in zip(wanted, new):
        result[index * width : (index + 1) * width] = item
    return bytes(result)


def write_runs(sink: Sink, base: bytes, new: bytes, width: int):
    before = items((base + bytes(len(new)))[: len(new)], width)
    runs, changed = [], []
    for index, (old, item) in enumerate(zip(before, items(new, width))):
        if old != item:
            if runs and sum(runs[-1]) == index:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((index, 1))
            changed.append(item)
    sink.varint(len(runs))
    end = 0
    for start, count in runs:
        sink.varint(start - end)
        sink.varint(count)
        end = start + count
    sink.packed(b"".join(changed))


def read_differences(source: Source, base: bytes, length: int) -> bytes:
    count = source.varint()
    places = source.gaps(count, length // 8)
    byte_len = source.varint()
    require(byte_len <= 10 * count, f"{byte_len} bytes for {count} numbers")
    differences = Source(source.packed(byte_len))
    result = bytearray((base + bytes(length))[:length])
    for place in places:
        at = slice(place * 8, place * 8 + 8)
        value = (number(result[at]) + unzigzag(differences.varint())) & MASK
        result[at] = value.to_bytes(8, "little")
    differences.end()
    return bytes(result)


def write_differences(sink: Sink, base: bytes, new: bytes):
    before = items((base + bytes(len(new)))[: len(new)], 8)
    changed = [
        (index, zigzag(number(item) - number(old)))
        for index, (old, item) in enumerate(zip(before, items(new, 8)))
        if old != item
    ]
    differences = Sink()
    for _, difference in changed:
        differences.varint(difference)
    sink.varint(len(changed))
    sink.gaps([index for index, _ in changed])
    sink.varint(len(differences.data))
    sink.packed(bytes(differences.data))


def read_kept(source: Source, base: bytes, length: int, width: int) -> bytes:
    left, kept = source.varint(), source.varint()
    require((left + kept) * width <= len(base), f"items {left} to {left + kept} of the base")
    require(kept * width <= length, f"{kept} items kept of a field of {length} bytes")
    return base[left * width : (left + kept) * width] + source.packed(length - kept * width)


def write_kept(sink: Sink, base: bytes, new: bytes, width: int):
    """Keeps the longest run of the base that the field begins with."""
    best = (0, 0)
    old, added = items(base, width), items(new, width)
    for left in range(len(old)):
        kept = 0
        while kept < min(len(old) - left, len(added)) and old[left + kept] == added[kept]:
            kept += 1
        if kept > best[1]:
            best = (left, kept)
    sink.varint(best[0])
    sink.varint(best[1])
    sink.packed(new[best[1] * width :])


def read_pieces(source: Source, base: bytes, length: int) -> bytes:
    pieces = []
    for at in range(0, length, PIECE):
        byte_len = min(PIECE, length - at)
        pieces.append(source.packed(byte_len, base[at : at + PIECE]))
    return b"".join(pieces)


def write_pieces(sink: Sink, base: bytes, new: bytes):
    for at in range(0, len(new), PIECE):
        piece = new[at : at + PIECE]
        sink.packed(piece, base[at : at + PIECE])


def read_recent_roots(source: Source, base: bytes, slots: range, root) -> bytes:
    """`root` gives that of a slot, `slots` are from the base's to before the state's."""
    count = len(base) // 32
    roots = [(slot, root(slot)) for slot in slots[-count:]]
    wanted, found = number(source.take(4)), crc32c(b"".join(root for _, root in roots))
    require(wanted == found, f"roots with the checksum {found:08x}, wanted {wanted:08x}")
    result = bytearray(base)
    for slot, root in roots:
        result[slot % count * 32 : slot % count * 32 + 32] = root
    return bytes(result)


def write_recent_roots(sink: Sink, base: bytes, slots: range, root):
    roots = [root(slot) for slot in slots[-(len(base) // 32) :]]
    sink.put(crc32c(b"".join(roots)).to_bytes(4, "little"))


def read_validators(source: Source, base: bytes, count: int) -> bytes:
    """`count` is the number of validators in the state."""
    before = len(base) // VALIDATOR
    changed = source.gaps(changed_count := source.varint(), before)
    masks = source.packed(changed_count)
    require(0 not in masks, "a validator without a changed column")
    result = bytearray(base)
    for bit, (start, width) in enumerate(zip(STARTS, COLUMNS)):
        of_column = [index for index, mask in zip(changed, masks) if mask >> bit & 1]
        values = items(source.packed(len(of_column) * width), width)
        for index, value in zip(of_column, values):
            at = index * VALIDATOR + start
            result[at : at + width] = value
    added = [
        items(source.packed((count - before) * width), width) for width in COLUMNS
    ]
    return bytes(result) + b"".join(b"".join(validator) for validator in zip(*added))


def write_validators(sink: Sink, base: bytes, new: bytes):
    def columns(validator: bytes) -> list[bytes]:
        return [validator[start : start + width] for start, width in zip(STARTS, COLUMNS)]

    old, all_new = items(base, VALIDATOR), items(new, VALIDATOR)
    changed = [index for index, was in enumerate(old) if was != all_new[index]]
    masks, values = bytearray(), [bytearray() for _ in COLUMNS]
    for index in changed:
        mask = 0
        for bit, (was, now) in enumerate(zip(columns(old[index]), columns(all_new[index]))):
            if was != now:
                mask |= 1 << bit
                values[bit] += now
        masks.append(mask)
    sink.varint(len(changed))
    sink.gaps(changed)
    sink.packed(bytes(masks))
    for column in values:
        sink.packed(bytes(column))
    added = [columns(validator) for validator in all_new[len(old) :]]
    for bit in range(len(COLUMNS)):
        sink.packed(b"".join(validator[bit] for validator in added))
