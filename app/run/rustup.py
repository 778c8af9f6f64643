"""Truthful answers to ``rustup target list`` and ``rustup target add``, without rustup.

A playground does not let a learner change its toolchains, so both are answered from what the chosen compiler
knows (``rustc --print target-list``) and what is ready here.
"""

from app.protocol.command import Command
from app.protocol.events import Event, Output
from app.toolchain import Toolchain

_CAME = {
    "shipped": "it came with the compiler",
    "rustup": "rustup installed it",
    "built": "its core was built here from the compiler's own sources, which is what rustup would have downloaded",
    "distribution": "it came as a package",
}


class TargetReader:
    """Reads the compiler's list of targets and answers the question once it is complete."""

    executables: tuple[str, ...] = ()

    def __init__(self, command: Command, toolchain: Toolchain) -> None:
        self.exit_code = 0
        self._command = command
        self._toolchain = toolchain
        self._out = bytearray()

    def stdout(self, data: bytes) -> list[Event]:
        """Collects the list."""
        self._out += data
        return []

    def stderr(self, data: bytes) -> list[Event]:
        """Passes the compiler's complaints on."""
        return [Output(stream="stderr", text=data.decode("utf-8", "replace"))]

    def end(self) -> list[Event]:
        """The answer."""
        known = self._out.decode("utf-8", "replace").split()
        if self._command.subcommand == "list":
            return [Output(stream="stdout", text=self._list(known))]
        return [self._add(triple, known) for triple in self._command.options]

    def _list(self, known: list[str]) -> str:
        ready = self._toolchain.targets
        if self._command.options:
            return "".join(f"{triple}\n" for triple in known if triple in ready)
        return "".join(f"{triple}{' (installed)' if triple in ready else ''}\n" for triple in known)

    def _add(self, triple: str, known: list[str]) -> Event:
        name = self._toolchain.name
        origin = self._toolchain.targets.get(triple)
        if origin:
            return Output(stream="stdout", text=f"{triple} is ready for {name}: {_CAME[origin]}.\n")
        self.exit_code = 1
        if triple not in known:
            return Output(
                stream="stderr", text=f"error: {name} knows no target {triple}; rustup target list shows all.\n"
            )
        text = (
            f"error: {triple} is not installed for {name}, and a learner cannot install targets here. "
            f"Whoever runs this playground can: playground setup --target {triple}\n"
        )
        return Output(stream="stderr", text=text)
