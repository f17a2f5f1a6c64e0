"""Values as a whole: `FORMAT.md`, sections 1 and 2."""

from dataclasses import dataclass, field

import predicted
import sections
import slots
from coding import Refused, Sink, Source, crc32c, require
from layout import FORKS, PRESETS, VALIDATOR, Preset, State, fields, number

COLUMNS, SLOT, GENERIC = 1, 2, 3
SMALL, WHOLE = 0, 255
HEADER_BYTES, ENTRY_BYTES = 64, 10

NAMES = """genesis_time genesis_validators_root slot fork latest_block_header block_roots state_roots
historical_roots eth1_data eth1_data_votes eth1_deposit_index validators balances randao_mixes slashings
previous_epoch_attestations current_epoch_attestations previous_epoch_participation current_epoch_participation
justification_bits previous_justified_checkpoint current_justified_checkpoint finalized_checkpoint
inactivity_scores current_sync_committee next_sync_committee latest_execution_payload_header
next_withdrawal_index next_withdrawal_validator_index historical_summaries deposit_requests_start_index
deposit_balance_to_consume exit_balance_to_consume earliest_exit_epoch consolidation_balance_to_consume
earliest_consolidation_epoch pending_deposits pending_partial_withdrawals pending_consolidations
proposer_lookahead""".split()
NUMBERS = {name: index + 1 for index, name in enumerate(NAMES)}

# The lists with an element per validator, in an order in which each finds those that it is predicted from.
LISTS = {
    "inactivity_scores": 8,
    "balances": 8,
    "previous_epoch_participation": 1,
    "current_epoch_participation": 1,
}
# Their lengths follow from the number of validators.
BY_VALIDATOR = {"validators": VALIDATOR} | LISTS


@dataclass
class Context:
    """What a value needs besides its base: the base's root, and the roots in `bbr` and `bsr` by slot."""

    base_root: bytes
    block_roots: dict[int, bytes]
    state_roots: dict[int, bytes]

    def roots(self, name: str):
        return (self.block_roots if name == "block_roots" else self.state_roots).__getitem__


@dataclass
class Header:
    kind: int
    fork: int
    preset: int
    slot: int
    base_slot: int
    base_tag: bytes
    byte_len: int
    base_validators: int
    validators: int
    chunk_log: int = 16
    sections: list[tuple[int, int, bytes]] = field(default_factory=list)

    def encode(self) -> bytes:
        table, bodies = b"", b""
        for of, encoding, body in sorted(self.sections):
            table += bytes([of, encoding]) + len(body).to_bytes(4, "little")
            table += crc32c(body).to_bytes(4, "little")
            bodies += body
        start = b"CSD1" + bytes([1, self.kind, self.fork, self.preset])
        for value in (self.slot, self.base_slot):
            start += value.to_bytes(8, "little")
        start += self.base_tag + self.byte_len.to_bytes(8, "little")
        for value in (self.base_validators, self.validators):
            start += value.to_bytes(4, "little")
        start += len(self.sections).to_bytes(2, "little") + bytes([self.chunk_log, 0])
        start += (HEADER_BYTES + len(table) + len(bodies)).to_bytes(4, "little")
        checksum = crc32c(start + bytes(8) + table).to_bytes(4, "little")
        return start + checksum + bytes(4) + table + bodies

    @classmethod
    def decode(cls, value: bytes) -> "Header":
        require(len(value) >= HEADER_BYTES, f"a value of {len(value)} bytes")
        source = Source(value[:HEADER_BYTES])
        require(source.take(4) == b"CSD1", "no CSD1")
        require(source.u8() == 1, "an unknown version")
        kind, fork, preset = source.take(3)
        slot, base_slot = (number(source.take(8)) for _ in range(2))
        base_tag, byte_len = source.take(8), number(source.take(8))
        base_validators, validators = (number(source.take(4)) for _ in range(2))
        count, chunk_log, zero = number(source.take(2)), source.u8(), source.u8()
        value_len, checksum, zeros = (number(source.take(4)) for _ in range(3))
        require(zero == zeros == 0, "reserved bytes")
        require(value_len == len(value), f"{len(value)} bytes, wanted {value_len}")
        table = value[HEADER_BYTES : HEADER_BYTES + ENTRY_BYTES * count]
        require(len(table) == ENTRY_BYTES * count, "a table that is cut")
        unsigned = value[:56] + bytes(4) + value[60:HEADER_BYTES]
        require(crc32c(unsigned + table) == checksum, "the checksum of the header")
        require(kind in (COLUMNS, SLOT, GENERIC) and preset < len(PRESETS), "an unknown kind")
        require(4 <= chunk_log <= 20, f"chunks of 2^{chunk_log}")
        require(base_slot < slot, f"slot {slot} on {base_slot}")
        header = cls(
            kind, fork, preset, slot, base_slot, base_tag, byte_len, base_validators, validators, chunk_log
        )
        at, last = HEADER_BYTES + len(table), -1
        for entry in (table[i : i + ENTRY_BYTES] for i in range(0, len(table), ENTRY_BYTES)):
            byte_len = number(entry[2:6])
            body = value[at : at + byte_len]
            require(len(body) == byte_len and entry[0] > last, f"section {entry[0]}")
            require(crc32c(body) == number(entry[6:10]), f"the checksum of section {entry[0]}")
            header.sections.append((entry[0], entry[1], body))
            at, last = at + byte_len, entry[0]
        require(at == len(value), f"{len(value) - at} bytes after the sections")
        return header


