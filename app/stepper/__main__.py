"""``python -I stepper FILE MOST``, with this folder as the program: print the trace of a file."""

from emulator.trace import main  # type: ignore[import-not-found]  # this folder is the path then

main()
