"""Finds the format of a file and has it read.

pyelftools and LIEF raise what they like for a damaged file; here that becomes one error. What they cannot be kept from
(a loop, a crash, gigabytes) is the inspector's to hold.
"""

import struct
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from app.binary import elf, macho, pe
from app.binary.model import BinaryFacts, NotABinaryError

_DAMAGE = (ELFError, ValueError, LookupError, TypeError, AttributeError, struct.error, OSError, RuntimeError)


def inspect(file: BinaryIO) -> BinaryFacts:
    """The facts of one file that can be read and sought in; raises ``NotABinaryError``."""
    start = file.read(4)
    file.seek(0)
    try:
        if start == b"\x7fELF":
            return elf.facts(ELFFile(file))
        if start.startswith(b"MZ"):
            return pe.facts(pe.parsed(file.read()))
        if start in macho.MAGIC:
            return macho.facts(macho.parsed(file.read()))
    except NotABinaryError:
        raise
    except _DAMAGE as error:
        raise NotABinaryError(f"the file is damaged: {error}") from error
    raise NotABinaryError("the file is no ELF, PE or Mach-O binary")
