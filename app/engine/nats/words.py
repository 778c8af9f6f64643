"""Sentences of the engine on NATS."""

BROKER_GONE = "the broker cannot be reached; runs go on when it is back"
INTERRUPTED = (
    "The playground cannot reach its workers at the moment. "
    "Runs in progress go on, and what they print appears here later."
)
NO_WORKER = "no worker is connected; start one with playground worker"
NO_ANSWER = "No worker answers at the moment."
BEGUN_AGAIN = "The worker was lost; started again."
HANDED_ON = "The worker was stopped; started again."
TOO_MANY_ATTEMPTS = "Three workers were lost while they ran this, so it is not started again."


def unreachable(url: str, why: str) -> str:
    """Explain that the broker does not answer at the start."""
    return f"The broker at {url} cannot be reached{': ' + why if why else ''}. Start nats-server with JetStream there."


def too_old(version: str) -> str:
    """Explain that the broker lacks functions that fence writers."""
    return f"The broker is nats-server {version}; the engine needs 2.11 or newer. Use the upstream binary or image."


def small_messages(most: int, needed: int) -> str:
    """Explain that a job or an event may not fit into a message of the broker."""
    return (
        f"The broker takes messages of at most {most:,} bytes, but runs with these settings need {needed:,}. "
        f"Set max_payload: {needed} in the broker's configuration, as deploy/nats.conf does."
    )


def no_streams(name: str, why: str) -> str:
    """Explain that a stream cannot be created."""
    return f"The stream {name} cannot be created at the broker: {why}. JetStream must be on (nats-server --jetstream)."


def other_course(worker: str, course: str) -> str:
    """Explain that a worker has another edition of a course."""
    return f"Worker {worker} has another edition of the course {course} and gets none of its runs. Update one of them."


def not_isolated(worker: str) -> str:
    """Explain that a worker would run strangers' programs as its own user."""
    return f"Worker {worker} cannot isolate runs, and others can reach this server, so it gets no runs."


def no_keys(folder: str, role: str, why: str) -> str:
    """Explain that the folder of keys cannot be used."""
    return f"PLAYGROUND_ENGINE_KEYS names {folder}, which has no usable key of the {role}: {why}."


def refuses(why: str) -> str:
    """Say that the broker stores nothing, as when its disk or its limit is full."""
    return f"the broker refuses to store messages: {why}"


def was_away(seconds: int) -> str:
    """Say in a run's log that the broker was away. Nothing is lost then, only late."""
    return f"The broker was away for {seconds} second{'' if seconds == 1 else 's'}; the run went on."
