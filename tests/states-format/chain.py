"""The states of the small chain of `tests/data`, and some that no chain has."""

import io
import subprocess
import tarfile
from pathlib import Path

from layout import Preset, State, number
from made import odd_base, odd_next
from value import Context

DATA = Path(__file__).resolve().parent.parent / "data"
MINIMAL = Preset("minimal")


def unpack(path: Path) -> dict[str, bytes]:
    """The files of a packed archive, by name without extension."""
    tar = subprocess.run(["zstd", "-dc", "--long=27", path], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as files:
        return {Path(of.name).stem: files.extractfile(of).read() for of in files if of.isfile()}


class Chain:
    def __init__(self):
        states = unpack(DATA / "chain-minimal/states.tar.zst")
        self.states = {int(name): state for name, state in states.items()}
        self.last = max(self.states)
        rows = (DATA / "chain-minimal/STATES.tsv").read_text().splitlines()[1:]
        cells = [row.split("\t") for row in rows]
        self.forks = {int(row[0]): row[1] for row in cells}
        self.state_roots = {int(row[0]): bytes.fromhex(row[4]) for row in cells}
        self.block_roots = {}
        for slot in range(self.last):
            roots = self.state(slot + 1).values["block_roots"]
            at = slot % MINIMAL.slots_per_historical_root * 32
            self.block_roots[slot] = roots[at : at + 32]

        base = odd_base(self.state(512))
        self.made = {"odd-base": base, "odd-slot": odd_next(base, 513, "slot"), "odd": odd_next(base, 520, "epoch")}
        for name, state in self.made.items():
            self.states[name], self.forks[name] = state.encode(), state.fork

    def state(self, name: int | str) -> State:
        """By slot, or by name if it is not of the chain."""
        return State.decode(MINIMAL, self.forks[name], self.states[name])

    def context(self, base: int | str) -> Context:
        """A state that is not of the chain has the root of the chain's at its slot."""
        base_slot = number(self.states[base][40:48])
        return Context(self.state_roots[base_slot], self.block_roots, self.state_roots)
