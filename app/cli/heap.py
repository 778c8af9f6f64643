"""The heap of a process that lives for days, a server or a worker: small, and quick to collect."""

import ctypes
import gc

_M_ARENA_MAX = -8  # glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
_LARGE_BLOCK = 512 * 1024
"""Bytes from which a freed block of memory is returned to the system at once.

Asyncio allocates 256 KiB for each read from a socket, which should not take three system calls and new pages.
"""
_KEPT = 1024 * 1024
"""Bytes at the end of the heap that are kept for the next such block."""


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
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def freeze() -> None:
    """Leave what exists now, such as modules and lessons, out of collections: a full one takes 2 ms then, not 50."""
    gc.collect()
    gc.freeze()
