"""The environment of a build, which takes nothing from the user's and pins the programs of one toolchain."""

import shutil
from pathlib import Path

from app.toolchain.model import Toolchain

_SYSTEM = ("/usr/bin", "/bin")


def build_env(toolchain: Toolchain, home: Path, target_dir: Path | None = None) -> dict[str, str]:
    """Return the whole environment for this toolchain's cargo. Nothing comes from the caller's environment.

    ``home`` is the run's own home folder. ``RUSTC`` takes precedence over ``PATH`` and over ``build.rustc`` in a
    configuration file, so no other compiler can be used. ``RUSTFLAGS`` is not set, because it would replace the flags
    in the learner's configuration.
    """
    cc = shutil.which("cc")
    # Systems without programs in /usr/bin have cc in another folder.
    linker_folder = [str(Path(cc).parent)] if cc and Path(cc).parent.name == "bin" else []
    folders = [str(toolchain.rustc.parent), str(toolchain.cargo.parent), *_SYSTEM, *linker_folder]
    env = {
        "PATH": ":".join(dict.fromkeys(folders)),
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
