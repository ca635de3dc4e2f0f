-- What changed, for programs that follow: each row is written in the transaction of
-- its change. It is forgotten after a while; the audit log is not.
CREATE TABLE events (
    -- Grows by one from commit to commit, without holes.
    seq        BIGINT PRIMARY KEY,
    at         BIGINT NOT NULL,
    -- As `noun.participle`: job.succeeded, snapshot.lost.
    kind       TEXT NOT NULL,
    -- What it concerns, as far as there is such a thing. No references: it may be gone
    -- when the event is read.
    job        TEXT,
    agent      TEXT,
    dataset    TEXT,
    policy     TEXT,
    repository TEXT,
    snapshot   TEXT,
    trace_id   TEXT,
    -- JSON: more, as the kind has it.
    detail     TEXT NOT NULL
);
