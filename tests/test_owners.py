"""The owners that the queue knows: who is present, and whose runs take long."""

from dataclasses import dataclass

from app.engine.owners import PRESENT_SECONDS, SHORT_RUNS, Owners


@dataclass
class Clock:
    """A clock that a test advances."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_short_run_is_enough_for_a_new_owner() -> None:
    owners = Owners(Clock())
    assert owners.standing("a") == "new"
    owners.note_run("a", long=False)
    assert owners.standing("a") == "short"


def test_after_a_long_run_several_short_ones_in_a_row_are_needed() -> None:
    owners = Owners(Clock())
    owners.note_run("a", long=True)
    for _ in range(2):
        for _ in range(SHORT_RUNS - 1):
            owners.note_run("a", long=False)
            assert owners.standing("a") == "long"
        owners.note_run("a", long=True)
    for _ in range(SHORT_RUNS):
        owners.note_run("a", long=False)
    assert owners.standing("a") == "short"


def test_owners_are_present_for_a_while_after_they_were_seen() -> None:
    clock = Clock()
    owners = Owners(clock)
    owners.note_presence("a")
    assert not owners.are_others_present("a")
    assert owners.are_others_present(None)
    clock.now += PRESENT_SECONDS - 1
    assert owners.are_others_present("b")
    clock.now += 2
    assert not owners.are_others_present("b")


def test_presence_follows_the_standing() -> None:
    owners = Owners(Clock())
    owners.note_presence("a")
    assert owners.is_present("new")
    owners.note_run("a", long=True)
    assert owners.is_present("long")
    assert not owners.is_present("new", "short")
    owners.note_run("b", long=False)
    assert not owners.is_present("short"), "that a run has ended does not mean that its owner is still there"


def test_the_present_ones_of_one_standing_do_not_displace_those_of_another() -> None:
    clock = Clock()
    owners = Owners(clock)
    owners.note_run("honest", long=False)
    owners.note_presence("honest")
    for number in range(10_000):
        clock.now += 0.001
        owners.note_presence(f"x{number}")
    assert owners.is_present("short")
    assert sum(map(len, owners._seen.values())) < 100


def test_only_the_owners_whose_runs_ended_last_are_known() -> None:
    owners = Owners(Clock())
    for number in range(20_000):
        owners.note_run("a", long=False)
        owners.note_run(f"x{number}", long=True)
    assert owners.standing("a") == "short"
    assert owners.standing("x0") == "new"
    assert len(owners._missing) <= 10_000
