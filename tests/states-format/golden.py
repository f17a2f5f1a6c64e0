"""Writes and reads values of state diffs by `tools/history/src/states/FORMAT.md`, independently of the library.

    golden.py write             makes tests/data/diffs.tar.zst anew, after reading what it wrote
    golden.py check             reads the values of tests/data/diffs.tar.zst
    golden.py read DIRECTORY    reads values that the library wrote: files of any name, of states of the small chain

A value is read on the true state of its base, and must give the true state of its slot.
"""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import value
from cases import CASES
from chain import DATA, Chain, unpack
from coding import Refused, require
from compression import ZSTD
from hostile import forgiven, hostile
from layout import NotAState

PACK = DATA / "diffs.tar.zst"
# Names of files begin with it if the value must be refused.
REFUSED = "refused-"


def read(chain: Chain, data: bytes, base: int | str, name: int | str) -> bytes | None:
    """What is read of a value on a state; `None` if that is the state that is wanted."""
    header, slot = value.Header.decode(data), chain.state(name).slot
    require(header.slot == slot, f"a value of slot {header.slot}")
    require(header.base_slot == chain.state(base).slot, f"a value on slot {header.base_slot}")
    ssz = value.decode(data, chain.states[base], chain.forks[base], chain.context(base))
    return None if ssz == chain.states[name] else ssz


def write(chain: Chain):
    files = {f"{of.name}.{of.base}.{of.slot}": of.encode(chain) for of in CASES}
    for name, (base, slot, data) in forgiven(chain).items():
        files[f"{name}.{base}.{slot}"] = data
    for name, (base, slot, data) in hostile(chain).items():
        files[f"{REFUSED}{name}.{base}.{slot}"] = data
    files = {f"{name}.csd1": data for name, data in files.items()}
    files |= {f"{name}.ssz": state.encode() for name, state in chain.made.items()}
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as pack:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            pack.addfile(entry, io.BytesIO(files[name]))
    command = ["zstd", "-q", "--ultra", "-22", "--long=27", "--force", "-o", PACK]
    subprocess.run(command, input=tar.getvalue(), check=True)


def check(chain: Chain) -> list[str]:
    files, failed = unpack(PACK), []
    for name, state in chain.made.items():
        if files.pop(name, None) != state.encode():
            failed.append(f"{name}: another state")
    for file, data in files.items():
        name, *states = file.split(".")
        base, new = (int(of) if of.isdigit() else of for of in states)
        try:
            outcome = "another state" if read(chain, data, base, new) else None
        except (Refused, NotAState, ValueError) as error:
            outcome = f"refused: {error}"
        if (outcome or "").startswith("refused") != name.startswith(REFUSED) or outcome == "another state":
            failed.append(f"{name}: {outcome}")
    return failed


def read_all(chain: Chain, directory: Path) -> list[str]:
    failed, slots = [], set()
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        try:
            header = value.Header.decode(data)
            if read(chain, data, header.base_slot, header.slot):
                failed.append(f"{path.name}: another state")
            slots.add(header.slot)
        except Exception as error:
            failed.append(f"{path.name}: {type(error).__name__}: {error}")
    print(f"read the states of {len(slots)} slots")
    return failed


def main() -> int:
    command, *arguments = sys.argv[1:] or ["help"]
    if ZSTD is None:
        print("libzstd.so.1 is not installed", file=sys.stderr)
        return 77
    chain = Chain()
    if (command, len(arguments)) == ("write", 0):
        write(chain)
        failed = check(chain)
    elif (command, len(arguments)) == ("check", 0):
        failed = check(chain)
    elif (command, len(arguments)) == ("read", 1):
        failed = read_all(chain, Path(arguments[0]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    for failure in failed:
        print(failure, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
