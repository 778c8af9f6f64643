"""The streams at the broker, and the subjects in them. Pure.

``run.<id>.spec.<seat>`` is an accepted job, ``run.<id>.lease`` the worker that writes the run's log, ``run.<id>.ev``
that log, ``run.<id>.cancel`` the wish to end it, ``run.<id>.stored`` the fact that its progress is stored.
``job.<group>.<owner>`` is a job for a group of workers, and ``built.<id>.<file>.<piece>`` a piece of an artifact. Not
stored are ``executed.<id>`` (no process of the run is left), ``forget.<id>``, ``hold.<worker>`` and ``ask.<worker>``.
"""

import hashlib
import re

RUNS, JOBS, BUILT, WORKERS = "RUNS", "JOBS", "BUILT", "KV_workers"
LIVE = "live."
"""The broker repeats what it has stored in ``RUNS`` and ``KV_workers`` under this prefix."""
ACK_SECONDS = 4.0
"""Seconds without a sign of life of its worker after which a job goes to another one."""
BEAT_SECONDS = 1.0
WORKER_TTL = 6.0
"""Seconds after which a silent worker counts as gone."""
OWNER_JOBS = 4
"""Jobs that one owner may have at the workers of a group; a further one waits in the web's queue."""
EVENTS = "Playground-Events"
"""The header of a job with the number of events that its log has already."""
CERTAIN = "Playground-Certain"
"""Present if that number is certain: the web has not lost the answer to any event of its own."""
FIRST = "Playground-First"
"""The header of a job with an event that its worker writes before its own, so that the web need not wait for it."""
YIELDS = "Playground-Yields"
"""The header of a job whose run leaves the processors to other runs from its start."""
MESSAGE = 4 * 1024 * 1024
"""Bytes that a message must be able to have with the default settings."""
_DAY = 86400.0
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_run_id(text: str) -> bool:
    """Return True if the text can be a part of a subject."""
    return _SAFE.fullmatch(text) is not None


def token(owner: str | None) -> str:
    """Return a part of a subject that stands for an owner."""
    return "none" if owner is None else hashlib.sha256(owner.encode()).hexdigest()[:24]


def of_run(run_id: str, kind: str) -> str:
    """Return the subject of a run's messages of that kind."""
    return f"run.{run_id}.{kind}"


def spec(run_id: str, owner: str | None) -> str:
    """Return the subject of an accepted job."""
    return f"run.{run_id}.spec.{token(owner)}"


def job(group: str, owner: str | None) -> str:
    """Return the subject of a job that a group of workers is to execute."""
    return f"job.{group}.{token(owner)}"


def built(run_id: str, file: int, piece: int) -> str:
    """Return the subject of a piece of an artifact, or of a file that belongs to it."""
    return f"built.{run_id}.{file}.{piece}"


def worker(worker_id: str) -> str:
    """Return the subject of what a worker announces."""
    return f"$KV.workers.{worker_id}"


def forgotten(run_id: str) -> str:
    """Return the subject under which the web tells every worker to drop what it has of a run; nobody stores it."""
    return f"forget.{run_id}"


def executed(run_id: str) -> str:
    """Return the subject under which a worker says that no process of a run is left; nobody stores it."""
    return f"executed.{run_id}"


def held_by(worker_id: str) -> str:
    """Return the subject under which a worker says whether it executes a run."""
    return f"hold.{worker_id}"


def largest_message(body_bytes: int, output_bytes: int) -> int:
    """Return the bytes that a message must be able to have with these settings.

    A job holds a request's body, and an event a compiler's message. As JSON, text takes up to twice its bytes.
    """
    return max(MESSAGE, 4 * max(body_bytes, output_bytes))


def configurations(ttl: float, replicas: int = 1) -> dict[str, dict[str, object]]:
    """Return the configuration of each stream. ``ttl``: the seconds that a finished run is kept.

    The web deletes runs in time. The broker's own ages are longer and count from the first message, so that they only
    remove what a web that is gone has left.
    """
    keep = {"max_age": round((2 * ttl + _DAY) * 1e9), "num_replicas": replicas, "allow_direct": True}
    return {
        RUNS: {
            **keep,
            "subjects": ["run.>"],
            "retention": "limits",
            "republish": {"src": "run.>", "dest": f"{LIVE}run.>"},
        },
        JOBS: {
            **keep,
            "subjects": ["job.*.*"],
            "retention": "workqueue",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": OWNER_JOBS,
            "max_age": 0,
        },
        BUILT: {**keep, "subjects": ["built.>"], "retention": "limits", "max_msgs_per_subject": 1},
        WORKERS: {
            **keep,
            "subjects": ["$KV.workers.>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "max_age": round(WORKER_TTL * 1e9),
            "duplicate_window": round(WORKER_TTL * 1e9),
            "storage": "memory",
            "allow_rollup_hdrs": True,
            "discard": "new",
            "republish": {"src": "$KV.workers.>", "dest": f"{LIVE}worker.>"},
        },
    }


def consumer(group: str) -> dict[str, object]:
    """Return the configuration of the consumer from which a group of workers takes its jobs.

    ``max_deliver`` has no bound, because a message that reached it would stay for ever: the lease counts attempts.
    """
    return {
        "durable_name": group,
        "filter_subject": f"job.{group}.*",
        "ack_policy": "explicit",
        "ack_wait": round(ACK_SECONDS * 1e9),
        "max_deliver": -1,
        "max_ack_pending": 10_000,
        "inactive_threshold": round(_DAY * 1e9),
    }
