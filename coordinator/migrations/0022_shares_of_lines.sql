-- Who has entered something of a timeline in a line of log, and since when: to the
-- first of them the timeline belongs.
CREATE TABLE wal_shares (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    dataset    TEXT NOT NULL,
    since      BIGINT NOT NULL,
    PRIMARY KEY (repository, system, line, timeline, dataset)
);
INSERT INTO wal_shares (repository, system, line, timeline, dataset, since)
SELECT repository, system, line, timeline, dataset, MIN(stored_at)
FROM wal_parts
GROUP BY repository, system, line, timeline, dataset;

-- A line ends for the dataset whose log contradicts it, and for no other; which one
-- it goes on with, once there is a base backup, is entered with that. Those that ended
-- before ended for all who had entered something.
CREATE TABLE wal_breaks_of_datasets (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    dataset    TEXT NOT NULL,
    next_line  BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    -- The place that holds two things, or behind which it does.
    lsn        BIGINT NOT NULL,
    -- For people: what differs.
    cause      TEXT NOT NULL,
    -- The object with the other content, which is kept; NULL: none was written.
    refused    TEXT,
    PRIMARY KEY (repository, system, line, dataset)
);
INSERT INTO wal_breaks_of_datasets (repository, system, line, dataset, next_line, at, timeline,
                                    lsn, cause, refused)
SELECT b.repository, b.system, b.line, d.dataset, b.line + 1, b.at, b.timeline, b.lsn, b.cause,
       b.refused
FROM wal_breaks b
JOIN (SELECT repository, system, line, dataset FROM wal_shares
      UNION SELECT repository, system, line, dataset FROM wal_breaks) d
  ON d.repository = b.repository AND d.system = b.system AND d.line = b.line;
DROP TABLE wal_breaks;
ALTER TABLE wal_breaks_of_datasets RENAME TO wal_breaks;
