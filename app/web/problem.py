"""Every refusal of the web in one place: HTTP status, stable code, sentence, and the field at fault."""

from collections.abc import Iterable

from app.web.words import count

_RETRY_SECONDS = 5


class ProblemError(Exception):
    """A refused request: HTTP status, stable code, message, field at fault, and seconds until a retry makes sense.

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
        """The headers that belong to the answer, besides those of its body."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return headers | ({"connection": "close"} if self.closes else {})


# Any request


def bad_target() -> ProblemError:
    """Refuse a target that is not a path."""
    return ProblemError(400, "bad-target", "Name a path that starts with / and put the host into Host.", closes=True)


def address_too_long(most: int) -> ProblemError:
    """Refuse a path and query of more than ``most`` bytes."""
    message = f"The address is too long. It may have {most // 1024} KiB."
    return ProblemError(414, "address-too-long", message, closes=True)


def headers_too_large(number: int, most: int) -> ProblemError:
    """Refuse more than ``number`` headers, or more than ``most`` bytes of them."""
    message = f"The headers are too large. A request may have {number} headers with {most // 1024} KiB in total."
    return ProblemError(431, "headers-too-large", message, closes=True)


def foreign_host(name: str | None) -> ProblemError:
    """Refuse a host that the operator did not list; None if the request names no host, several, or something else."""
    asked = f"the host {name[:100]}" if name else "a request without exactly one host"
    message = f"This playground does not answer to {asked}. Its operator can add a host to PLAYGROUND_ALLOWED_HOSTS."
    return ProblemError(400, "foreign-host", message)


def foreign_origin() -> ProblemError:
    """Refuse a request that another site's page sent."""
    message = "A page of another site may not do this. Use the playground's own pages."
    return ProblemError(403, "foreign-origin", message)


def changed_host(origin: str, host: str) -> ProblemError:
    """Refuse a request whose page and host differ although the browser says that they are the same site."""
    message = (
        f"A proxy before this playground changes Host: the page is at {origin}, but the request says {host}. "
        "Its operator must let the proxy forward Host unchanged."
    )
    return ProblemError(403, "foreign-origin", message)


def other_origin(origin: str, host: str) -> ProblemError:
    """Refuse a request from a page at another address, where the browser does not say which site that is."""
    message = (
        f"A page at {origin} may not do this at {host}. If both are this playground, a proxy before it changes Host: "
        "its operator must let the proxy forward Host unchanged."
    )
    return ProblemError(403, "foreign-origin", message)


def dropped_origin() -> ProblemError:
    """Refuse a page's request that does not say where the page is, although browsers say so."""
    message = (
        "A proxy before this playground drops Origin or sets another Referrer-Policy, so the request does not say "
        "which page sent it. Its operator must let the proxy forward both unchanged."
    )
    return ProblemError(403, "foreign-origin", message)


def no_metrics() -> ProblemError:
    """Refuse the metrics to whom the operator did not name."""
    message = (
        "PLAYGROUND_METRICS does not name you. Send its token as Authorization: Bearer TOKEN, or ask from its address."
    )
    return ProblemError(403, "no-metrics", message)


def two_seats(cookie: str) -> ProblemError:
    """Refuse a request with two genuine seats under one cookie's name."""
    message = (
        "Your browser sent two seats of this playground, and someone else may have set one of them. "
        f"Delete the cookies named {cookie}, then reload the page."
    )
    return ProblemError(400, "two-seats", message)


def too_often(what: str, seconds: int, *, by_address: bool = False) -> ProblemError:
    """Refuse a request beyond a rate of a seat or of an address; ``what`` names such requests in the plural."""
    whose = " from your address" if by_address else ""
    message = f"Too many {what}{whose} in a short time. Try again in {count(seconds, 'second')}."
    return ProblemError(429, "too-often", message, retry_after=seconds)


def http_error(status: int, detail: str) -> ProblemError:
    """Word an error of the framework."""
    messages = {
        404: "There is nothing at this address. The course map is at /.",
        405: "This address does not accept this method.",
    }
    return ProblemError(status, f"http-{status}", messages.get(status, detail))


# Bodies


def unexpected_body() -> ProblemError:
    """Refuse a body where none belongs."""
    return ProblemError(400, "unexpected-body", "Send this request without a body.", closes=True)


def two_lengths() -> ProblemError:
    """Refuse a body whose length is given in two ways."""
    message = "Send either Content-Length or Transfer-Encoding, not both."
    return ProblemError(400, "two-lengths", message, closes=True)


def body_too_large(most: int) -> ProblemError:
    """Refuse a body of more than ``most`` bytes."""
    message = f"The request is too large. Send at most {most // 1024} KiB."
    return ProblemError(413, "body-too-large", message, closes=True)


