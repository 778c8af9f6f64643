"""Normalize request paths where a proxy serves the playground under a path such as ``/rust``.

Some proxies remove that path before they forward a request, others leave it; both must look the same to the pages.
"""

from starlette.types import Scope


def mounted(scope: Scope, root: str) -> Scope:
    """Return the scope with this root path and with a path that begins with it."""
    path = scope["path"]
    if root and not path.startswith(f"{root}/"):
        path = f"{root}/" if path == root else root + path
    return {**scope, "root_path": root, "path": path}


def path_of(scope: Scope) -> str:
    """Return the path below the root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
