"""The command line: a learner's text becomes a ``Command``, or a sentence that names the right one.

Nothing here is given to a shell. What is understood is an allow-list: the options of cargo and rustc that make sense
inside one crate, and looks at what was built. ``docs/commands.md`` lists every option and why some are refused.
"""

from app.protocol.command.look_table import LOOKS
from app.protocol.command.model import Command, CommandError, CommandKind
from app.protocol.command.parse import RUN, parse
from app.protocol.command.typed import LONGEST

LOOKUPS = tuple(LOOKS)
"""The programs that look at a file."""

__all__ = ["LONGEST", "LOOKUPS", "RUN", "Command", "CommandError", "CommandKind", "parse"]
