"""The server's log: as text for people, or as JSON for a collector of container logs."""

import json
import logging
import sys
from datetime import UTC, datetime

from app.settings import Settings


class _JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, its fields, and a traceback as ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"time": when, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    """Formats a record as one line: level, message, and its fields that are not empty."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = {name: value for name, value in getattr(record, "fields", {}).items() if value not in ("", None)}
        told = f" ({', '.join(f'{name}: {value}' for name, value in fields.items())})" if fields else ""
        return f"{record.levelname}: {record.message}{told}"


def configure(settings: Settings) -> None:
    """Send the logs of the whole server to stdout as JSON or to stderr as text, as the settings say."""
    as_json = settings.log_format == "json"
    handler = logging.StreamHandler(sys.stdout if as_json else sys.stderr)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO if as_json else logging.WARNING, force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
