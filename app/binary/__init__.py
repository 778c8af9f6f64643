"""Readers of binaries: they take a file's bytes and return facts about it.

``model`` defines the types and ``reading`` chooses the reader for a format. The readers import large libraries, so the
server does not import them; only the inspector's workers do.
"""

from app.binary.model import BinaryFacts, Card, NotABinaryError

__all__ = ["BinaryFacts", "Card", "NotABinaryError"]
