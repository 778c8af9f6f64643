"""Hypothesis strategies that damage a binary."""

import struct

from hypothesis import strategies as st

BASES = ("elf-arm", "elf-host", "elf-std", "pe", "macho-x86-64", "macho-arm64")

NASTY = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, int, int]]:
    """Draw damages to a file, each as kind, relative position from 0 to 1, value, and width in bytes."""
    kinds = st.sampled_from(("number", "number", "number", "byte", "cut", "copy"))
    # Readers fail mostly on headers, which lie at the ends of a file.
    places = st.one_of(st.floats(0, 0.05), st.floats(0, 1), st.floats(0.9, 1))
    numbers = st.one_of(st.sampled_from(NASTY), st.integers(0, (1 << 64) - 1))
    return draw(st.lists(st.tuples(kinds, places, numbers, st.sampled_from((1, 2, 4, 8))), min_size=1, max_size=12))


def damaged(data: bytes, how: list[tuple[str, float, int, int]]) -> bytes:
    out = bytearray(data)
    for kind, place, number, width in how:
        at = int(place * len(out)) // width * width
        match kind:
            case "number" if at >= 4:  # the first four bytes say which format it is
                out[at : at + width] = struct.pack("<Q", number)[:width]
            case "byte" if 4 <= at < len(out):
                out[at] = number & 0xFF
            case "cut" if at >= 64:
                del out[at:]
            case "copy":
                out[at:at] = out[at : at + number % 4096]
    return bytes(out)
