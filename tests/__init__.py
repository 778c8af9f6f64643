"""The tests: a file for each module or room, ``attacks`` and ``browser`` for the whole, ``support`` for helpers."""
