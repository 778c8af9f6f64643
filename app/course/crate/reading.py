"""Read the facts of a crate from its untrusted files, in a process that may do nothing else."""

from collections.abc import Mapping

from app.course.crate import CONFIG, MAIN, MANIFEST, CrateFacts, Lookalike
from app.course.crate.lookalikes import first_lookalike
from app.course.crate.source import read_source
from app.course.crate.toml import read_table


def read_crate(files: Mapping[str, str]) -> CrateFacts:
    """Return the facts of the crate."""
    main = read_source(files[MAIN]) if MAIN in files else None
    manifest = read_table(files[MANIFEST]) if MANIFEST in files else None
    config = read_table(files[CONFIG]) if CONFIG in files else None
    found: Lookalike | None = None
    for path, table in ((MANIFEST, manifest), (CONFIG, config)):
        if table and table.fault and found is None:
            found = first_lookalike(path, files[path], table.line, "#")
    if main and main.syntax_line and found is None:
        found = first_lookalike(MAIN, files[MAIN], main.syntax_line, "//")
    return CrateFacts(main, manifest, config, found)
