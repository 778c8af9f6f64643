"""What the machine is like, and how much of the matrix it is to go through."""

import os

BARE_METAL = "thumbv7em-none-eabihf"

SLOWER_BY = int(os.environ.get("SLOWER_BY", "1"))
"""How much longer than usual a program may take: emulated processors are slow (``tools/virtual-debian``)."""

EVERYTHING = bool(os.environ.get("TEST_ALL"))
"""Try every combination, as `make test-all` does."""
