"""The path of a request where a proxy offers the playground below a path of its own, such as ``/rust``.

Some proxies take that path away before they pass a request on, others leave it. Both arrive here as one.
"""

from starlette.types import Scope


def mounted(scope: Scope, root: str) -> Scope:
    """The scope below this root path, with a path that begins with it, whichever way the request came."""
    path = scope["path"]
    if root and not path.startswith(f"{root}/"):
        path = f"{root}/" if path == root else root + path
    return {**scope, "root_path": root, "path": path}


def path_of(scope: Scope) -> str:
    """The path below the root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
