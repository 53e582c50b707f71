-- Teams: who belongs to which, and the jobs a team pays for.
CREATE TABLE users (
    id      TEXT NOT NULL PRIMARY KEY,
    team_id TEXT
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN team_id TEXT;
CREATE INDEX jobs_by_team ON jobs (team_id, kind, status, created_at, id) WHERE team_id IS NOT NULL;
