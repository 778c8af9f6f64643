BEGIN TRANSACTION;
CREATE TABLE files (
    seat text not null, lesson text not null, path text not null, text text not null,
    primary key (seat, lesson, path)
) without rowid;
INSERT INTO "files" VALUES('ada','no-std','Cargo.toml','[package]
name = "grüße"
');
INSERT INTO "files" VALUES('ada','no-std','src/main.rs','#![no_std]
');
INSERT INTO "files" VALUES('bob','hello-std','src/main.rs','fn main() {}
');
CREATE TABLE last_runs (
    seat text not null, lesson text not null, run text not null, command text not null, at text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "last_runs" VALUES('ada','no-std','0123456789abcdef0123456789abcdef','cargo build','2026-11-29T23:45:24+00:00');
CREATE TABLE reached (
    seat text not null, lesson text not null, at text not null, toolchain text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "reached" VALUES('ada','hello-std','2026-11-29T23:45:24+00:00','1.63');
COMMIT;
PRAGMA user_version = 1;
