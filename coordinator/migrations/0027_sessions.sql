-- The processes of coordinators that are at work, and the sessions that agents have with
-- them: what each process knows of itself, for the others. True to within seconds.
CREATE TABLE coordinators (
    -- The process; another one after a restart.
    instance   TEXT PRIMARY KEY,
    -- The id of its data directory: one process at a time is at work on that.
    directory  TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    -- Its last sign of life, and of all its sessions: a session without one ends.
    heard_at   BIGINT NOT NULL
);
CREATE TABLE sessions (
    -- Of an agent's sessions the one that began last counts.
    agent_id TEXT PRIMARY KEY REFERENCES agents (id),
    session  TEXT NOT NULL,
    -- With which process. Without a row in `coordinators` it has ended.
    instance TEXT NOT NULL,
    -- The agent's process.
    boot_id  TEXT NOT NULL,
    since    BIGINT NOT NULL
);
CREATE INDEX sessions_instance ON sessions (instance);
-- How far the attempts at work are, as it was a few seconds ago; gone when they end.
CREATE TABLE attempt_progress (
    job_id       TEXT NOT NULL REFERENCES jobs (id),
    attempt      BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    stage        TEXT NOT NULL,
    files        BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    total_files  BIGINT,
    total_bytes  BIGINT,
    bytes_stored BIGINT NOT NULL,
    warnings     BIGINT NOT NULL,
    PRIMARY KEY (job_id, attempt)
);
