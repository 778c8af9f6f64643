"""The server's only access to files that runs can write to.

A run owns its folder. At any moment it can replace a file by a link, a pipe, a folder or a huge file, and it can forge
every name that it prints. So nothing here trusts a path: the folder is opened before the run, everything below it is
reached from that descriptor without following links, and what was opened is checked before it is used.
"""

from app.runfiles import removal
from app.runfiles.beneath import OURS
from app.runfiles.folder import HiddenError, RunFolder
from app.runfiles.threads import in_thread, look, removed

__all__ = ["OURS", "HiddenError", "RunFolder", "in_thread", "look", "removal", "removed"]
