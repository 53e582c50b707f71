-- The last entries of a ledger are found without reading all of it.
CREATE INDEX ledger_by_number ON ledger (account, number);

-- Since when a job may be removed by age; absent while it must stay. Only those rows are in the index, so ready brands,
-- which stay, do not have to be passed over.
ALTER TABLE jobs ADD COLUMN removable_since INTEGER;
UPDATE jobs SET removable_since = 1000000 * unixepoch(coalesce(
    json_extract(document, '$.completedAt'), json_extract(document, '$.failedAt'),
    json_extract(document, '$.cancelledAt')))
WHERE status IN ('completed', 'failed', 'cancelled') AND due_at IS NULL;
CREATE INDEX jobs_by_age ON jobs (removable_since) WHERE removable_since IS NOT NULL;

-- Ids of deleted jobs are remembered for a while only.
ALTER TABLE deleted_jobs ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;
UPDATE deleted_jobs SET deleted_at = 1000000 * unixepoch();
CREATE INDEX deleted_jobs_by_age ON deleted_jobs (deleted_at);
