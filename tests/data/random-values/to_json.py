"""Writes the states of values.tar.zst as JSON: json.tar.zst holds those of the minimal preset, json.sha256 the
digests of all.

Values are encoded as in the beacon API: numbers as decimal strings, bytes and bits as 0x hex. The specification's
own code decodes and encodes them. Needs eth-consensus-specs 1.7.0a13.

Usage: to_json.py FOLDER, with values.tar.zst in it
"""

import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import tarfile

from eth_consensus_specs.debug.encode import encode


def quoted(value):
    """Numbers as strings; `encode` leaves those of up to 8 bytes as numbers."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return [quoted(element) for element in value]
    if isinstance(value, dict):
        return {name: quoted(field) for name, field in value.items()}
    return value


(folder,) = sys.argv[1:]
unpacked = subprocess.run(["zstd", "-dc", "--long=27", f"{folder}/values.tar.zst"], check=True, capture_output=True)
values = tarfile.open(fileobj=io.BytesIO(unpacked.stdout))
packed = io.BytesIO()
digests = []
with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as out:
    for entry in values:
        preset, fork, kind, number, _ = entry.name.removesuffix(".ssz").split("-")
        if kind != "state":
            continue
        spec = importlib.import_module(f"eth_consensus_specs.{fork}.{preset}")
        state = spec.BeaconState.decode_bytes(values.extractfile(entry).read())
        text = json.dumps(quoted(encode(state)), separators=(",", ":")).encode()
        name = f"{preset}-{fork}-state-{number}.json"
        digests.append(f"{hashlib.sha256(text).hexdigest()}  {name}\n")
        if preset == "minimal":
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text))
with open(f"{folder}/json.sha256", "w") as file:
    file.writelines(digests)
with open(f"{folder}/json.tar", "wb") as file:
    file.write(packed.getvalue())
subprocess.run(["zstd", "--quiet", "--force", "--long=27", "--ultra", "-22", f"{folder}/json.tar", "-o", f"{folder}/json.tar.zst"], check=True)
os.remove(f"{folder}/json.tar")
