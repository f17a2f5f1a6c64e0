"""Lists with an element per validator: `FORMAT.md`, section 6."""

from coding import MASK, Source, require, unzigzag
from layout import VALIDATOR, State, number

GWEI_PER_ETH, NO_CLASS, CLASSES = 10**9, 2049, 2050
ORIGINS = {"balances": 32 * GWEI_PER_ETH, "inactivity_scores": 0}


def signed(value: int) -> int:
    """The number of a zigzagged one."""
    value = unzigzag(value)
    return value - 2**64 if value >= 2**63 else value


def chunks_of(source: Source, header) -> list[tuple[range, Source]]:
    """The validators of each chunk, and its bytes. They end the section."""
    size = 1 << header.chunk_log
    starts = range(0, header.validators, size)
    lengths = [source.varint() for _ in starts]
    return [
        (range(start, min(start + size, header.validators)), Source(source.take(length)))
        for start, length in zip(starts, lengths)
    ]


class Lists:
    """What lists are predicted from: those of the base, continued with zeros."""

    def __init__(self, header, base: State):
        self.header, self.base = header, base

    def old(self, name: str, width: int) -> list[int]:
        data = self.base.values.get(name, b"")
        data += bytes(self.header.validators * width - len(data))
        return [number(data[at : at + width]) for at in range(0, len(data), width)]

    def increments(self) -> list[int]:
        data, result = self.base.values["validators"], []
        for at in range(80, len(data), VALIDATOR):
            whole, rest = divmod(number(data[at : at + 8]), GWEI_PER_ETH)
            result.append(NO_CLASS if rest or whole > 2048 else whole)
        return result + [0] * (self.header.validators - len(result))

    def flags(self, which: str = "previous") -> list[int]:
        return [value & 7 for value in self.old(f"{which}_epoch_participation", 1)]

    def read_flags(self, source: Source) -> bytes:
        modes = source.packed(64)
        keys = [low + 8 * high for low, high in zip(self.flags(), self.flags("current"))]
        result = bytearray(modes[key] for key in keys)
        for validators, chunk in chunks_of(source, self.header):
            if chunk.data:
                count = chunk.varint()
                places = chunk.gaps(count, len(validators))
                for place, value in zip(places, chunk.packed(count)):
                    result[validators[place]] = value
            chunk.end()
        return bytes(result)

    def read_scores(self, source: Source) -> bytes:
        rates = [signed(source.varint()) for _ in range(8)]
        predicted = [
            score if increments == 0 else min(MASK, max(0, score + rates[flags]))
            for score, increments, flags in zip(
                self.old("inactivity_scores", 8), self.increments(), self.flags()
            )
        ]
        return self.with_exceptions(source, "inactivity_scores", predicted)

    def read_balances(self, source: Source, scores: list[int]) -> bytes:
        usual = [signed(source.varint()) for _ in range(8)]
        of_usual = [abs(u) * 2**16 // 32 * (1 if u > 0 else -1) for u in usual]
        rates = [rate + signed(source.varint()) for rate in of_usual]
        leak = source.varint()
        corrections, table, place = {}, Source(source.packed(source.varint())), 0
        while table.at < len(table.data):
            place += table.varint()
            require(place < 8 * CLASSES and place % CLASSES not in (32, NO_CLASS), f"class {place}")
            corrections[place] = signed(table.varint())
            place += 1
        predicted = []
        for balance, increments, flags, score in zip(
            self.old("balances", 8), self.increments(), self.flags(), scores
        ):
            change = penalty = 0
            if increments == 32:
                change = usual[flags]
            elif increments != NO_CLASS:
                change = wrapped(rates[flags] * increments) >> 16
                change += corrections.get(flags * CLASSES + increments, 0)
            if leak and not flags & 2 and increments != NO_CLASS:
                penalty = min(MASK, increments * GWEI_PER_ETH * score // leak)
            predicted.append((balance + change - penalty) & MASK)
        return self.with_exceptions(source, "balances", predicted)

    def with_exceptions(self, source: Source, name: str, predicted: list[int]) -> bytes:
        origin = ORIGINS[name]
        changes, values = source.take(2)
        require(changes + values <= 254, f"{changes + values} symbols")
        table = Source(source.packed(source.varint()))
        symbols = [unzigzag(table.varint()) for _ in range(changes + values)]
        table.end()
        for validators, chunk in chunks_of(source, self.header):
            form = chunk.u8() if chunk.data else None
            require(form in (None, 0, 1), f"a chunk of form {form}")
            if form == 0:
                count = chunk.varint()
                places = chunk.gaps(count, len(validators))
                listed = chunk.packed(count)
                escapes = b""
                if any(symbol >= 254 for symbol in listed):
                    escapes = chunk.packed(chunk.varint())
                escapes = Source(escapes)
                for place, symbol in zip(places, listed):
                    require(symbol >= 254 or symbol < len(symbols), f"symbol {symbol}")
                    value = unzigzag(escapes.varint()) if symbol >= 254 else symbols[symbol]
                    of_predicted = symbol < changes or symbol == 254
                    start = predicted[validators[place]] if of_predicted else origin
                    predicted[validators[place]] = (start + value) & MASK
                escapes.end()
            if form == 1:
                mask, differences = chunk.u8(), [0] * len(validators)
                for bit in (bit for bit in range(8) if mask >> bit & 1):
                    for place, byte in enumerate(chunk.packed(len(validators))):
                        differences[place] |= byte << 8 * bit
                for validator, difference in zip(validators, differences):
                    predicted[validator] = (predicted[validator] + unzigzag(difference)) & MASK
            chunk.end()
        return b"".join(value.to_bytes(8, "little") for value in predicted)


def wrapped(value: int) -> int:
    """A product as a signed number of 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