def is_small(of: "sections.Field") -> bool:
    return of.size is not None and of.size <= 128 and of.item is None and of.name != "slot"


def decode(value: bytes, base: bytes, base_fork: str, context: Context) -> bytes:
    """The state of a value on its base, both as SSZ."""
    header = Header.decode(value)
    require(header.base_tag == context.base_root[:8], "another base")
    require(header.byte_len <= 2 * len(base) + 2**26, f"a state of {header.byte_len} bytes")
    if header.kind == GENERIC:
        kinds = [(header.fork, of, encoding) for of, encoding, _ in header.sections]
        require(kinds == [(255, WHOLE, 10)], f"kind 3 with {kinds}")
        source = Source(header.sections[0][2])
        ssz = sections.read_pieces(source, base, header.byte_len)
        source.end()
        require(number(ssz[40:48]) == header.slot, f"a state of slot {number(ssz[40:48])}")
        return ssz
    require(header.fork < len(FORKS), f"fork {header.fork}")
    preset, fork = Preset(PRESETS[header.preset]), FORKS[header.fork]
    old = State.decode(preset, base_fork, base)
    require(old.slot == header.base_slot, f"a base of slot {old.slot}")
    require(len(old.values["validators"]) == header.base_validators * VALIDATOR, "validators of the base")
    added = header.validators - header.base_validators
    require(0 <= added <= 2**20, f"{added} added validators")
    by_name = {}
    for of, encoding, body in header.sections:
        name = NAMES[of - 1] if 0 < of <= len(NAMES) else None
        if name is None and of != SMALL or name == "slot":
            require(encoding & 0x80, f"an unknown field {of}")
        else:
            by_name[name] = (encoding, body)
    in_chunks = {encoding & 0x7F in (5, 6, 7) for name, (encoding, _) in by_name.items() if name in LISTS}
    require(len(in_chunks) <= 1, "lists in chunks, and others")
    if header.kind == SLOT:
        per_epoch = preset.slots_per_epoch
        require(header.slot == header.base_slot + 1, "kind 2 on another than the slot before")
        require(header.slot % per_epoch != 0, "kind 2 across two epochs")
        require(in_chunks <= {False}, "lists in chunks in kind 2")
    return Decoder(header, old, State(preset, fork, {}), by_name, context).run()


