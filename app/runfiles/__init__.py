"""The files that runs can write to: every access of the server goes through here.

A run owns its folder. It can put a link, a pipe, another folder or a giant in the place of anything, at any moment, and
forge each name that it prints. So nothing here trusts a path: the folder is opened before the run, everything below it
is reached from that descriptor without following links, and what was opened is checked before it is used.
"""

from app.runfiles import removal
from app.runfiles.beneath import OURS
from app.runfiles.folder import HiddenError, RunFolder
from app.runfiles.threads import in_thread, look, removed

__all__ = ["OURS", "HiddenError", "RunFolder", "in_thread", "look", "removal", "removed"]
