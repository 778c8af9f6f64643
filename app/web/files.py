"""Static files, compressed once for all who ask."""

import gzip
import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

_WORTH = 1000
"""Bytes below which a file is sent as it is."""


class Files(StaticFiles):
    """A folder of files for every reader; each is kept in memory, compressed, until it changes on the disk."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._kept: dict[str, tuple[tuple[int, int], bytes]] = {}

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Answer with the file, or that the reader has it."""
        plain = super().file_response(full_path, stat_result, scope, status_code)
        headers = Headers(scope=scope)
        if isinstance(plain, NotModifiedResponse) or "range" in headers or stat_result.st_size < _WORTH:
            return plain
        if "gzip" not in headers.get("accept-encoding", ""):
            return plain
        body = self._compressed(str(full_path), stat_result)
        changed = {"content-encoding": "gzip", "vary": "accept-encoding", "content-length": str(len(body))}
        return Response(None if scope["method"] == "HEAD" else body, status_code, {**plain.headers, **changed})

    def _compressed(self, path: str, status: os.stat_result) -> bytes:
        version = status.st_mtime_ns, status.st_size
        known = self._kept.get(path)
        if known is None or known[0] != version:
            known = self._kept[path] = version, gzip.compress(Path(path).read_bytes(), 9, mtime=0)
        return known[1]
