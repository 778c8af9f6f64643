"""The tables, as migrations from each version of the database to the next."""

from collections.abc import Iterable, Sequence

Migrations = Sequence[Iterable[str]]
"""Statements by version: those at index ``n`` migrate version ``n`` to version ``n + 1``."""

TABLES = (
    *("files", "reached", "last_runs", "snapshots", "versions", "guides"),
    *("members", "tries", "messages", "shown", "links"),
)
"""Every table about seats; each has a column ``seat``."""

ROOM_TABLES = ("class", "instructors", "sums")
"""The tables about the class as a whole."""

# `if not exists`: a process that was killed while it made the first tables left some of them at version 0.
MIGRATIONS: Migrations = (
    (
        """create table if not exists files (
            seat text not null, lesson text not null, path text not null, text text not null,
            primary key (seat, lesson, path)
        ) without rowid""",
        """create table if not exists reached (
            seat text not null, lesson text not null, at text not null, toolchain text not null,
            primary key (seat, lesson)
        ) without rowid""",
        """create table if not exists last_runs (
            seat text not null, lesson text not null, run text not null, command text not null, at text not null,
            primary key (seat, lesson)
        ) without rowid""",
    ),
    (
        """create table if not exists snapshots (
            seat text not null, lesson text not null, kind text not null, files text not null,
            primary key (seat, lesson, kind)
        ) without rowid""",
        """create table if not exists versions (
            seat text not null, lesson text not null, side text not null, number integer not null,
            what text not null, files text not null,
            primary key (seat, lesson, side, number)
        ) without rowid""",
        """create table if not exists guides (
            seat text not null, lesson text not null, opened integer not null default 0,
            choice text, happened text, toolchain text,
            primary key (seat, lesson)
        ) without rowid""",
    ),
    # The lesson boot-arm was split in two. A seat that had reached the whole of it has reached both halves.
    (
        """insert or ignore into reached (seat, lesson, at, toolchain)
            select seat, 'boot-arm-uart', at, toolchain from reached where lesson = 'boot-arm'""",
    ),
    # The classroom. Times are seconds since 1970.
    (
        """create table members (
            number integer primary key, seat text not null unique, name text not null,
            joined real not null, seen real not null, lesson text not null default '', since real not null,
            hand real, asked real, moved real, mover text not null default ''
        )""",
        """create table tries (
            id integer primary key, seat text not null, course text not null, digest text not null,
            lesson text not null, at real not null, reached integer not null, status text not null, class text,
            failed text not null, seconds real not null
        )""",
        "create index tries_by_seat on tries (seat, lesson, at)",
        """create table messages (
            id integer primary key, seat text not null, lesson text not null, at real not null,
            kind text not null, text text not null
        )""",
        """create table shown (
            id integer primary key, seat text not null unique, run text not null, lesson text not null,
            until real not null
        )""",
        """create table links (
            hash text primary key, seat text not null, until real not null, maker text not null
        ) without rowid""",
        "create table class (key text primary key, value text not null) without rowid",
        """create table instructors (
            id text primary key, key text not null, name text not null, at real not null
        ) without rowid""",
        """create table sums (
            lesson text not null, what text not null, count integer not null, primary key (lesson, what)
        ) without rowid""",
    ),
    # A run whose verdict is stored again after a restart is one try. Those that came before have no run's id.
    (
        "alter table tries add column run text not null default ''",
        "create unique index tries_by_run on tries (run) where run != ''",
    ),
)
"""Append a migration to change the schema; never edit one that was released."""
