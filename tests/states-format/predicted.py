"""Lists with an element per validator, predicted from the base: `FORMAT.md`, section 6, encodings 5 to 7."""

from collections import Counter

from coding import MASK, Sink, Source, require, unzigzag, zigzag
from layout import VALIDATOR, State, number

ETH = 10**9
NOT_WHOLE = 2049
CLASSES = NOT_WHOLE + 1
LIST, PLANES = 0, 1
ON_PREDICTED, ON_ORIGIN = 254, 255
BALANCE_ORIGIN, SCORE_ORIGIN = 32 * ETH, 0
TIMELY_TARGET = 2


def signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


class Base:
    """What predictions are made from: of each validator of the state, what the base says of it."""

    def __init__(self, state: State, count: int, chunk_log: int):
        self.count, self.chunk = count, 1 << chunk_log
        self.balances = self.numbers(state, "balances")
        self.scores = self.numbers(state, "inactivity_scores")
        previous = self.bytes(state, "previous_epoch_participation")
        self.flags = [byte & 7 for byte in previous]
        current = self.bytes(state, "current_epoch_participation")
        self.keys = [flags + 8 * (byte & 7) for flags, byte in zip(self.flags, current)]
        validators = self.bytes(state, "validators", VALIDATOR)
        self.increments = [
            self.whole(number(validators[at + 80 : at + 88])) for at in range(0, len(validators), VALIDATOR)
        ]

    def bytes(self, state: State, name: str, width: int = 1) -> bytes:
        value = state.values.get(name, b"")
        return value + bytes(self.count * width - len(value))

    def numbers(self, state: State, name: str) -> list[int]:
        return numbers(self.bytes(state, name, 8))

    @staticmethod
    def whole(effective_balance: int) -> int:
        eth, rest = divmod(effective_balance, ETH)
        return eth if rest == 0 and eth < NOT_WHOLE else NOT_WHOLE

    def chunks(self) -> list[range]:
        ends = [*range(self.chunk, self.count, self.chunk), self.count] if self.count else []
        return [range(end - 1 - (end - 1) % self.chunk, end) for end in ends]


def numbers(data: bytes) -> list[int]:
    return [number(data[at : at + 8]) for at in range(0, len(data), 8)]


