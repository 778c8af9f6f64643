"""A reader of source lines in PDB files, which hold the debug information of PE files.

The open-source build of LIEF cannot read PDB. A PDB file is a set of streams, each stored in blocks of a fixed size
(https://llvm.org/docs/PDB/). This module reads which module the code belongs to, that module's line tables, the names
of the source files, and the folder in which the compiler ran. In these tables, inlined code has the line of the call.
"""

import struct
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import BinaryIO

from app.binary.lines import Row, within
from app.binary.model import LONGEST_NAME, NotABinaryError, text, whole_records

_MAGIC = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
_LARGEST_DIRECTORY = 256 * 1024
_LARGEST = 4 * 1024 * 1024
"""The limit for a stream, in bytes. The streams of a learner's crate have about ten thousand."""
_EMPTY, _NO_STREAM = 0xFFFFFFFF, 0xFFFF
_INFO, _MODULES, _IDS = 1, 3, 4
_LINES, _FILES = 0xF2, 0xF4
_BUILD_INFO = 0x114C
_NO_LINE = 0xF00000
"""Line numbers from here on are instructions to a debugger."""
_CONTRIBUTION = struct.Struct("<HxxIIIHxxII")
_LINE = struct.Struct("<II")


def rows(file: BinaryIO, guid: bytes, section: int, first: int, last: int) -> Iterator[Row]:
    """Yield the rows of the code between two offsets into a section. Their addresses are offsets as well.

    Sections count from 1. Raises ``NotABinaryError`` if the file is not a PDB or does not have this ``guid``. In a
    damaged file, numbers may also point outside of the data, which raises ``IndexError``, ``struct.error`` and others.
    """
    streams = _Streams(file)
    info = streams.read(_INFO)
    if info[12:28] != guid:
        raise NotABinaryError("the PDB belongs to another program")
    names = streams.read(_stream_number(info, "/names"))[12:]
    number, symbols, older, newer = _module_of(streams.read(_MODULES), section, first)
    if number == _NO_STREAM:
        return
    module = streams.read(number)
    home = _compile_folder(streams, module[4:symbols])
    parts = list(_subsections(module[symbols + older : symbols + older + newer]))
    files = next((data for kind, data in parts if kind == _FILES), b"")
    for kind, data in parts:
        if kind != _LINES:
            continue
        start, place, _, size = struct.unpack_from("<IHHI", data)
        if place == section and start <= last and first < start + size:
            yield from _line_rows(data, start, files, names, home)
            yield start + size, None, 0


class _Streams:
    """The streams of an open file, by number."""

    def __init__(self, file: BinaryIO) -> None:
        head = file.read(56)
        if not head.startswith(_MAGIC):
            raise NotABinaryError("the file is not a PDB")
        self._file = file
        self._block, _, _, size, _, place = struct.unpack_from("<6I", head, len(_MAGIC))
        if not 512 <= self._block <= 65536 or size > _LARGEST_DIRECTORY:
            raise NotABinaryError("the PDB is damaged")
        file.seek(place * self._block)
        blocks = _words(file.read(4 * self._blocks(size)))
        self._directory = _words(self._joined(blocks, size))

    def read(self, number: int) -> bytes:
        """Return the content of a stream. Raises ``NotABinaryError`` if it is too large."""
        count, sizes = self._directory[0], self._directory[1 : self._directory[0] + 1]
        first = 1 + count + sum(self._blocks(size) for size in sizes[:number])
        size = 0 if sizes[number] == _EMPTY else sizes[number]
        if size > _LARGEST:
            raise NotABinaryError("the PDB is too large")
        return self._joined(self._directory[first : first + self._blocks(size)], size)

    def _blocks(self, size: int) -> int:
        return 0 if size == _EMPTY else -(-size // self._block)

    def _joined(self, blocks: tuple[int, ...], size: int) -> bytes:
        found = bytearray()
        for block in blocks:
            self._file.seek(block * self._block)
            found += self._file.read(self._block)
        return bytes(found[:size])


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


def _stream_number(info: bytes, name: str) -> int:
    """Return the number of a named stream."""
    (length,) = struct.unpack_from("<I", info, 28)
    texts = info[32 : 32 + length]
    table = _words(info[32 + length :])
    # Between the hash table's size and its entries are two bit vectors, each preceded by its length in words.
    at = 3 + table[2]
    at += 1 + table[at]
    entries = zip(table[at::2], table[at + 1 :: 2], strict=False)
    return next(number for key, number in entries if _string(texts, key) == name)


def _module_of(streams: bytes, section: int, offset: int) -> tuple[int, int, int, int]:
    """Return the stream of the module that contains the code, and the sizes of its symbols, old and new line tables."""
    sizes = struct.unpack_from("<II", streams, 24)
    at, end = 64, 64 + sizes[0]
    found = _CONTRIBUTION.iter_unpack(whole_records(streams[end + 4 : end + sizes[1]], _CONTRIBUTION.size))
    wanted = next(one[4] for one in found if one[0] == section and one[1] <= offset < one[1] + one[2])
    for _ in range(wanted):
        at = streams.index(b"\0", streams.index(b"\0", at + 64, end) + 1, end) + 1
        at += -at % 4
    return struct.unpack_from("<HIII", streams, at + 34)


def _subsections(tables: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 8 <= len(tables):
        kind, size = struct.unpack_from("<II", tables, at)
        yield kind, tables[at + 8 : at + 8 + size]
        at += 8 + size + -size % 4


def _line_rows(data: bytes, start: int, files: bytes, names: bytes, home: str) -> Iterator[Row]:
    at = 12
    while at + 12 <= len(data):
        file, count, size = struct.unpack_from("<III", data, at)
        (name,) = struct.unpack_from("<I", files, file)
        path = text(within(PureWindowsPath(_string(names, name)), home))
        for offset, flags in _LINE.iter_unpack(
            whole_records(data[at + 12 : at + min(12 + 8 * count, size)], _LINE.size)
        ):
            line = flags & 0xFFFFFF
            yield start + offset, path, line if line < _NO_LINE else 0
        at += max(size, 12)


def _compile_folder(streams: _Streams, symbols: bytes) -> str:
    """Return the folder in which the compiler ran, or "" if the module does not record it."""
    wanted = next((_words(data)[0] for kind, data in _records(symbols) if kind == _BUILD_INFO), None)
    if wanted is None:
        return ""
    ids = streams.read(_IDS)
    head, first = struct.unpack_from("<II", ids, 4)
    records = []
    for number, (_, data) in enumerate(_records(ids[head:]), first):
        records.append(data)
        if number == wanted:
            (folder,) = struct.unpack_from("<I", data, 2)
            return _string(records[folder - first], 4)
    return ""


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("<HH", data, at)
        yield kind, data[at + 4 : at + 2 + size]
        at += 2 + size


def _string(texts: bytes, at: int) -> str:
    return texts[at : at + 4 * LONGEST_NAME].partition(b"\0")[0].decode("utf-8", "replace")