class Decoder:
    """Makes the fields of a state, in an order in which each finds those that it needs."""

    def __init__(self, header, base, state, by_name, context):
        self.header, self.base, self.state, self.context = header, base, state, context
        self.by_name = by_name

    def run(self) -> bytes:
        layout = fields(self.state.preset, self.state.fork)
        self.state.values["slot"] = self.header.slot.to_bytes(8, "little")
        self.small_fields([of for of in layout if is_small(of)])
        order = list(LISTS)
        for of in sorted(layout, key=lambda of: order.index(of.name) if of.name in LISTS else -1):
            if of.name not in self.state.values:
                self.state.values[of.name] = self.field(of)
        require(not self.by_name, f"sections of no field of {self.state.fork}: {list(self.by_name)}")
        ssz = self.state.encode()
        require(len(ssz) == self.header.byte_len, f"{len(ssz)} bytes, wanted {self.header.byte_len}")
        return ssz

    def small_fields(self, small):
        encoding, body = self.by_name.pop(None, (12, bytes(8)))
        require(encoding == 12, f"small fields by encoding {encoding}")
        source = Source(body)
        mask = number(source.take(8))
        changed = [of for of in small if mask >> NUMBERS[of.name] & 1]
        require(mask == sum(1 << NUMBERS[of.name] for of in changed), f"the mask {mask:x}")
        new = Source(source.packed(sum(of.size for of in changed)))
        source.end()
        for of in small:
            if of in changed:
                self.state.values[of.name] = new.take(of.size)
            else:
                require(of.name in self.base.values, f"{of.name} is nowhere")
                self.state.values[of.name] = self.base.values[of.name]

    def field(self, of) -> bytes:
        base = self.base.values.get(of.name)
        if of.name not in self.by_name:
            if of.name in LISTS:
                return continued(base, self.header.validators * LISTS[of.name])
            require(base is not None, f"{of.name} is nowhere")
            return base
        encoding, body = self.by_name.pop(of.name)
        source = Source(body)
        if of.size is not None:
            length = of.size
        elif of.name in BY_VALIDATOR:
            length = self.header.validators * BY_VALIDATOR[of.name]
        else:
            length = source.varint()
            require(length <= self.header.byte_len, f"{of.name} of {length} bytes")
        new = self.content(of, encoding & 0x7F, source, base, length)
        source.end()
        require(len(new) == length, f"{of.name}: {len(new)} bytes, wanted {length}")
        if of.name == "latest_execution_payload_header":
            check_payload_header(new, self.state.fork)
        return new

    def content(self, of, encoding: int, source: Source, base: bytes | None, length: int) -> bytes:
        old = base or b""
        of_base = predicted.Base(self.base, self.header.validators, self.header.chunk_log)
        if self.header.kind == SLOT and encoding == 9 and of.name == "balances":
            return slots.read_balances(source, self.base, self.header.validators)
        if self.header.kind == SLOT and encoding == 8 and LISTS.get(of.name) == 1:
            return slots.read_participation(source, self.base, of.name, self.header.validators)
        if encoding == 5 and of.name == "balances":
            scores = self.state.values.get("inactivity_scores", b"")
            return predicted.read_balances(source, of_base, scores)
        if encoding == 6 and of.name == "inactivity_scores":
            return predicted.read_scores(source, of_base)
        if encoding == 7 and of.name in LISTS and LISTS[of.name] == 1:
            return predicted.read_participation(source, of_base)
        if of.name == "validators":
            require(encoding == 4, f"validators by encoding {encoding}")
            return sections.read_validators(source, old, self.header.validators)
        if encoding == 0:
            return source.packed(length)
        if encoding == 1 and of.item:
            return sections.read_runs(source, old, length, of.item)
        if encoding == 2 and of.item == 8:
            return sections.read_differences(source, old, length)
        if encoding == 3 and of.item:
            return sections.read_kept(source, old, length, of.item)
        if encoding == 10:
            return sections.read_pieces(source, old, length)
        if encoding == 13 and of.name in ("block_roots", "state_roots") and base is not None:
            distance = range(self.header.base_slot, self.header.slot)
            return sections.read_recent_roots(source, base, distance, self.context.roots(of.name))
        raise Refused(f"{of.name} by encoding {encoding}")


