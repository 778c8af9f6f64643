"""The heap of a process that lives for days, a server or a worker: small, and quick to collect."""

import ctypes
import gc

_M_ARENA_MAX = -8  # glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK = 256 * 1024
"""Bytes from which a freed block of memory is returned to the system at once."""


def keep_small() -> None:
    """Make glibc use one heap for all threads, and no heap for large blocks.

    By default, glibc creates up to eight heaps per processor, each of which never shrinks below its largest size. The
    global interpreter lock lets only one thread allocate at a time anyway. Once a large block has been freed, glibc
    takes later blocks of that size from the heap, where pages of 1 MB leave gaps. Other C libraries lack these options.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def freeze() -> None:
    """Leave what exists now, such as modules and lessons, out of collections: a full one takes 2 ms then, not 50."""
    gc.collect()
    gc.freeze()
