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
CREATE TABLE guides (
    seat text not null, lesson text not null, opened integer not null default 0,
    choice text, happened text, toolchain text,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "guides" VALUES('ada','no-std',2,'x','y','1.96');
CREATE TABLE last_runs (
    seat text not null, lesson text not null, run text not null, command text not null, at text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "last_runs" VALUES('ada','no-std','0123456789abcdef0123456789abcdef','cargo build','2026-11-29T23:45:24.762120+00:00');
CREATE TABLE reached (
    seat text not null, lesson text not null, at text not null, toolchain text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "reached" VALUES('ada','hello-std','2026-11-29T23:45:24+00:00','1.63');
CREATE TABLE snapshots (
    seat text not null, lesson text not null, kind text not null, files text not null,
    primary key (seat, lesson, kind)
) without rowid;
INSERT INTO "snapshots" VALUES('ada','no-std','ran','{"src/main.rs": "#![no_std]\n"}');
CREATE TABLE versions (
    seat text not null, lesson text not null, side text not null, number integer not null,
    what text not null, files text not null,
    primary key (seat, lesson, side, number)
) without rowid;
INSERT INTO "versions" VALUES('ada','no-std','undo',1,'you applied the solution','{"src/main.rs": "fn main() {}\n"}');
COMMIT;
PRAGMA user_version = 3;