def check_payload_header(header: bytes, fork: str):
    """Its only field of variable length is extra_data, of at most 32 bytes, whose offset is at 436."""
    fixed = 536 + 32 * (FORKS.index(fork) >= FORKS.index("capella")) + 16 * (FORKS.index(fork) >= FORKS.index("deneb"))
    found = number(header[436:440])
    require(found == fixed <= len(header) <= fixed + 32, f"a payload header of {fork} with the offset {found}")


def continued(base: bytes | None, length: int) -> bytes:
    """A list with an element per validator, with zeros for the added ones."""
    return (base or b"") + bytes(length - len(base or b""))


def encode(base: bytes, base_fork: str, new: bytes, fork: str, context: Context, choice) -> bytes:
    """A value by a `choice`: its `preset`, `kind`, `chunk_log`, how bytes are packed, and the encoding of each field."""
    index = PRESETS.index(choice.preset.name)
    if choice.kind == GENERIC:
        slots = (number(new[40:48]), number(base[40:48]))
        header = Header(GENERIC, 255, index, *slots, context.base_root[:8], len(new), 0, 0, choice.chunk_log)
        sink = Sink(choice.method)
        sections.write_pieces(sink, base, new)
        header.sections.append((WHOLE, 10, bytes(sink.data)))
        return header.encode()
    old, state = State.decode(choice.preset, base_fork, base), State.decode(choice.preset, fork, new)
    counts = (len(of.values["validators"]) // VALIDATOR for of in (old, state))
    header = Header(
        choice.kind, FORKS.index(fork), index, state.slot, old.slot, context.base_root[:8], len(new), *counts,
        choice.chunk_log,
    )
    layout = fields(choice.preset, fork)
    small = [of for of in layout if is_small(of) and old.values.get(of.name) != state.values[of.name]]
    if small:
        sink = Sink(choice.method)
        sink.put(sum(1 << NUMBERS[of.name] for of in small).to_bytes(8, "little"))
        sink.packed(b"".join(state.values[of.name] for of in small))
        header.sections.append((SMALL, 12, bytes(sink.data)))
    for of in layout:
        before = old.values.get(of.name)
        if of.name in LISTS:
            before = continued(before, len(state.values[of.name]))
        if of.name == "slot" or is_small(of) or before == state.values[of.name]:
            continue
        encoding, body = encode_field(of, old, state, context, choice)
        header.sections.append((NUMBERS[of.name], encoding, body))
    return header.encode()


def encode_field(of, old: State, state: State, context: Context, choice) -> tuple[int, bytes]:
    base, new = old.values.get(of.name), state.values[of.name]
    before = base or b""
    distance = range(old.slot, state.slot)
    count = len(state.values["validators"]) // VALIDATOR
    of_base = predicted.Base(old, count, choice.chunk_log)
    scores = state.values.get("inactivity_scores", b"")
    possible = {
        0: lambda sink: sink.packed(new),
        1: lambda sink: sections.write_runs(sink, before, new, of.item),
        2: lambda sink: sections.write_differences(sink, before, new),
        3: lambda sink: sections.write_kept(sink, before, new, of.item),
        4: lambda sink: sections.write_validators(sink, before, new),
        5: lambda sink: predicted.write_balances(sink, of_base, scores, new, choice),
        6: lambda sink: predicted.write_scores(sink, of_base, new, choice),
        7: lambda sink: predicted.write_participation(sink, of_base, new),
        8: lambda sink: slots.write_participation(sink, old, of.name, new, choice),
        9: lambda sink: slots.write_balances(sink, old, new, choice),
        10: lambda sink: sections.write_pieces(sink, before, new),
        13: lambda sink: sections.write_recent_roots(sink, base, distance, context.roots(of.name)),
    }
    encoding = choice.encoding(of, base)
    sink = Sink(choice.method)
    if of.size is None and of.name not in BY_VALIDATOR:
        sink.varint(len(new))
    possible[encoding](sink)
    return encoding, bytes(sink.data)
