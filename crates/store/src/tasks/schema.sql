CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- `key` changes when a queue is purged: the tasks of the old key are removed bit by bit (`trash`).
CREATE TABLE queues (
    name   TEXT    PRIMARY KEY,
    key    INTEGER NOT NULL UNIQUE,
    tasks  INTEGER NOT NULL DEFAULT 0,
    bytes  INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    rules  TEXT,
    gone   INTEGER,
    purged INTEGER
) WITHOUT ROWID;
CREATE TABLE trash (key INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE tasks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    queue      INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    named      INTEGER NOT NULL,
    eta        INTEGER NOT NULL,
    tag        BLOB,
    created    INTEGER NOT NULL,
    retries    INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    first_try  INTEGER,
    dispatched INTEGER,
    elapsed    INTEGER,
    code       INTEGER,
    reason     TEXT,
    size       INTEGER NOT NULL,
    spec       BLOB    NOT NULL
);
CREATE UNIQUE INDEX tasks_by_name ON tasks (queue, name);
CREATE INDEX tasks_by_eta ON tasks (queue, eta, id);
CREATE INDEX tasks_by_tag ON tasks (queue, tag, eta, id) WHERE tag IS NOT NULL;
CREATE TABLE tombstones (queue TEXT NOT NULL, name TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (queue, name)) WITHOUT ROWID;
CREATE INDEX tombstones_by_time ON tombstones (until);
-- Tasks that a process still executes after it has let the state go: its successor leaves them alone until then.
CREATE TABLE held (id INTEGER PRIMARY KEY, until INTEGER NOT NULL);
INSERT INTO meta (name, value) VALUES ('schema', '1');
