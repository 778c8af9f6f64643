"""Pass the events of a run on until it exceeds its output limit."""

from collections.abc import Callable

from app.protocol.events import Event, Output, to_json

Emit = Callable[[Event], None]

_RAW_PER_SHOWN = 8
"""Bytes that may be read for each that may be shown: cargo's JSON contains a message at least twice."""


class Meter:
    """Passes events on until the run exceeds its output limit."""

    def __init__(self, allowed: int, emit: Emit) -> None:
        self._left = allowed
        self._emit = emit
        self._raw_left = _RAW_PER_SHOWN * allowed
        self.full = False
        self.passed = 0

    def takes(self, count: int) -> bool:
        """Count bytes read; return False once they are too many, for an endless line would fill the memory."""
        self._raw_left -= count
        self.full = self.full or self._raw_left < 0
        return not self.full

    def say(self, sentence: str) -> None:
        """Emit a sentence of the playground's own, which does not count."""
        self._emit(Output(stream="stderr", text=sentence))

    def pass_on(self, events: list[Event]) -> bool:
        """Emit the events that fit; return False once the limit is reached."""
        if self.full:
            return False
        for event in events:
            # All that is kept of a message counts, not only what the terminal shows.
            text = event.text if isinstance(event, Output) else to_json(event)
            data = text.encode("utf-8", "replace")
            if len(data) > self._left:
                self.full = True
                if isinstance(event, Output):
                    self._emit(event.model_copy(update={"text": data[: self._left].decode("utf-8", "ignore")}))
                return False
            self._left -= len(data)
            self._emit(event)
            self.passed += 1
        return True
