BEGIN TRANSACTION;
CREATE TABLE class (key text primary key, value text not null) without rowid;
INSERT INTO "class" VALUES('address','http://192.168.1.5:8000');
INSERT INTO "class" VALUES('code','');
INSERT INTO "class" VALUES('name','Rust in November');
INSERT INTO "class" VALUES('opened','1764500000.0');
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
CREATE TABLE instructors (
            id text primary key, key text not null, name text not null, at real not null
        ) without rowid;
INSERT INTO "instructors" VALUES('first','0123456789abcdefABCDEF','',1764500000.0);
CREATE TABLE last_runs (
    seat text not null, lesson text not null, run text not null, command text not null, at text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "last_runs" VALUES('ada','no-std','0123456789abcdef0123456789abcdef','cargo build','2026-11-29T23:45:24.762120+00:00');
CREATE TABLE links (
            hash text primary key, seat text not null, until real not null, maker text not null
        ) without rowid;
INSERT INTO "links" VALUES('00ff','ada',1764500600.0,'you');
CREATE TABLE members (
            number integer primary key, seat text not null unique, name text not null,
            joined real not null, seen real not null, lesson text not null default '', since real not null,
            hand real, asked real, moved real, mover text not null default ''
        );
INSERT INTO "members" VALUES(1,'ada','Ada',1764500001.0,1764500001.0,'no-std',1764500060.0,1764500080.0,NULL,NULL,'');
CREATE TABLE messages (
            id integer primary key, seat text not null, lesson text not null, at real not null,
            kind text not null, text text not null
        );
INSERT INTO "messages" VALUES(1,'ada','no-std',1764500070.0,'sentence','Read the first line of the error.');
CREATE TABLE reached (
    seat text not null, lesson text not null, at text not null, toolchain text not null,
    primary key (seat, lesson)
) without rowid;
INSERT INTO "reached" VALUES('ada','hello-std','2026-11-29T23:45:24+00:00','1.63');
CREATE TABLE shown (
            id integer primary key, seat text not null unique, run text not null, lesson text not null,
            until real not null
        );
INSERT INTO "shown" VALUES(1,'ada','0123456789abcdef0123456789abcdef','no-std',1764503600.0);
CREATE TABLE snapshots (
    seat text not null, lesson text not null, kind text not null, files text not null,
    primary key (seat, lesson, kind)
) without rowid;
INSERT INTO "snapshots" VALUES('ada','no-std','ran','{"src/main.rs": "#![no_std]\n"}');
CREATE TABLE sums (
            lesson text not null, what text not null, count integer not null, primary key (lesson, what)
        ) without rowid;
CREATE TABLE tries (
            id integer primary key, seat text not null, course text not null, digest text not null,
            lesson text not null, at real not null, reached integer not null, status text not null, class text,
            failed text not null, seconds real not null
        , run text not null default '');
INSERT INTO "tries" VALUES(1,'ada','freestanding-rust-binary','0000000000000000000000000000000000000000000000000000000000000000','no-std',1764500060.0,0,'failed','panic-handler-missing','errors',0.31,'fedcba9876543210fedcba9876543210');
CREATE TABLE versions (
    seat text not null, lesson text not null, side text not null, number integer not null,
    what text not null, files text not null,
    primary key (seat, lesson, side, number)
) without rowid;
INSERT INTO "versions" VALUES('ada','no-std','undo',1,'you applied the solution','{"src/main.rs": "fn main() {}\n"}');
CREATE INDEX tries_by_seat on tries (seat, lesson, at);
CREATE UNIQUE INDEX tries_by_run on tries (run) where run != '';
COMMIT;
PRAGMA user_version = 5;
