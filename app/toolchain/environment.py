"""The environment of a build: nothing of the user's, and both programs of one toolchain pinned."""

import shutil
from pathlib import Path

from app.toolchain.model import Toolchain

_SYSTEM = ("/usr/bin", "/bin")


def build_env(toolchain: Toolchain, home: Path, target_dir: Path | None = None) -> dict[str, str]:
    """The whole environment for a cargo of this toolchain; nothing is taken from the caller's.

    ``home`` is a folder of the run's own. ``RUSTC`` beats both ``PATH`` and a ``build.rustc`` of a
    configuration file, so no other compiler can slip in. ``RUSTFLAGS`` is not set: it would replace
    the flags of the learner's own configuration.
    """
    env = {
        "PATH": ":".join(dict.fromkeys(_search_path(toolchain))),
        "RUSTC": str(toolchain.rustc),
        "HOME": str(home),
        "TMPDIR": str(home),
        "CARGO_HOME": str(home / ".cargo"),
        "CARGO_NET_OFFLINE": "true",
        "CARGO_TERM_COLOR": "always",
        "CARGO_TERM_PROGRESS_WHEN": "never",
        "CARGO_INCREMENTAL": "0",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
    rustdoc = toolchain.compiler.with_name("rustdoc")
    if rustdoc.is_file():
        env["RUSTDOC"] = str(rustdoc)
    if target_dir:
        env["CARGO_TARGET_DIR"] = str(target_dir)
    return {**env, **toolchain.env}


def _search_path(toolchain: Toolchain) -> tuple[str, ...]:
    linker = shutil.which("cc")
    # Systems that keep no programs in /usr/bin still have a cc somewhere.
    elsewhere = (str(Path(linker).parent),) if linker and Path(linker).parent.name == "bin" else ()
    return (str(toolchain.rustc.parent), str(toolchain.cargo.parent), *_SYSTEM, *elsewhere)
