"""The environment variables that adapt the tests to a machine, and the bare-metal target."""

import os

BARE_METAL = "thumbv7em-none-eabihf"

SLOWER_BY = int(os.environ.get("SLOWER_BY", "1"))
"""Factor for time limits on slow machines, such as the emulated one of ``tools/virtual-debian``."""

EVERYTHING = bool(os.environ.get("TEST_ALL"))
"""True for `make test-all`, which runs every combination."""
