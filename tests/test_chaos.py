"""The quick half of the chaos test; ``python -m bench.chaos`` plays the whole of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.course import Lesson
from tests.support.chaos import ACTS, play
from tests.support.cluster import Cluster

QUICK = ("worker killed", "broker killed", "web killed", "web cut off", "store full")


@pytest.fixture
def cluster(open_folder: Path) -> Iterator[Cluster]:
    with Cluster(open_folder, max_file="64MB") as cluster:
        yield cluster


def test_no_death_loses_what_was_accepted(cluster: Cluster, lessons: dict[str, Lesson]) -> None:
    report = play(cluster, lessons, QUICK, clients=6, pause=0.5)
    assert report.wrong == []
    assert len(report.runs) > report.acts.total(), "the clients worked meanwhile"
    assert set(QUICK) <= set(ACTS)
