"""Golden values that break one rule of `FORMAT.md` each. All checksums are right, except where that is the rule."""

from copy import deepcopy

import value
from cases import Case
from chain import Chain
from coding import Sink, Source, crc32c
from compression import compress
from value import NUMBERS, Header

# What the values are made from, before they are broken.
ELECTRA = Case("electra", 384, 392, method="never")
GROWING = Case("growing", 0, 576, method="never")
NO_VALIDATORS = bytes([0, 0])
PAYLOAD_HEADER = "latest_execution_payload_header"


def signed(data: bytes) -> bytes:
    """With the checksum of header and table made anew."""
    table = data[64 : 64 + 10 * int.from_bytes(data[48:50], "little")]
    checksum = crc32c(data[:56] + bytes(4) + data[60:64] + table).to_bytes(4, "little")
    return data[:56] + checksum + data[60:]


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return signed(data[:at] + new + data[at + len(new) :])


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def with_section(data: bytes, name: str, encoding: int, body: bytes) -> bytes:
    """With another section for a field."""
    header = Header.decode(data)
    kept = [section for section in header.sections if section[0] != NUMBERS[name]]
    header.sections = kept + [(NUMBERS[name], encoding, body)]
    return header.encode()


def section(*parts: int | bytes) -> bytes:
    """Numbers as varints, and bytes."""
    sink = Sink()
    for part in parts:
        sink.put(part) if isinstance(part, bytes) else sink.varint(part)
    return bytes(sink.data)


def raw(data: bytes) -> bytes:
    """Packed without compression."""
    return section(0, data) if data else b""


def frame(data: bytes) -> bytes:
    return section(len(compress(data)), compress(data))


def headers(data: bytes) -> dict[str, bytes]:
    """Values with a wrong header or table."""
    end = len(data)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    swapped = Header.decode(data)
    first, second, *rest = swapped.sections
    in_order = swapped.encode()
    entries = in_order[64:84]
    bodies = in_order[64 + 10 * len(swapped.sections) :]
    swapped_bodies = second[2] + first[2] + bodies[len(first[2]) + len(second[2]) :]
    table_end = 64 + 10 * len(swapped.sections)
    out_of_order = in_order[:64] + entries[10:] + entries[:10] + in_order[84:table_end] + swapped_bodies
    twice = in_order[:74] + in_order[64:65] + in_order[75:]
    return {
        "version-2": patched(data, 4, b"\x02"),
        "kind-0": patched(data, 5, b"\0"),
        "kind-4": patched(data, 5, b"\x04"),
        "fork-7": patched(data, 6, b"\x07"),
        "fork-255-in-kind-1": patched(data, 6, b"\xff"),
        "preset-3": patched(data, 7, b"\x03"),
        "another-preset": patched(data, 7, b"\0"),
        "another-slot": patched(data, 8, u64(393)),
        "base-is-the-slot-itself": patched(data, 16, u64(392)),
        "base-is-above-the-slot": patched(data, 16, u64(400)),
        "base-is-another-slot": patched(data, 16, u64(383)),
        "another-tag-of-the-base": patched(data, 24, bytes(8)),
        "state-shorter-by-1": patched(data, 32, u64(int.from_bytes(data[32:40], "little") - 1)),
        "state-longer-by-1": patched(data, 32, u64(int.from_bytes(data[32:40], "little") + 1)),
        "state-of-2^32-bytes": patched(data, 32, u64(2**32)),
        "state-of-2^63-bytes": patched(data, 32, u64(2**63)),
        "no-validators-in-the-base": patched(data, 40, u32(0)),
        "fewer-validators-than-the-base": patched(data, 44, u32(1)),
        "2^20+1-validators-added": patched(data, 44, u32(72 + 2**20 + 1)),
        "2^32-1-validators": patched(data, 44, u32(2**32 - 1)),
        "chunks-of-8": patched(data, 50, b"\x03"),
        "chunks-of-2^21": patched(data, 50, b"\x15"),
        "chunks-of-2^255": patched(data, 50, b"\xff"),
        "reserved-byte-51": patched(data, 51, b"\x01"),
        "value-longer-than-it-says": patched(data + b"\0", 52, u32(end)),
        "value-shorter-than-it-says": patched(data[:-1], 52, u32(end)),
        "a-byte-after-the-sections": patched(data + b"\0", 52, u32(end + 1)),
        "reserved-byte-60": patched(data, 60, b"\x01"),
        "checksum-of-the-header": data[:56] + bytes([data[56] ^ 1]) + data[57:],
        "checksum-of-a-section": flipped,
        "no-sections-but-bodies": patched(data, 48, b"\0\0"),
        "65535-sections": patched(data, 48, b"\xff\xff"),
        "section-longer-than-the-value": patched(data, 66, u32(2**32 - 1)),
        "sections-not-in-order": signed(out_of_order),
        "a-field-twice": signed(twice),
        "only-the-header": signed(data[:52] + u32(64) + data[56:64]),
        "half-a-header": data[:40],
    }