def encoded(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def varints(source: Source, count: int) -> list[int]:
    length = source.varint()
    require(length <= 10 * count, f"{length} bytes for {count} numbers")
    packed = Source(source.packed(length))
    values = [packed.varint() for _ in range(count)]
    packed.end()
    return values


def put_varints(sink: Sink, values: list[int]):
    packed = Sink()
    for value in values:
        packed.varint(value)
    sink.varint(len(packed.data))
    sink.packed(bytes(packed.data))


def read_chunks(source: Source, base: Base) -> list[Source]:
    lengths = [source.varint() for _ in base.chunks()]
    return [Source(source.take(length)) for length in lengths]


def put_chunks(sink: Sink, chunks: list[bytes]):
    for chunk in chunks:
        sink.varint(len(chunk))
    for chunk in chunks:
        sink.put(chunk)


class Symbols:
    """Numbers that are on the predicted one, and numbers that are on `origin`."""

    def __init__(self, on_predicted: list[int], on_origin: list[int], origin: int):
        self.count = len(on_predicted)
        self.values, self.origin = on_predicted + on_origin, origin

    @classmethod
    def read(cls, source: Source, origin: int) -> "Symbols":
        on_predicted, on_origin = source.u8(), source.u8()
        require(on_predicted + on_origin <= ON_PREDICTED, "more symbols than possible")
        values = [unzigzag(value) for value in varints(source, on_predicted + on_origin)]
        return cls(values[:on_predicted], values[on_predicted:], origin)

    def put(self, sink: Sink):
        sink.put(bytes([self.count, len(self.values) - self.count]))
        put_varints(sink, [zigzag(value) for value in self.values])

    def read_chunk(self, source: Source, predicted: list[int]) -> list[int]:
        if not source.data:
            return predicted
        kind, result = source.u8(), list(predicted)
        require(kind in (LIST, PLANES), f"a chunk of kind {kind}")
        if kind == PLANES:
            mask = source.u8()
            planes = [source.packed(len(predicted)) if mask >> bit & 1 else None for bit in range(8)]
            for index in range(len(predicted)):
                value = sum(plane[index] << 8 * bit for bit, plane in enumerate(planes) if plane)
                result[index] = result[index] + unzigzag(value) & MASK
        else:
            count = source.varint()
            places = source.gaps(count, len(predicted))
            symbols = source.packed(count)
            escapes = sum(symbol >= ON_PREDICTED for symbol in symbols)
            values = iter(varints(source, escapes) if escapes else [])
            for place, symbol in zip(places, symbols):
                if symbol >= ON_PREDICTED:
                    value, is_on_predicted = unzigzag(next(values)), symbol == ON_PREDICTED
                else:
                    require(symbol < len(self.values), f"symbol {symbol}")
                    value, is_on_predicted = self.values[symbol], symbol < self.count
                on = predicted[place] if is_on_predicted else self.origin
                result[place] = on + value & MASK
        source.end()
        return result

    def chunk(self, method: str, kind: int, predicted: list[int], new: list[int]) -> bytes:
        if predicted == new:
            return b""
        sink = Sink(method)
        sink.put(bytes([kind]))
        if kind == PLANES:
            differences = [zigzag(value - wanted) for value, wanted in zip(new, predicted)]
            planes = [bytes(value >> 8 * bit & 0xFF for value in differences) for bit in range(8)]
            sink.put(bytes([sum(1 << bit for bit in range(8) if any(planes[bit]))]))
            for plane in planes:
                if any(plane):
                    sink.packed(plane)
            return bytes(sink.data)
        places = [place for place, value in enumerate(new) if value != predicted[place]]
        symbols, values = bytearray(), []
        for place in places:
            on = {True: new[place] - predicted[place] & MASK, False: new[place] - self.origin & MASK}
            known = [
                symbol
                for symbol, value in enumerate(self.values)
                if value == on[symbol < self.count]
            ]
            if known:
                symbols.append(known[0])
            else:
                nearer = zigzag(on[True]) <= zigzag(on[False])
                symbols.append(ON_PREDICTED if nearer else ON_ORIGIN)
                values.append(zigzag(on[nearer]))
        sink.varint(len(places))
        sink.gaps(places)
        sink.packed(bytes(symbols))
        if values:
            put_varints(sink, values)
        return bytes(sink.data)


def chosen_symbols(predicted: list[int], new: list[int], origin: int, most: int) -> Symbols:
    """The commonest exceptions."""
    on_predicted, on_origin = Counter(), Counter()
    for value, wanted in zip(new, predicted):
        if value != wanted:
            on_predicted[value - wanted & MASK] += 1
            on_origin[value - origin & MASK] += 1

    def common(counts: Counter) -> list[int]:
        return [value for value, count in counts.most_common(most) if count > 1]

    return Symbols(common(on_predicted), common(on_origin), origin)


class BalanceTables:
    def __init__(self):
        self.changes, self.additions, self.leak, self.corrections = [0] * 8, [0] * 8, 0, {}

    @classmethod
    def read(cls, source: Source) -> "BalanceTables":
        tables = cls()
        tables.changes = [unzigzag(source.varint()) for _ in range(8)]
        tables.additions = [unzigzag(source.varint()) for _ in range(8)]
        tables.leak = source.varint()
        packed, of_class = Source(source.packed(source.varint())), -1
        while packed.at < len(packed.data):
            of_class += 1 + packed.varint()
            require(of_class < 8 * CLASSES, f"class {of_class}")
            require(of_class % CLASSES not in (32, NOT_WHOLE), f"a correction of class {of_class}")
            tables.corrections[of_class] = unzigzag(packed.varint())
        return tables

    def put(self, sink: Sink):
        for value in self.changes + self.additions:
            sink.varint(zigzag(value))
        sink.varint(self.leak)
        packed, next_class = Sink(), 0
        for of_class in sorted(self.corrections):
            packed.varint(of_class - next_class)
            packed.varint(zigzag(self.corrections[of_class]))
            next_class = of_class + 1
        sink.varint(len(packed.data))
        sink.packed(bytes(packed.data))

    def change(self, flags: int, increments: int) -> int:
        if increments == NOT_WHOLE:
            return 0
        if increments == 32:
            return self.changes[flags]
        rate = signed(self.changes[flags] * 2**11 + self.additions[flags])
        scaled = signed(rate * increments) >> 16
        return scaled + self.corrections.get(flags * CLASSES + increments, 0)

    def predicted(self, base: Base, scores: list[int]) -> list[int]:
        def penalty(index: int) -> int:
            increments = base.increments[index]
            if self.leak == 0 or base.flags[index] & TIMELY_TARGET or increments == NOT_WHOLE:
                return 0
            return min(increments * ETH * scores[index] // self.leak, MASK)

        return [
            balance + self.change(base.flags[index], base.increments[index]) - penalty(index) & MASK
            for index, balance in enumerate(base.balances)
        ]


def read_balances(source: Source, base: Base, scores: bytes) -> bytes:
    """`scores` are those of the state."""
    tables = BalanceTables.read(source)
    symbols = Symbols.read(source, BALANCE_ORIGIN)
    predicted = tables.predicted(base, numbers(scores + bytes(8 * base.count - len(scores))))
    return read_numbers(source, base, symbols, predicted)


def read_numbers(source: Source, base: Base, symbols: Symbols, predicted: list[int]) -> bytes:
    result = []
    for of, chunk in zip(base.chunks(), read_chunks(source, base)):
        result += symbols.read_chunk(chunk, predicted[of.start : of.stop])
    return encoded(result)


def put_numbers(sink: Sink, base: Base, origin: int, predicted: list[int], new: list[int], choice):
    symbols = chosen_symbols(predicted, new, origin, choice.most_symbols)
    symbols.put(sink)
    spans = [slice(of.start, of.stop) for of in base.chunks()]
    kind = PLANES if choice.planes else LIST
    put_chunks(sink, [symbols.chunk(sink.method, kind, predicted[of], new[of]) for of in spans])


def write_balances(sink: Sink, base: Base, scores: bytes, new: bytes, choice):
    tables, balances = BalanceTables(), numbers(new)
    tables.leak = choice.leak

    def commonest(classes: dict[int, Counter]) -> dict[int, int]:
        return {of: signed(counts.most_common(1)[0][0]) for of, counts in classes.items()}

    of_state = numbers(scores + bytes(8 * base.count - len(scores)))
    full, others = {}, {}
    predicted = tables.predicted(base, of_state)
    for index, increments in enumerate(base.increments):
        flags, change = base.flags[index], balances[index] - predicted[index] & MASK
        if increments == 32:
            full.setdefault(flags, Counter())[change] += 1
        elif increments != NOT_WHOLE:
            others.setdefault(flags * CLASSES + increments, Counter())[change] += 1
    for flags, change in commonest(full).items():
        tables.changes[flags] = change + choice.wrong_by
        tables.additions[flags] = choice.addition
    for of_class, change in commonest(others).items():
        correction = change - tables.change(*divmod(of_class, CLASSES))
        if correction:
            tables.corrections[of_class] = correction
    tables.put(sink)
    predicted = tables.predicted(base, of_state)
    put_numbers(sink, base, BALANCE_ORIGIN, predicted, balances, choice)


def predicted_scores(base: Base, changes: list[int]) -> list[int]:
    return [
        score if base.increments[index] == 0 else min(max(score + changes[base.flags[index]], 0), MASK)
        for index, score in enumerate(base.scores)
    ]


def read_scores(source: Source, base: Base) -> bytes:
    changes = [signed(unzigzag(source.varint())) for _ in range(8)]
    symbols = Symbols.read(source, SCORE_ORIGIN)
    return read_numbers(source, base, symbols, predicted_scores(base, changes))


def write_scores(sink: Sink, base: Base, new: bytes, choice):
    scores, changes = numbers(new), [Counter() for _ in range(8)]
    for index, score in enumerate(scores):
        changes[base.flags[index]][signed(score - base.scores[index])] += 1
    commonest = [counts.most_common(1)[0][0] if counts else 0 for counts in changes]
    for change in commonest:
        sink.varint(zigzag(change))
    put_numbers(sink, base, SCORE_ORIGIN, predicted_scores(base, commonest), scores, choice)


def read_participation(source: Source, base: Base) -> bytes:
    by_key = source.packed(64)
    result = bytearray(by_key[key] for key in base.keys)
    for of, chunk in zip(base.chunks(), read_chunks(source, base)):
        if chunk.data:
            count = chunk.varint()
            places = chunk.gaps(count, len(of))
            for place, byte in zip(places, chunk.packed(count)):
                result[of.start + place] = byte
            chunk.end()
    return bytes(result)


def write_participation(sink: Sink, base: Base, new: bytes):
    counts = [Counter() for _ in range(64)]
    for key, byte in zip(base.keys, new):
        counts[key][byte] += 1
    by_key = bytes(of.most_common(1)[0][0] if of else 0 for of in counts)
    sink.packed(by_key)
    chunks = []
    for of in base.chunks():
        places = [place for place in of if new[place] != by_key[base.keys[place]]]
        chunk = Sink(sink.method)
        if places:
            chunk.varint(len(places))
            chunk.gaps([place - of.start for place in places])
            chunk.packed(bytes(new[place] for place in places))
        chunks.append(bytes(chunk.data))
    put_chunks(sink, chunks)