def body_too_slow(seconds: float) -> ProblemError:
    """Refuse a body that did not arrive in time."""
    message = f"The request took more than {seconds:g} seconds to arrive. Send it again."
    return ProblemError(408, "too-slow", message, closes=True)


def too_many_fields(most: int) -> ProblemError:
    """Refuse a form with countless fields."""
    message = f"The form has too many fields. Send at most {most:,}."
    return ProblemError(400, "too-many-fields", message, closes=True)


def too_many_bodies() -> ProblemError:
    """Refuse a body because the unanswered requests hold too much in total."""
    message = "Too much data is being sent right now. Try again in a few seconds."
    return ProblemError(503, "too-much-at-once", message, retry_after=_RETRY_SECONDS, closes=True)


def not_utf_8() -> ProblemError:
    """Refuse a form in another charset."""
    return ProblemError(415, "not-utf-8", "Send the form in UTF-8.", closes=True)


def not_json() -> ProblemError:
    """Refuse a body that is not JSON."""
    return ProblemError(400, "not-json", "The body is not valid JSON. Send a JSON object.")


def invalid(field: str | None, fault: str) -> ProblemError:
    """Refuse a body whose field is missing or has the wrong type."""
    return ProblemError(422, "invalid", f"{field or 'The body'}: {fault}.", field)


# Courses, lessons, toolchains


def no_such_course(names: Iterable[str]) -> ProblemError:
    """Refuse a course that does not exist."""
    message = f"There is no course of that name. Choose one of: {', '.join(names)}."
    return ProblemError(404, "no-such-course", message, "course")


def broken_course(fault: str) -> ProblemError:
    """Refuse a course that cannot be loaded; ``fault`` is the sentence that names file and key."""
    return ProblemError(503, "broken-course", fault, "course")


def no_such_lesson() -> ProblemError:
    """Refuse a lesson that does not exist."""
    message = "There is no lesson of that name. The course map lists all lessons."
    return ProblemError(404, "no-such-lesson", message, "lesson")


def not_proven() -> ProblemError:
    """Refuse the page of compilers of a course that nobody has proven."""
    message = (
        "The course has not been proven on this machine yet. Run `playground lessons check --report FILE` to prove it."
    )
    return ProblemError(404, "not-proven", message)


def no_such_toolchain(name: str, names: Iterable[str]) -> ProblemError:
    """Refuse a toolchain that is not installed."""
    message = f"There is no toolchain {name[:20]!r} here. Installed: {', '.join(names) or 'none'}."
    return ProblemError(422, "no-such-toolchain", message, "toolchain")


def no_toolchain(status: int = 503) -> ProblemError:
    """Refuse whatever needs a toolchain on a machine without any."""
    message = "No Rust toolchain is installed. The playground's operator can install one with `playground setup`."
    return ProblemError(status, "no-toolchain", message)


def no_such_code(toolchain: str, code: str) -> ProblemError:
    """Refuse an error code without an explanation."""
    message = f"Rust {toolchain} has no explanation of {code[:20]!r}. An error code looks like E0463."
    return ProblemError(404, "no-such-code", message, "code")


# Runs


def no_such_run(field: str | None = None) -> ProblemError:
    """Refuse a run that does not exist, has expired, or is another seat's."""
    return ProblemError(404, "no-such-run", "This run does not exist or has expired. Run the command again.", field)


def restarted() -> ProblemError:
    """Refuse a run that the playground has forgotten because it was restarted."""
    return ProblemError(404, "no-such-run", "The playground was restarted. Run again.")


def no_such_run_of_lesson() -> ProblemError:
    """Refuse a run of another lesson."""
    return ProblemError(404, "no-such-run", "This lesson has no such run. Run the command again.")


def command_not_offered(fault: str) -> ProblemError:
    """Refuse a command; ``fault`` says what to change."""
    return ProblemError(422, "command-not-offered", fault, "command")


def nothing_to_compare() -> ProblemError:
    """Refuse to run a command on all compilers that looks at one binary."""
    message = "This command looks at one binary. Choose one compiler for it."
    return ProblemError(422, "nothing-to-compare", message, "toolchain")


def nothing_built_before() -> ProblemError:
    """Refuse a command that looks at an artifact when there is none, or the named run has none."""
    return ProblemError(409, "nothing-built", "Nothing has been built yet. Build first.", "after")


def nothing_built() -> ProblemError:
    """Refuse to look at the artifact of a run without one."""
    return ProblemError(409, "nothing-built", "This run has built nothing, or has not finished building.")


def not_stepped(fault: str) -> ProblemError:
    """Refuse to step through a program; ``fault`` says why."""
    return ProblemError(409, "not-stepped", fault)