def sections(data: bytes) -> dict[str, bytes]:
    """Values with a wrong section in place of a right one, on a base with 72 validators."""

    def of(name: str, encoding: int, *parts: int | bytes) -> bytes:
        return with_section(data, name, encoding, section(*parts))

    small = Header.decode(data).sections[0][2]
    header = payload_header_len(data)
    no_change, votes, ones = raw(b""), 72 * 4, raw(b"\x01")
    every = section(72, 72, raw(bytes(72)))
    return {
        "small-mask-of-an-unknown-field": with_small(data, u64(1 << 63) + small[8:]),
        "small-mask-of-a-field-that-is-not-small": with_small(data, u64(1 << 6) + raw(bytes(2048))),
        "small-mask-of-slot": with_small(data, u64(1 << 3) + raw(u64(392))),
        "small-mask-without-bytes": with_small(data, small[:8]),
        "small-with-a-byte-more": with_small(data, small + b"\0"),
        "section-of-slot": of("slot", 0, raw(u64(392))),
        "section-of-a-small-field": of("genesis_time", 0, raw(u64(0))),
        "field-of-another-fork": of("proposer_lookahead", 0, raw(bytes(128))),
        "pending-attestations-in-electra": of("previous_epoch_attestations", 0, 0),
        "unknown-encoding": of("slashings", 77, raw(bytes(512))),
        "encoding-of-validators-for-balances": of("balances", 4, NO_VALIDATORS),
        "encoding-2-for-roots": of("randao_mixes", 2, 0, 0, 0),
        "recent-roots-for-randao-mixes": of("randao_mixes", 13, bytes(4)),
        "recent-roots-with-another-checksum": of("block_roots", 13, bytes(4)),
        "recent-roots-with-a-byte-more": of("block_roots", 13, bytes(5)),
        "packed-with-a-byte-less": of("slashings", 0, 0, bytes(511)),
        "packed-with-a-byte-more": of("slashings", 0, 0, bytes(513)),
        "frame-with-a-byte-less": of("slashings", 0, frame(bytes(511))),
        "frame-with-a-byte-more": of("slashings", 0, frame(bytes(513))),
        "frame-that-expands-to-64-mib": of("slashings", 0, frame(bytes(2**26))),
        "frame-that-is-none": of("slashings", 0, 9, b"no frame!"),
        "frame-that-is-cut": of("slashings", 0, 8, compress(bytes(512))[:8]),
        "frame-longer-than-the-section": of("slashings", 0, 1000, compress(bytes(512))),
        "varint-of-11-bytes": of("slashings", 0, b"\x80" * 10 + b"\0", bytes(512)),
        "varint-of-2^64": of("slashings", 0, b"\x80" * 9 + b"\x02", bytes(512)),
        "length-that-is-no-multiple": of("historical_summaries", 0, 63, raw(bytes(63))),
        "length-of-2^40": of("historical_summaries", 0, 2**40, raw(bytes(64))),
        "length-of-2^64-1": of("historical_summaries", 0, 2**64 - 1, raw(bytes(64))),
        "run-beyond-the-field": of("slashings", 1, 1, 63, 2, raw(bytes(16))),
        "run-gap-of-2^64-1": of("slashings", 1, 1, 2**64 - 1, 1, raw(bytes(8))),
        "run-of-2^64-1": of("slashings", 1, 1, 0, 2**64 - 1, raw(bytes(8))),
        "2^64-1-runs": of("slashings", 1, 2**64 - 1, 0, 1, raw(bytes(8))),
        "difference-beyond-the-field": of("slashings", 2, 1, 1, raw(b"\x40"), 1, ones),
        "differences-of-2^64-1-numbers": of("slashings", 2, 2**64 - 1, 1, ones, 1, ones),
        "gap-without-an-end": of("slashings", 2, 1, 1, raw(b"\xff"), 1, ones),
        "gaps-of-more-bytes-than-possible": of("slashings", 2, 1, 3, raw(bytes(3)), 1, ones),
        "fewer-gaps": of("slashings", 2, 2, 1, raw(b"\0"), 2, raw(b"\x02\x02")),
        "more-gaps": of("slashings", 2, 1, 2, raw(b"\0\0"), 1, ones),
        "differences-left": of("slashings", 2, 1, 1, raw(b"\0"), 2, raw(b"\x02\x02")),
        "differences-missing": of("slashings", 2, 2, 2, raw(b"\0\0"), 1, raw(b"\x02")),
        "differences-of-more-bytes-than-possible": of(
            "slashings", 2, 1, 1, raw(b"\0"), 11, raw(b"\x80" * 10 + b"\0")
        ),
        "kept-beyond-the-base": of("eth1_data_votes", 3, 72, 1000, 1, no_change),
        "kept-more-than-the-field": of("slashings", 3, 0, 65),
        "left-of-2^64-1": of("slashings", 3, 2**64 - 1, 1, raw(bytes(504))),
        "kept-of-2^64-1": of("slashings", 3, 0, 2**64 - 1, raw(bytes(504))),
        "validator-beyond-the-base": of("validators", 4, 1, 1, raw(b"\x48"), raw(b"\x08"), raw(b"\0")),
        "validator-without-a-change": of("validators", 4, 1, 1, raw(b"\0"), raw(b"\0")),
        "2^32-validators": of("validators", 4, 2**32, 72, raw(bytes(72)), raw(bytes([8]) * 72)),
        "validators-with-bytes-left": of("validators", 4, every, raw(b"\x08" * 72), raw(bytes(72)), b"\0"),
        "validators-by-encoding-0": of("validators", 0, raw(bytes(121 * 72))),
        "field-without-its-content": of("slashings", 0),
        "payload-header-of-zeros": of(PAYLOAD_HEADER, 0, header, raw(bytes(header))),
        "payload-header-of-capella": of(PAYLOAD_HEADER, 0, header, raw(bytes(436) + u32(568) + bytes(header - 440))),
    }


