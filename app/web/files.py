"""Serve static files and compress each only once."""

import gzip
import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

_WORTH = 1000
"""Files with fewer bytes are sent uncompressed."""


class Files(StaticFiles):
    """A folder of files. The compressed form of each is kept in memory until the file changes on the disk."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._compressed: dict[str, tuple[tuple[int, int], bytes]] = {}

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Answer with the file, or with 304 if the client already has it."""
        plain = super().file_response(full_path, stat_result, scope, status_code)
        headers = Headers(scope=scope)
        if isinstance(plain, NotModifiedResponse) or stat_result.st_size < _WORTH:
            return plain
        if "range" in headers:
            # Otherwise the middleware would compress the part, for each request anew.
            plain.headers["content-encoding"] = "identity"
            return plain
        if "gzip" not in headers.get("accept-encoding", ""):
            return plain
        path, version = str(full_path), (stat_result.st_mtime_ns, stat_result.st_size)
        known = self._compressed.get(path)
        if known is None or known[0] != version:
            known = self._compressed[path] = version, gzip.compress(Path(path).read_bytes(), 9, mtime=0)
        body = known[1]
        changed = {"content-encoding": "gzip", "vary": "accept-encoding", "content-length": str(len(body))}
        return Response(None if scope["method"] == "HEAD" else body, status_code, {**plain.headers, **changed})
