"""Courses on Rust, step by step, on the real toolchain."""

from importlib.metadata import version

__version__ = version("freestanding-playground")
