"""Golden values: which ones there are, and how each is written."""

from dataclasses import dataclass, field

import value
from coding import MASK
from layout import Preset
from chain import MINIMAL, Chain


@dataclass
class Case:
    """A value to write. `encodings` are by field; the others have the one that suits their kind best."""

    name: str
    base: int | str
    slot: int | str
    kind: int = value.COLUMNS
    method: str = "shortest"
    chunk_log: int = 16
    encodings: dict[str, int] = field(default_factory=dict)
    every: int | None = None
    # Of predicted numbers: the most symbols of a kind, whether chunks are planes, the divisor of penalties, and
    # what is added to the rates of changes and to the changes.
    most_symbols: int = 100
    planes: bool = False
    leak: int = 0
    addition: int = 0
    wrong_by: int = 0
    # From slot to slot: a slot is taken in if one attester in so many changes; which members are listed.
    slots_of_one_in: int = 2
    lists_who_took_part: bool = False
    preset: Preset = MINIMAL

    def encoding(self, of, base: bytes | None) -> int:
        """The encoding of a field: `every` where that is possible."""
        if of.name in self.encodings:
            return self.encodings[of.name]
        if self.kind == value.SLOT and of.name in PREDICTED:
            return self.every or FROM_SLOT_TO_SLOT.get(of.name, 2)
        if self.every is not None and of.name in PREDICTED:
            plain = plain_encodings(of)
            return self.every if self.every in plain else plain[0]
        if self.every in possible(of, base):
            return self.every
        return possible(of, base)[0]

    def encode(self, chain: Chain) -> bytes:
        base, new = chain.states[self.base], chain.states[self.slot]
        forks = chain.forks[self.base], chain.forks[self.slot]
        return value.encode(base, forks[0], new, forks[1], chain.context(self.base), self)


def plain_encodings(of) -> list[int]:
    return [*([2] if of.item == 8 else []), 1, 3, 0, 10]


FROM_SLOT_TO_SLOT = {
    "balances": 9,
    "previous_epoch_participation": 8,
    "current_epoch_participation": 8,
}
PREDICTED = {
    "balances": 5,
    "inactivity_scores": 6,
    "previous_epoch_participation": 7,
    "current_epoch_participation": 7,
}


def possible(of, base: bytes | None) -> list[int]:
    """The encodings of a field, best first."""
    if of.name in ("block_roots", "state_roots") and base is not None:
        return [13, 1, 3, 0, 10]
    if of.name == "validators":
        return [4]
    if of.name in PREDICTED:
        return [PREDICTED[of.name], *plain_encodings(of)]
    if of.item == 8:
        return [2, 1, 3, 0, 10]
    if of.item and of.size:
        return [1, 3, 0, 10]
    if of.item:
        return [3, 1, 0, 10]
    return [10, 0]


CASES = [
    # Every fork, and every border between two forks.
    Case("phase0", 8, 16),
    Case("phase0-slots", 18, 19, value.SLOT),
    Case("altair-upgrade", 40, 48),
    Case("altair", 64, 72),
    Case("bellatrix-upgrade", 88, 96),
    Case("bellatrix", 128, 136),
    Case("capella-upgrade", 184, 192),
    Case("capella", 200, 208),
    Case("deneb-upgrade", 232, 240),
    Case("deneb", 264, 272),
    Case("electra-upgrade", 328, 336),
    Case("electra", 384, 392),
    Case("fulu-upgrade", 440, 448),
    Case("fulu", 512, 520),
    # From the first state to the last: fields that the base lacks, every root of the vectors.
    Case("all-forks", 0, 576),
    Case("all-forks-never-packed", 0, 576, method="never"),
    # Distances of less and of more than the vectors of roots.
    Case("63-slots", 129, 192),
    Case("64-slots", 128, 192),
    Case("65-slots", 127, 192),
    # Slots: with a block, without one, the last and the first of an epoch.
    Case("slot-with-a-block", 500, 501, value.SLOT),
    Case("slot-after-a-skipped-one", 276, 277, value.SLOT),
    Case("skipped-slot", 269, 270, value.SLOT),
    Case("skipped-slot-never-packed", 269, 270, value.SLOT, method="never"),
    Case("skipped-slot-by-columns", 269, 270),
    *(
        Case(f"slot-of-{fork}", slot, slot + 1, value.SLOT, lists_who_took_part=slot % 2 == 0)
        for fork, slot in (("altair", 53), ("bellatrix", 100), ("capella", 195), ("deneb", 250), ("electra", 401))
    ),
    Case("last-slot-of-an-epoch", 510, 511, value.SLOT),
    Case("first-slot-of-an-epoch", 511, 512),
    # Each encoding where it is possible, each way to pack.
    *(
        Case(f"encoding-{encoding}-{fork}-{method}", base, base + 40, method=method, every=encoding)
        for encoding in (0, 1, 2, 3, 10)
        for fork, base in (("phase0", 3), ("fulu", 530))
        for method in ("never", "always")
    ),
    # Predicted lists: in planes, by penalties of a leak, with other rates, few symbols, and chunks of 16.
    Case("planes", 512, 520, planes=True),
    Case("planes-of-several-chunks", 320, 400, planes=True, chunk_log=4),
    Case("penalties", 100, 360, leak=3 * 10**9, method="never"),
    Case("penalties-of-2^64-1", 512, 520, leak=2**64 - 1),
    Case("penalties-beyond-2^64", 320, 400, leak=1, planes=True),
    Case("rates", 320, 400, addition=-12345),
    Case("no-symbols", 320, 400, most_symbols=0, method="never"),
    Case("one-symbol", 320, 400, most_symbols=1),
    Case("several-chunks", 320, 400, chunk_log=5),
    *(
        Case(f"odd-{name}", "odd-base", "odd", **choices)
        for name, choices in {
            "states": {},
            "states-never-packed": {"method": "never"},
            "planes": {"planes": True, "chunk_log": 6},
            "chunks-of-16": {"chunk_log": 4, "most_symbols": 3},
            "penalties": {"leak": 3 * 2**26, "method": "never"},
            "penalties-by-1": {"leak": 1},
            "penalties-by-2^64-1": {"leak": MASK, "planes": True},
            "rates": {"addition": 2**63 - 5},
            "rates-below-0": {"addition": -(2**63), "method": "always"},
            "changes-that-wrap": {"wrong_by": 2**60 + 7},
            "no-symbols": {"most_symbols": 0},
            "differences": {"every": 2},
            "generic": {"kind": value.GENERIC},
        }.items()
    ),
    *(
        Case(f"odd-slot{name}", "odd-base", "odd-slot", value.SLOT, **choices)
        for name, choices in {
            "": {},
            "-with-all-slots": {"slots_of_one_in": 100, "method": "never"},
            "-with-no-slots": {"slots_of_one_in": 0, "method": "always"},
            "-with-those-who-took-part": {"lists_who_took_part": True},
            "-by-pieces": {"every": 10},
        }.items()
    ),
    Case("odd-slot-by-columns", "odd-base", "odd-slot"),
    # Chunks of 16 and of 2^20 validators.
    Case("chunks-of-16", 512, 520, chunk_log=4),
    Case("chunks-of-2^20", 512, 520, chunk_log=20),
    # The whole state.
    Case("generic", 512, 520, value.GENERIC),
    Case("generic-upgrade", 440, 448, value.GENERIC),
    Case("generic-never-packed", 17, 18, value.GENERIC, method="never"),
]
