"""What is in a binary: a file's bytes in, facts out.

``model`` has the types; ``reading`` finds the reader of a format. The readers and their libraries are imported only by
who reads: the server does not, its inspector's workers do.
"""

from app.binary.model import BinaryFacts, Card, NotABinaryError

__all__ = ["BinaryFacts", "Card", "NotABinaryError"]
