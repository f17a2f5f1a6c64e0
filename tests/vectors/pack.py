"""Packs a folder of reference vectors: SSZ uncompressed, in a tar that zstd compresses with a long window.

Usage: pack.py FOLDER OUT.tar.zst
"""

import io
import os
import subprocess
import sys
import tarfile

import cramjam

folder, out = sys.argv[1:]
tar = out.removesuffix(".zst")
with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as packed:
    for directory, directories, files in os.walk(folder):
        directories.sort()
        for name in sorted(files):
            if name == "manifest.yaml":
                continue
            with open(os.path.join(directory, name), "rb") as file:
                data = file.read()
            if name.endswith(".ssz_snappy"):
                name = name.removesuffix("_snappy")
                data = bytes(cramjam.snappy.decompress_raw(data))
            entry = tarfile.TarInfo(os.path.relpath(os.path.join(directory, name), folder))
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
subprocess.run(["zstd", "--quiet", "--force", "--long=27", "--ultra", "-22", tar, "-o", out], check=True)
os.remove(tar)
