"""The compiler's long explanation of an error code."""

import re
from pathlib import Path

from app.toolchain.environment import build_env
from app.toolchain.model import Toolchain
from app.toolchain.process import capture

_CODE = re.compile(r"E0[0-9]{3}")


def is_code(text: str) -> bool:
    """Whether it looks like one of the compiler's error codes."""
    return _CODE.fullmatch(text) is not None


async def explanation(toolchain: Toolchain, code: str) -> str | None:
    """The Markdown of ``rustc --explain CODE``; None when this compiler has no such code."""
    if not is_code(code):
        return None
    said = await capture([toolchain.compiler, "--explain", code], env=build_env(toolchain, Path("/nonexistent")))
    return said.output if said.code == 0 else None
