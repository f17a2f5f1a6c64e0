"""Zstandard, through the library that the `zstd` command comes with."""

import ctypes
import ctypes.util

WINDOW_LOG = 27
# Of `zstd.h`.
ZSTD_C_COMPRESSION_LEVEL, ZSTD_C_WINDOW_LOG, ZSTD_C_LONG, ZSTD_D_WINDOW_LOG_MAX = 100, 101, 160, 100


def load() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("zstd") or "libzstd.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    for function, result, arguments in (
        ("ZSTD_compressBound", size, (size,)),
        ("ZSTD_isError", ctypes.c_uint, (size,)),
        ("ZSTD_getErrorName", ctypes.c_char_p, (size,)),
        ("ZSTD_createCCtx", pointer, ()),
        ("ZSTD_freeCCtx", size, (pointer,)),
        ("ZSTD_createDCtx", pointer, ()),
        ("ZSTD_freeDCtx", size, (pointer,)),
        ("ZSTD_CCtx_setParameter", size, (pointer, ctypes.c_int, ctypes.c_int)),
        ("ZSTD_DCtx_setParameter", size, (pointer, ctypes.c_int, ctypes.c_int)),
        ("ZSTD_CCtx_refPrefix", size, (pointer, ctypes.c_char_p, size)),
        ("ZSTD_DCtx_refPrefix", size, (pointer, ctypes.c_char_p, size)),
        ("ZSTD_compress2", size, (pointer, ctypes.c_char_p, size, ctypes.c_char_p, size)),
        ("ZSTD_decompressDCtx", size, (pointer, ctypes.c_char_p, size, ctypes.c_char_p, size)),
    ):
        function = getattr(library, function)
        function.restype, function.argtypes = result, arguments
    return library


ZSTD = load()


def checked(result: int) -> int:
    if ZSTD.ZSTD_isError(result):
        raise ValueError(f"zstd: {ZSTD.ZSTD_getErrorName(result).decode()}")
    return result


def compress(data: bytes, prefix: bytes = b"", level: int = 3) -> bytes:
    """One frame. `prefix` is not part of it, and is needed to decompress it."""
    context = ZSTD.ZSTD_createCCtx()
    try:
        checked(ZSTD.ZSTD_CCtx_setParameter(context, ZSTD_C_COMPRESSION_LEVEL, level))
        if prefix:
            checked(ZSTD.ZSTD_CCtx_setParameter(context, ZSTD_C_WINDOW_LOG, WINDOW_LOG))
            checked(ZSTD.ZSTD_CCtx_setParameter(context, ZSTD_C_LONG, 1))
            checked(ZSTD.ZSTD_CCtx_refPrefix(context, prefix, len(prefix)))
        out = ctypes.create_string_buffer(ZSTD.ZSTD_compressBound(len(data)))
        written = checked(ZSTD.ZSTD_compress2(context, out, len(out), data, len(data)))
        return out.raw[:written]
    finally:
        ZSTD.ZSTD_freeCCtx(context)


def decompress(frame: bytes, most: int, prefix: bytes = b"") -> bytes:
    """What a frame holds: at most `most` bytes."""
    context = ZSTD.ZSTD_createDCtx()
    try:
        checked(ZSTD.ZSTD_DCtx_setParameter(context, ZSTD_D_WINDOW_LOG_MAX, WINDOW_LOG))
        if prefix:
            checked(ZSTD.ZSTD_DCtx_refPrefix(context, prefix, len(prefix)))
        out = ctypes.create_string_buffer(max(most, 1))
        length = checked(ZSTD.ZSTD_decompressDCtx(context, out, most, frame, len(frame)))
        return out.raw[:length]
    finally:
        ZSTD.ZSTD_freeDCtx(context)
