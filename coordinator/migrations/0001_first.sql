-- One schema for SQLite and Postgres: BIGINT (Unix microseconds UTC, counts,
-- flags 0/1) and TEXT (UUIDs, hex, JSON, words) only.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE agents (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    labels       TEXT NOT NULL,
    enrolled_at  BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_seen    BIGINT,
    version      TEXT,
    hostname     TEXT,
    os           TEXT,
    architecture TEXT,
    consent      TEXT
);
-- A name is free again once its agent is revoked.
CREATE UNIQUE INDEX agents_active_name ON agents (name) WHERE revoked_at IS NULL;

CREATE TABLE join_tokens (
    id          TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    labels      TEXT NOT NULL,
    agent_name  TEXT,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    used_at     BIGINT,
    used_by     TEXT REFERENCES agents (id),
    revoked_at  BIGINT
);

CREATE TABLE agent_certificates (
    serial     TEXT PRIMARY KEY,
    agent_id   TEXT NOT NULL REFERENCES agents (id),
    issued_at  BIGINT NOT NULL,
    not_after  BIGINT NOT NULL
);
CREATE INDEX agent_certificates_agent ON agent_certificates (agent_id);

CREATE TABLE operators (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT,
    last_used   BIGINT
);
CREATE UNIQUE INDEX operators_active_name ON operators (name) WHERE revoked_at IS NULL;

CREATE TABLE policies (
    name            TEXT PRIMARY KEY,
    document        TEXT NOT NULL,
    revision        BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    -- When its schedule or its choice of agents last changed: runs due before
    -- that are not caught up.
    scheduled_since BIGINT NOT NULL
);

-- The last scheduled run of each dataset, so that none is run twice.
CREATE TABLE dataset_runs (
    policy   TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents (id),
    last_due BIGINT NOT NULL,
    PRIMARY KEY (policy, agent_id)
);

CREATE TABLE repositories (
    name            TEXT PRIMARY KEY,
    store           TEXT NOT NULL,
    prefix          TEXT NOT NULL,
    agent_id        TEXT NOT NULL REFERENCES agents (id),
    ready_at        BIGINT,
    sealed_password TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (store, prefix)
);

CREATE TABLE jobs (
    id               TEXT PRIMARY KEY,
    idempotency_key  TEXT UNIQUE,
    kind             TEXT NOT NULL,
    policy           TEXT,
    agent_id         TEXT NOT NULL REFERENCES agents (id),
    agent_name       TEXT NOT NULL,
    dataset          TEXT,
    store            TEXT NOT NULL,
    repository       TEXT NOT NULL,
    work             TEXT NOT NULL,
    timeout_seconds  BIGINT,
    max_attempts     BIGINT NOT NULL,
    upload_rate      BIGINT,
    trace_id         TEXT NOT NULL,
    root_span_id     TEXT NOT NULL,
    requested_by     TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    state            TEXT NOT NULL,
    attempt          BIGINT NOT NULL,
    failed_attempts  BIGINT NOT NULL,
    not_before       BIGINT NOT NULL,
    boot_id          TEXT,
    lease_expires    BIGINT,
    dispatched_at    BIGINT,
    started_at       BIGINT,
    finished_at      BIGINT,
    cancel_requested BIGINT,
    cancel_reason    TEXT,
    cancel_by        TEXT,
    failure          TEXT,
    snapshot         TEXT,
    warning_count    BIGINT NOT NULL,
    peak_resident    BIGINT
);
CREATE INDEX jobs_state ON jobs (state, not_before);
CREATE INDEX jobs_dataset ON jobs (dataset, id);
CREATE INDEX jobs_agent ON jobs (agent_id, id);

CREATE TABLE job_attempts (
    job_id        TEXT NOT NULL REFERENCES jobs (id),
    attempt       BIGINT NOT NULL,
    boot_id       TEXT NOT NULL,
    dispatched_at BIGINT NOT NULL,
    started_at    BIGINT,
    ended_at      BIGINT,
    report_id     TEXT,
    failure       TEXT,
    PRIMARY KEY (job_id, attempt)
);

-- What a job's last report said in full; apart, so that lists stay light.
CREATE TABLE job_reports (
    job_id      TEXT PRIMARY KEY REFERENCES jobs (id),
    result      TEXT,
    warnings    TEXT NOT NULL,
    duration_ms BIGINT NOT NULL
);

CREATE TABLE snapshots (
    id            TEXT NOT NULL,
    repository    TEXT NOT NULL REFERENCES repositories (name),
    dataset       TEXT NOT NULL,
    policy        TEXT NOT NULL,
    agent_id      TEXT NOT NULL REFERENCES agents (id),
    job_id        TEXT NOT NULL REFERENCES jobs (id),
    attempt       BIGINT NOT NULL,
    taken_at      BIGINT NOT NULL,
    result        TEXT NOT NULL,
    warning_count BIGINT NOT NULL,
    pinned        BIGINT NOT NULL,
    -- 0 from the moment its PUT is granted until the report that it is there.
    confirmed     BIGINT NOT NULL,
    PRIMARY KEY (repository, id)
);
CREATE INDEX snapshots_dataset ON snapshots (dataset, taken_at);
CREATE INDEX snapshots_id ON snapshots (id);
CREATE INDEX snapshots_job ON snapshots (job_id);

-- Every object whose PUT was granted. The path is the key, so that the first
-- kind named for an object in data/ is the one that counts.
CREATE TABLE objects (
    repository TEXT NOT NULL REFERENCES repositories (name),
    path       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT,
    length     BIGINT NOT NULL,
    job_id     TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (repository, path)
);
CREATE INDEX objects_attempt ON objects (job_id, attempt, kind);
CREATE INDEX objects_kind ON objects (kind);

CREATE TABLE audit (
    id       TEXT PRIMARY KEY,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    object   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    trace_id TEXT
);
CREATE INDEX audit_object ON audit (object, id);
CREATE INDEX audit_action ON audit (action, id);
