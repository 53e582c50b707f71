-- A job's entries are told apart by its own row, which is written with them: an index over their ids, which are random,
-- would touch a page of its own for each entry, and cost the more the longer the ledger is.
ALTER TABLE jobs ADD COLUMN entries TEXT NOT NULL DEFAULT ''; -- ids in the ledger, without the job's, each ended by a space
UPDATE jobs SET entries = coalesce((
    SELECT group_concat(substr(ledger.id, length(jobs.id) + 1), ' ') || ' ' FROM ledger
    WHERE ledger.account = iif(jobs.team_id IS NULL, 'users/' || jobs.user_id, 'teams/' || jobs.team_id)
        AND ledger.id > jobs.id || ':' AND ledger.id < jobs.id || ';'), '');

-- In the order in which it is written and read.
ALTER TABLE ledger RENAME TO ledger_before;
CREATE TABLE ledger (
    account TEXT    NOT NULL,
    number  INTEGER NOT NULL, -- 1 is the account's first; the clock does not say which of two came first
    id      TEXT    NOT NULL,
    job_id  TEXT,
    verb    TEXT    NOT NULL,
    amount  INTEGER NOT NULL CHECK (amount > 0),
    at      INTEGER NOT NULL,
    PRIMARY KEY (account, number)
) STRICT, WITHOUT ROWID;
INSERT INTO ledger (account, number, id, job_id, verb, amount, at)
    SELECT account, number, id, job_id, verb, amount, at FROM ledger_before ORDER BY account, number;
DROP TABLE ledger_before;
-- Grants are few, and belong to no job.
CREATE UNIQUE INDEX ledger_grants ON ledger (account, id) WHERE job_id IS NULL;

-- Since when a job may be removed by age; absent while it must stay. Only those rows are in the index, so ready brands,
-- which stay, do not have to be passed over.
ALTER TABLE jobs ADD COLUMN removable_since INTEGER;
UPDATE jobs SET removable_since = 1000000 * unixepoch(coalesce(
    json_extract(document, '$.completedAt'), json_extract(document, '$.failedAt'),
    json_extract(document, '$.cancelledAt')))
WHERE status IN ('completed', 'failed', 'cancelled') AND due_at IS NULL;
CREATE INDEX jobs_by_age ON jobs (removable_since) WHERE removable_since IS NOT NULL;
