-- Lines of log: what a cluster writes is one line until the same place holds
-- other content. Then the line ends, and a base backup begins the next. Lines
-- count from 0; what was archived before is all of line 0.

CREATE TABLE wal_parts_of_lines (
    repository    TEXT NOT NULL REFERENCES repositories (name),
    system        TEXT NOT NULL,
    line          BIGINT NOT NULL,
    timeline      BIGINT NOT NULL,
    start_lsn     BIGINT NOT NULL,
    end_lsn       BIGINT NOT NULL,
    id            TEXT NOT NULL,
    length        BIGINT NOT NULL,
    -- Keyed, of the log from where its unit begins up to end_lsn; NULL: entered
    -- by an earlier version.
    digest        TEXT,
    -- Of the same up to start_lsn, for parts that do not begin their unit.
    start_digest  TEXT,
    -- How many commits end in it; the three below are NULL when none does.
    commits       BIGINT NOT NULL,
    last_commit   BIGINT,
    first_xid     BIGINT,
    last_xid      BIGINT,
    dataset       TEXT NOT NULL,
    stored_at     BIGINT NOT NULL,
    superseded_at BIGINT,
    PRIMARY KEY (repository, system, line, timeline, start_lsn, end_lsn)
);
INSERT INTO wal_parts_of_lines (repository, system, line, timeline, start_lsn, end_lsn, id, length,
                                commits, last_commit, first_xid, last_xid, dataset, stored_at,
                                superseded_at)
SELECT repository, system, 0, timeline, start_lsn, end_lsn, id, length,
       commits, last_commit, first_xid, last_xid, dataset, stored_at, superseded_at
FROM wal_parts;
DROP TABLE wal_parts;
ALTER TABLE wal_parts_of_lines RENAME TO wal_parts;
CREATE INDEX wal_parts_id ON wal_parts (repository, id);

CREATE TABLE wal_stretches_of_lines (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    start_lsn  BIGINT NOT NULL,
    end_lsn    BIGINT NOT NULL,
    PRIMARY KEY (repository, system, line, timeline, start_lsn)
);
INSERT INTO wal_stretches_of_lines (repository, system, line, timeline, start_lsn, end_lsn)
SELECT repository, system, 0, timeline, start_lsn, end_lsn FROM wal_stretches;
DROP TABLE wal_stretches;
ALTER TABLE wal_stretches_of_lines RENAME TO wal_stretches;

CREATE TABLE wal_histories_of_lines (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    id         TEXT NOT NULL,
    length     BIGINT NOT NULL,
    -- Keyed, of the file; NULL: entered by an earlier version.
    digest     TEXT,
    -- The timelines before it, and where each was left: JSON.
    legs       TEXT NOT NULL,
    PRIMARY KEY (repository, system, line, timeline)
);
INSERT INTO wal_histories_of_lines (repository, system, line, timeline, id, length, legs)
SELECT repository, system, 0, timeline, id, length, legs FROM wal_histories;
DROP TABLE wal_histories;
ALTER TABLE wal_histories_of_lines RENAME TO wal_histories;

CREATE TABLE wal_restore_points_of_lines (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    lsn        BIGINT NOT NULL,
    name       TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (repository, system, line, timeline, lsn, name)
);
INSERT INTO wal_restore_points_of_lines (repository, system, line, timeline, lsn, name, at)
SELECT repository, system, 0, timeline, lsn, name, at FROM wal_restore_points;
DROP TABLE wal_restore_points;
ALTER TABLE wal_restore_points_of_lines RENAME TO wal_restore_points;

ALTER TABLE wal_positions ADD COLUMN line BIGINT NOT NULL DEFAULT 0;

-- Where lines ended: one row for each that did.
CREATE TABLE wal_breaks (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    -- The place that holds two things, or behind which it does.
    lsn        BIGINT NOT NULL,
    -- For people: what differs.
    cause      TEXT NOT NULL,
    -- The object with the other content, which is kept; NULL: none was written.
    refused    TEXT,
    dataset    TEXT NOT NULL,
    PRIMARY KEY (repository, system, line)
);

-- Numbers of timelines that were given to recoveries. They are the cluster's,
-- whatever line was recovered.
CREATE TABLE wal_timelines (
    repository  TEXT NOT NULL REFERENCES repositories (name),
    system      TEXT NOT NULL,
    timeline    BIGINT NOT NULL,
    reserved_at BIGINT NOT NULL,
    PRIMARY KEY (repository, system, timeline)
);
