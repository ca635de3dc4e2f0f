-- Uploads and downloads: sealed pieces that lie in a repository's transfers/
-- until they are fetched. The pieces are rows of objects with this id as their
-- job_id; a download has the id of its job.
CREATE TABLE transfers (
    id           TEXT PRIMARY KEY,
    direction    TEXT NOT NULL,
    repository   TEXT NOT NULL REFERENCES repositories (name),
    agent_id     TEXT NOT NULL REFERENCES agents (id),
    -- NULL while an upload's pieces still come.
    job_id       TEXT REFERENCES jobs (id),
    requested_by TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    ended_at     BIGINT,
    -- Of an upload: what its job will do, but for the manifest. JSON.
    work         TEXT
);
CREATE INDEX transfers_job ON transfers (job_id);
-- To which uploads are sealed: 64 hex digits.
ALTER TABLE agents ADD COLUMN transfer_key TEXT;