def payload_header_len(data: bytes) -> int:
    number = NUMBERS[PAYLOAD_HEADER]
    return next(Source(body).varint() for of, _, body in Header.decode(data).sections if of == number)


def predicted(data: bytes) -> dict[str, bytes]:
    """Values with a wrong section of a predicted list, on a base with 72 validators and for as many."""

    def of(name: str, encoding: int, *parts: int | bytes) -> bytes:
        return with_section(data, name, encoding, section(*parts))

    def balances(*parts: int | bytes) -> bytes:
        return of("balances", 5, bytes(16), 0, 0, *parts)

    def scores(symbols: bytes, *chunk: int | bytes) -> bytes:
        body = section(*chunk)
        return of("inactivity_scores", 6, bytes(8), symbols, len(body), body)

    def flags(*chunk: int | bytes) -> bytes:
        body = section(*chunk)
        return of("current_epoch_participation", 7, raw(bytes(64)), len(body), body)

    none, one = b"\0\0\0", b"\x01\0\x01" + raw(b"\x02")
    first = section(1, 1, raw(b"\0"))
    return {
        "balances-without-tables": of("balances", 5),
        "balances-with-half-a-table": of("balances", 5, bytes(9)),
        "correction-of-32-eth": of("balances", 5, bytes(16), 0, 2, raw(b"\x20\x02"), none, 0),
        "correction-of-no-whole-eth": of("balances", 5, bytes(16), 0, 3, raw(b"\x81\x10\x02"), none, 0),
        "correction-of-class-16400": of("balances", 5, bytes(16), 0, 4, raw(b"\x90\x80\x01\x02"), none, 0),
        "correction-of-class-2^64-1": of(
            "balances", 5, bytes(16), 0, 11, raw(b"\xff" * 9 + b"\x01\x02"), none, 0
        ),
        "correction-without-a-number": of("balances", 5, bytes(16), 0, 1, raw(b"\0"), none, 0),
        "255-symbols": balances(b"\xff\0", 255, raw(bytes(255)), 0),
        "symbols-by-halves": balances(b"\x80\x80", 256, raw(bytes(256)), 0),
        "symbols-missing": balances(b"\x02\0", 1, raw(b"\0"), 0),
        "symbols-left": balances(b"\x01\0", 2, raw(b"\0\0"), 0),
        "chunks-missing": balances(none),
        "one-chunk-more": balances(none, 0, 0),
        "chunk-beyond-the-section": balances(none, 100, bytes(99)),
        "chunk-of-2^64-1-bytes": balances(none, 2**64 - 1, bytes(99)),
        "chunk-of-kind-2": scores(none, 2),
        "symbol-without-a-table": scores(none, 0, first, raw(b"\0")),
        "symbol-above-the-table": scores(one, 0, first, raw(b"\x01")),
        "symbol-253-of-1": scores(one, 0, first, raw(b"\xfd")),
        "escape-missing": scores(none, 0, first, raw(b"\xfe")),
        "escape-of-no-bytes": scores(none, 0, first, raw(b"\xff"), 0),
        "escapes-left": scores(none, 0, first, raw(b"\xff"), 2, raw(b"\x02\x02")),
        "escapes-without-a-symbol": scores(one, 0, first, raw(b"\0"), 1, raw(b"\x02")),
        "exception-beyond-the-chunk": scores(one, 0, 1, 1, raw(b"\x48"), raw(b"\0")),
        "73-exceptions-of-72": scores(one, 0, 73, 73, raw(bytes(73)), raw(bytes(73))),
        "2^64-1-exceptions": scores(one, 0, 2**64 - 1, 1, raw(b"\0"), raw(b"\0")),
        "planes-missing": scores(none, 1, b"\x03", raw(bytes(72))),
        "planes-left": scores(none, 1, b"\x01", raw(bytes(72)), raw(bytes(72))),
        "planes-without-a-mask": scores(none, 1),
        "flags-of-63-keys": of("current_epoch_participation", 7, raw(bytes(63)), 0),
        "flags-beyond-the-chunk": flags(1, 1, raw(b"\x48"), raw(b"\0")),
        "flags-missing": flags(2, 2, raw(b"\0\0"), raw(b"\0")),
        "flags-left": flags(first, raw(b"\0"), b"\0"),
        "scores-predicted-as-balances": of("inactivity_scores", 5, bytes(16), 0, 0, none, 0),
        "flags-predicted-and-balances-not": of("balances", 0, raw(bytes(8 * 72))),
        "balances-predicted-as-scores": of("balances", 6, bytes(8), none, 0),
        "balances-predicted-as-flags": of("balances", 7, raw(bytes(64)), 0),
    }


