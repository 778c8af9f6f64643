"""``python -I stepper FILE MOST``, run from this folder's path: print the trace of a file."""

from emulator.trace import main  # type: ignore[import-not-found]  # Python adds this folder to its path

main()
