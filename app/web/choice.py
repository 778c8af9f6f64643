"""Choose the toolchain that runs a lesson, and the one that explains an error."""

from app.course import Lesson
from app.engine import Inventory
from app.engine.owner_lock import PerOwnerLock
from app.protocol.machine import ToolchainInfo
from app.toolchain import default_toolchain, is_code, preferred
from app.web.problem import ProblemError, engine_unavailable, no_such_code, no_such_toolchain, no_toolchain


class ToolchainChoice:
    """Choose among the installed toolchains."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._explaining = PerOwnerLock()

    async def choose(self, lesson: Lesson, name: str | None) -> ToolchainInfo:
        """Return the toolchain of that name, or the lesson's default; raises ``ProblemError``."""
        toolchains = await self._inventory.toolchains(lesson.targets)
        if not toolchains:
            raise await self.nothing_here()
        if name:
            chosen = next((toolchain for toolchain in toolchains if toolchain.name == name), None)
            if chosen is None:
                raise no_such_toolchain(name, [toolchain.name for toolchain in toolchains])
            return chosen
        default = default_toolchain(toolchains, lesson)
        assert default, "there are toolchains"
        return default

    async def nothing_here(self, status: int = 503) -> ProblemError:
        """Return the refusal of what needs a toolchain when there is none: on this machine, or at no worker."""
        return no_toolchain(status) if await self._inventory.crew() is None else engine_unavailable()

    async def explanation(self, code: str, name: str = "", asker: str = "") -> tuple[str, str]:
        """Return a toolchain's title and its explanation of an error code; raises ``ProblemError`` 404.

        Each ``asker`` gets one answer at a time, so one that asks for every code delays only itself.
        """
        toolchains = await self._inventory.toolchains()
        chosen = next((one for one in toolchains if one.name == name), None) or preferred(toolchains, None)
        if chosen is None:
            raise await self.nothing_here(404)
        async with self._explaining.of(asker):
            text = await self._inventory.explain(chosen.name, code) if is_code(code) else None
        if text is None:
            raise no_such_code(chosen.name, code)
        return chosen.title, text