def from_slot_to_slot(data: bytes) -> dict[str, bytes]:
    """Values of kind 2 with a wrong section, on a base with 72 validators."""

    def of(name: str, encoding: int, *parts: int | bytes) -> bytes:
        return with_section(data, name, encoding, section(*parts))

    def flags(*parts: int | bytes) -> bytes:
        return of("current_epoch_participation", 8, *parts)

    def balances(*parts: int | bytes) -> bytes:
        return of("balances", 9, *parts)

    none, slot = section(0, 0), b"\x02" + bytes(8)
    return {
        "slot-chunks": of("balances", 5, bytes(16), 0, 0, bytes(3), 0),
        "slot-flags-in-chunks": of("current_epoch_participation", 7, raw(bytes(64)), 0),
        "slot-8-of-an-epoch-of-8": flags(1, b"\x08" + bytes(8), 0, 0, none),
        "slots-twice": flags(2, slot, slot, 0, 0, none),
        "slots-not-ascending": flags(2, slot, b"\x01" + bytes(8), 0, 0, none),
        "9-slots-of-8": flags(9, *(bytes([place]) + bytes(8) for place in range(9)), 0, 0, none),
        "2^64-1-slots": flags(2**64 - 1, slot, 0, 0, none),
        "slot-without-bits": flags(1, b"\x02"),
        "rank-beyond-the-attesters": flags(1, slot, 1, 1, raw(b"\x40"), raw(b"\x01"), none),
        "2^64-1-ranks": flags(1, slot, 2**64 - 1, 1, raw(b"\0"), raw(b"\x01"), none),
        "validator-72-of-72": flags(0, 1, 1, raw(b"\x48"), raw(b"\x01")),
        "validator-2^64-1": flags(0, 1, 5, raw(b"\xff" * 4 + b"\x7f"), raw(b"\x01")),
        "2^64-1-validators": flags(0, 2**64 - 1, 1, raw(b"\0"), raw(b"\x01")),
        "validators-of-more-bytes-than-possible": flags(0, 1, 6, raw(b"\x80" * 5 + b"\0"), raw(b"\x01")),
        "validators-left": flags(0, 1, 2, raw(b"\0\0"), raw(b"\x01")),
        "slot-flags-for-balances": of("balances", 8, 0, none),
        "slot-balances-for-scores": of("inactivity_scores", 9, 0, none),
        "members-of-kind-2": balances(5, b"\x02", 0, 0, none),
        "member-32-of-32": balances(5, b"\0", 1, 1, raw(b"\x20"), none),
        "2^64-1-members": balances(5, b"\0", 2**64 - 1, 1, raw(b"\0"), none),
        "balance-72-of-72": balances(0, 1, 2, raw(b"\x48\0")),
        "balance-without-a-code": balances(0, 1, 1, raw(b"\0")),
        "balance-with-code-4": balances(0, 1, 2, raw(b"\0\x04")),
        "balance-without-a-change": balances(0, 1, 2, raw(b"\0\x03")),
        "balances-left": balances(0, 1, 3, raw(b"\0\0\0")),
        "2^64-1-balances": balances(0, 2**64 - 1, 2, raw(b"\0\0")),
        "balances-of-more-bytes-than-possible": balances(0, 1, 17, raw(bytes(17))),
    }


