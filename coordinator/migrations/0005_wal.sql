-- PostgreSQL's write-ahead log in the stores. Clusters by system identifier
-- (decimal digits), positions in the log as numbers.

-- Every part that its agent has stored and entered. A part lies in another when
-- that was stored later and holds all of it; it is then deleted after a while.
CREATE TABLE wal_parts (
    repository    TEXT NOT NULL REFERENCES repositories (name),
    system        TEXT NOT NULL,
    timeline      BIGINT NOT NULL,
    start_lsn     BIGINT NOT NULL,
    end_lsn       BIGINT NOT NULL,
    id            TEXT NOT NULL,
    length        BIGINT NOT NULL,
    -- How many commits end in it; the three below are NULL when none does.
    commits       BIGINT NOT NULL,
    last_commit   BIGINT,
    first_xid     BIGINT,
    last_xid      BIGINT,
    dataset       TEXT NOT NULL,
    stored_at     BIGINT NOT NULL,
    superseded_at BIGINT,
    PRIMARY KEY (repository, system, timeline, start_lsn, end_lsn)
);
CREATE INDEX wal_parts_id ON wal_parts (repository, id);

-- What the parts cover, without overlaps, each as long as it can be: between
-- two stretches of a timeline there is a gap.
CREATE TABLE wal_stretches (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    timeline   BIGINT NOT NULL,
    start_lsn  BIGINT NOT NULL,
    end_lsn    BIGINT NOT NULL,
    PRIMARY KEY (repository, system, timeline, start_lsn)
);

CREATE TABLE wal_histories (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    timeline   BIGINT NOT NULL,
    id         TEXT NOT NULL,
    length     BIGINT NOT NULL,
    -- The timelines before it, and where each was left: JSON.
    legs       TEXT NOT NULL,
    PRIMARY KEY (repository, system, timeline)
);

CREATE TABLE wal_restore_points (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    timeline   BIGINT NOT NULL,
    lsn        BIGINT NOT NULL,
    name       TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (repository, system, timeline, lsn, name)
);

-- How far the log of each dataset is known, by its agent's last word.
CREATE TABLE wal_positions (
    dataset     TEXT PRIMARY KEY,
    repository  TEXT NOT NULL REFERENCES repositories (name),
    system      TEXT NOT NULL,
    timeline    BIGINT NOT NULL,
    lsn         BIGINT NOT NULL,
    as_of       BIGINT,
    waiting     BIGINT NOT NULL,
    problem     TEXT,
    reported_at BIGINT NOT NULL
);
