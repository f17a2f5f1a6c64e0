"""Numbers and sequences of a value: the part of `FORMAT.md` above its section 1."""

from compression import compress, decompress

MASK = 2**64 - 1


class Refused(Exception):
    """A value breaks the format."""


def require(holds: bool, why: str):
    if not holds:
        raise Refused(why)


def crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def zigzag(difference: int) -> int:
    """Of a difference modulo 2^64."""
    signed = (difference + 2**63) % 2**64 - 2**63
    return (signed << 1 ^ signed >> 63) & MASK


def unzigzag(value: int) -> int:
    return (value >> 1 ^ -(value & 1)) & MASK


class Source:
    """Reads a section from its first byte to its last."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        require(count <= len(self.data) - self.at, f"{count} bytes wanted at {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = 0
        for place in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                require(value <= MASK, "a varint of 2^64 or more")
                return value
        raise Refused("a varint of more than 10 bytes")

    def packed(self, length: int, prefix: bytes = b"") -> bytes:
        if length == 0:
            return b""
        stored = self.varint()
        if stored == 0:
            return self.take(length)
        data = decompress(self.take(stored), length, prefix)
        require(len(data) == length, f"{len(data)} bytes decompressed, wanted {length}")
        return data

    def gaps(self, count: int, end: int) -> list[int]:
        length = self.varint()
        require(length <= count + end // 255, f"{length} bytes of gaps")
        data, indices, next_index, gap = self.packed(length), [], 0, 0
        for byte in data:
            gap += byte
            if byte < 255:
                require(next_index + gap < end, f"index {next_index + gap} of {end}")
                indices.append(next_index + gap)
                next_index, gap = next_index + gap + 1, 0
        require(not data or data[-1] < 255, "a gap without an end")
        require(len(indices) == count, f"{len(indices)} gaps, wanted {count}")
        return indices

    def end(self):
        require(self.at == len(self.data), f"{len(self.data) - self.at} bytes left")


class Sink:
    """Writes a section. `method` says when bytes are compressed: "shortest", "never" or "always"."""

    def __init__(self, method: str = "shortest"):
        self.data, self.method = bytearray(), method

    def put(self, data: bytes):
        self.data += data

    def varint(self, value: int):
        while value >= 0x80:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def packed(self, data: bytes, prefix: bytes = b""):
        if not data:
            return
        frame = b"" if self.method == "never" else compress(data, prefix)
        if frame and (self.method == "always" or len(frame) < len(data)):
            self.varint(len(frame))
            self.put(frame)
        else:
            self.varint(0)
            self.put(data)

    def gaps(self, indices: list[int]):
        data, next_index = bytearray(), 0
        for index in indices:
            gap = index - next_index
            data += b"\xff" * (gap // 255) + bytes([gap % 255])
            next_index = index + 1
        self.varint(len(data))
        self.packed(bytes(data))