def with_small(data: bytes, body: bytes) -> bytes:
    header = Header.decode(data)
    header.sections[0] = (value.SMALL, 12, body)
    return header.encode()


def generic(data: bytes) -> dict[str, bytes]:
    """Values of kind 3 that are wrong."""
    header = Header.decode(data)
    ((number, encoding, body),) = header.sections
    changed = {}

    def of(name: str, *sections):
        copy = deepcopy(header)
        copy.sections = list(sections)
        changed[name] = copy.encode()

    of("generic-without-a-section")
    of("generic-of-a-field", (NUMBERS["slashings"], encoding, body))
    of("generic-with-encoding-0", (number, 0, body))
    of("generic-with-two-sections", (0, 12, bytes(8)), (number, encoding, body))
    changed["generic-of-a-fork"] = patched(data, 6, b"\x05")
    changed["generic-longer"] = patched(data, 32, u64(header.byte_len + 2**23))
    changed["generic-of-another-slot"] = patched(data, 8, u64(header.slot + 1))
    return changed


def hostile(chain: Chain) -> dict[str, tuple[int, int, bytes]]:
    """By name: slot of the base, slot of the value, and the value."""
    electra = ELECTRA.encode(chain)
    whole = Case("generic", 384, 392, value.GENERIC).encode(chain)
    groups = headers(electra) | sections(electra) | predicted(electra) | generic(whole)
    named = {name: (384, 392, data) for name, data in groups.items()}
    slot = from_slot_to_slot(Case("slot", 400, 401, value.SLOT, method="never").encode(chain))
    named |= {name: (400, 401, data) for name, data in slot.items()}
    epoch = Case("epoch", 511, 512, value.SLOT, every=10).encode(chain)
    named["slot-in-the-next-epoch"] = (511, 512, epoch)
    named["slot-on-the-one-before-the-last"] = (400, 402, Case("", 400, 402, value.SLOT, every=10).encode(chain))
    named["columns-from-slot-to-slot"] = (400, 401, patched(Case("", 400, 401, value.SLOT).encode(chain), 5, b"\x01"))
    growing = GROWING.encode(chain)
    added = "added-validators-missing", with_section(growing, "validators", 4, NO_VALIDATORS)
    lacking = Header.decode(growing)
    lacking.sections = [of for of in lacking.sections if of[0] != NUMBERS["historical_summaries"]]
    for name, data in (added, ("a-field-that-the-base-lacks", lacking.encode())):
        named[name] = (0, 576, data)
    return named


def forgiven(chain: Chain) -> dict[str, tuple[int, int, bytes]]:
    """Values that a reader takes, though nothing here writes them so."""
    electra = ELECTRA.encode(chain)
    unknown = Header.decode(electra)
    unknown.sections.append((200, 0x80 | 99, b"of a later version"))
    return {"section-to-ignore": (384, 392, unknown.encode())}
