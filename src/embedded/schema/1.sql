-- Times are whole microseconds since 1970-01-01T00:00:00Z.

-- One row: the number of the last change of any job. It never goes back, so "everything after n" finds what another
-- process changed, even when the newest job has been deleted since.
CREATE TABLE sequence (value INTEGER NOT NULL) STRICT;
INSERT INTO sequence (value) VALUES (0);

-- The document is the truth; the other columns repeat what the indexes need. A kind is the prefix of its jobs' ids.
CREATE TABLE jobs (
    row        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    user_id    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER,
    version    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    document   TEXT    NOT NULL
) STRICT;
-- Lists: one range per status, merged by the reader. One index instead of two keeps the hot path short.
CREATE INDEX jobs_by_user ON jobs (user_id, kind, status, created_at, id);
CREATE INDEX jobs_by_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_seq ON jobs (seq);

-- Ids whose job was deleted: their idempotency key is spent.
CREATE TABLE deleted_jobs (id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

-- The checks repeat the domain's invariants: a defect must not become a wrong balance.
CREATE TABLE accounts (
    id        TEXT    NOT NULL PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0),
    held      INTEGER NOT NULL CHECK (held >= 0),
    spent     INTEGER NOT NULL CHECK (spent >= 0),
    granted   INTEGER NOT NULL,
    entries   INTEGER NOT NULL, -- in the ledger
    CHECK (available + held + spent = granted)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    account TEXT    NOT NULL,
    number  INTEGER NOT NULL, -- 1 is the account's first; the clock does not say which of two came first
    id      TEXT    NOT NULL,
    job_id  TEXT,
    verb    TEXT    NOT NULL,
    amount  INTEGER NOT NULL CHECK (amount > 0),
    at      INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

-- Message ids are never used again (AUTOINCREMENT), so an id in a log means one message.
CREATE TABLE messages (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             TEXT    NOT NULL,
    data             BLOB    NOT NULL,
    attributes       TEXT,
    published_at     INTEGER NOT NULL,
    visible_at       INTEGER NOT NULL,
    delivery_attempt INTEGER NOT NULL DEFAULT 1
) STRICT;
-- One subscription per kind of job.
CREATE INDEX messages_by_turn ON messages (kind, visible_at);

CREATE TABLE dead_letters (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    key          TEXT    NOT NULL UNIQUE,
    data         BLOB    NOT NULL,
    attributes   TEXT,
    published_at INTEGER NOT NULL
) STRICT;
