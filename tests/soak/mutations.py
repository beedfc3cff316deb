"""Damage to files, repeatable by its seed: bits, cuts, copies, extreme numbers, and words of each format."""

from __future__ import annotations

import bz2
import gzip
import random
import struct
import zlib
from collections.abc import Callable, Sequence

__all__ = ["damaged"]

_WORDS = (
    *(b"[", b"]", b"{", b"}", b'"', b"'", b",", b":", b"\n", b"\r", b"\t", b"\0", b"\xff", b"\xfe"),
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"9" * 30, b"9" * 5000),
    *(b"&a", b"*a", b"<<: *a", b"!!int ", b"!!python/name:os.system ", b"- ", b"? ", b"|", b">"),
    *(b"..", b"../../etc/passwd", b"/dev/zero", b".", b"=1+1", b"%00", b"\\u0000", b"\\ud800"),
    *("\N{COMBINING ACUTE ACCENT}".encode(), "\N{BYTE ORDER MARK}".encode(), b"[" * 3000),
)
_NUMBERS = (0, 1, 127, 128, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def damaged(raw: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a file's bytes with one to six kinds of damage, inside a compression or outside of it.

    Args:
        raw: the whole file.
        dice: decides; the same state gives the same damage.
        others: files to take pieces from.
    """
    for start, unpack, pack in (
        (b"\x1f\x8b", gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0)),
        (b"BZh", bz2.decompress, bz2.compress),
    ):
        if raw.startswith(start) and dice.random() < 0.7:
            try:
                return pack(_damaged(unpack(raw), dice, others))
            except (OSError, EOFError, zlib.error, ValueError):
                break
    return _damaged(raw, dice, others)


def _damaged(raw: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    data = bytearray(raw)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        dice.choice(_KINDS)(data, dice, others)
    return bytes(data)


def _place(data: bytearray, dice: random.Random) -> int:
    # Headers are short: half of the damage lies in the first bytes.
    return dice.randrange(max(1, min(len(data), 400) if dice.random() < 0.5 else len(data)))


def _flip(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    if data:
        data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _cut(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    del data[_place(data, dice) :]


def _remove(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    start = _place(data, dice)
    del data[start : start + dice.choice((1, 2, 4, 8, 64))]


def _repeat(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    start = _place(data, dice)
    piece = data[start : start + dice.choice((1, 8, 64, 512))]
    data[start:start] = piece * dice.choice((1, 2, 50))


def _word(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    start = _place(data, dice)
    word = dice.choice(_WORDS)
    data[start : start + dice.choice((0, 0, len(word)))] = word


def _number(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    start, size = _place(data, dice), dice.choice((1, 2, 4, 8))
    order, kind = dice.choice("<>"), dice.choice("uf")
    if kind == "f" and size >= 4:
        value = dice.choice((float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-30))
        packed = struct.pack(f"{order}{'f' if size == 4 else 'd'}", value)
    else:
        number = dice.choice(_NUMBERS) % (1 << 8 * size)
        packed = number.to_bytes(size, "little" if order == "<" else "big")
    data[start : start + len(packed)] = packed


def _splice(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    if others:
        other = dice.choice(others)
        data[_place(data, dice) :] = other[dice.randrange(max(1, len(other))) :]


def _noise(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    start = _place(data, dice)
    data[start : start + 16] = dice.randbytes(16)


_KINDS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _cut, _remove, _repeat, _word, _word, _number, _number, _splice, _noise),
)
