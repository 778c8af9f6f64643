"""What a request that cannot be served gets: one sentence, whichever way it is then shown."""


class ProblemError(Exception):
    """HTTP status, a stable code, one sentence, the field at fault, and after how many seconds to try again.

    ``closes``: the connection ends with the answer, because it is not certain where the request ends.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        retry_after: int | None = None,
        *,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.closes = closes

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the answer beside its body."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return headers | ({"connection": "close"} if self.closes else {})


def no_such_run(field: str | None = None) -> ProblemError:
    """The problem of a run that is not there, not there any more, or another seat's."""
    return ProblemError(404, "no-such-run", "There is no such run, or it has expired; run again.", field)