def owner_queue_full(most: int, *, by_seat: bool) -> ProblemError:
    """Refuse one more waiting run of an owner, which is a seat or else an address."""
    whose = "Your seat" if by_seat else "Your address, without a cookie,"
    rule = "" if by_seat else " Runs without a cookie count by address; a request with a cookie counts by its seat."
    message = f"{whose} has {count(most, 'run')} waiting, the most it may have. Cancel one, or try again later.{rule}"
    return ProblemError(429, "owner-queue-full", message, retry_after=_RETRY_SECONDS)


def queue_full(most: int, *, by_seat: bool = True) -> ProblemError:
    """Refuse a run because the queue is full."""
    rule = "" if by_seat else " Runs without a cookie share one place in the queue with all others of their address."
    message = f"The queue is full ({count(most, 'run')}). Try again in a few seconds.{rule}"
    return ProblemError(503, "queue-full", message, retry_after=_RETRY_SECONDS)


def seat_deleted() -> ProblemError:
    """Refuse a run of a seat whose data was deleted meanwhile."""
    message = "Everything of your seat has just been deleted. Reload the page, then run again."
    return ProblemError(409, "seat-deleted", message)


def engine_unavailable() -> ProblemError:
    """Refuse a request because the broker or all workers are gone."""
    message = "The engine that executes runs cannot be reached. Try again in a minute."
    return ProblemError(503, "engine-unavailable", message, retry_after=_RETRY_SECONDS)


def storage_failed(error: Exception) -> ProblemError:
    """Refuse a run whose texts cannot be stored."""
    message = f"Your files cannot be stored ({error}). Ask the playground's operator to check its disk."
    return ProblemError(503, "storage", message)


# Streams and downloads


def too_many_streams(most: int) -> ProblemError:
    """Refuse one more event stream of a run or a seat."""
    message = f"{count(most, 'event stream')} may be open at once. Close one of them."
    return ProblemError(429, "too-many-streams", message, retry_after=_RETRY_SECONDS)


def too_many_streams_in_total() -> ProblemError:
    """Refuse one more event stream of the server."""
    message = "Too many pages are following a run right now. Try again in a few seconds."
    return ProblemError(503, "too-many-streams", message, retry_after=_RETRY_SECONDS)


def too_many_downloads(most: int) -> ProblemError:
    """Refuse one more download of a seat or an address."""
    message = f"{count(most, 'download')} may run at once. Wait until one of them has ended."
    return ProblemError(429, "too-many-downloads", message, retry_after=_RETRY_SECONDS)


def too_many_downloads_in_total() -> ProblemError:
    """Refuse one more download of the server."""
    message = "Too many downloads are running right now. Try again in a few seconds."
    return ProblemError(503, "too-many-downloads", message, retry_after=_RETRY_SECONDS)


# Choices on a page


def no_such_option() -> ProblemError:
    """Refuse a prediction that the question does not offer."""
    return ProblemError(422, "no-such-option", "The question has no such answer. Choose one from the page.")


def no_such_hint(most: int) -> ProblemError:
    """Refuse a hint that the lesson does not have."""
    return ProblemError(422, "no-such-hint", f"This step has {count(most, 'hint')}. Ask for one of them.")


def not_progress() -> ProblemError:
    """Refuse to import a file that no playground exported."""
    message = "This file is not a progress file of a playground. Choose one that you saved with Export."
    return ProblemError(422, "not-progress", message, "progress")


def no_cookie() -> ProblemError:
    """Refuse to import progress into a seat that the browser may never come back with."""
    message = (
        "Your browser sent no cookie, so your progress would be stored for a seat that it does not have. "
        "Allow cookies for this site, reload the course map, then import again."
    )
    return ProblemError(403, "no-cookie", message)


def no_room() -> ProblemError:
    """Refuse to import progress while the disk is nearly full."""
    message = "The playground's disk is nearly full, so nothing can be imported. Ask its operator to make room."
    return ProblemError(507, "no-room", message)


def no_such_edit() -> ProblemError:
    """Refuse to accept files that no tool of the run wrote."""
    return ProblemError(422, "no-such-offer", "This run offers no such files. Run the command again.", "choice")


def no_such_offer() -> ProblemError:
    """Refuse files that the lesson's text does not offer."""
    return ProblemError(422, "no-such-offer", "This step does not offer such files. Reload its page.", "choice")


def no_such_block() -> ProblemError:
    """Refuse to insert code that the lesson's text does not have."""
    return ProblemError(422, "no-such-block", "This step has no such code to insert. Reload its page.", "choice")


def no_such_page() -> ProblemError:
    """Refuse a page that this lesson does not have."""
    return ProblemError(404, "http-404", "There is nothing at this address. The course map is at /.")
