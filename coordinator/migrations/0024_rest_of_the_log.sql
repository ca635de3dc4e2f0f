-- When what an agent allows, or which connections it names, was last other than it
-- had said before: what it refused is then tried again.
ALTER TABLE agents ADD COLUMN told_at BIGINT;

-- What ends last of a dataset's parts of a timeline is found without reading them all.
CREATE INDEX wal_parts_of_dataset
    ON wal_parts (repository, system, line, dataset, timeline, start_lsn);

-- Whose agent found a name in the log. Of earlier ones: whose part it lies in, or whose
-- timeline that is; empty when neither is known.
CREATE TABLE wal_restore_points_of_datasets (
    repository TEXT NOT NULL REFERENCES repositories (name),
    system     TEXT NOT NULL,
    line       BIGINT NOT NULL,
    timeline   BIGINT NOT NULL,
    lsn        BIGINT NOT NULL,
    name       TEXT NOT NULL,
    dataset    TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (repository, system, line, timeline, lsn, name, dataset)
);
INSERT INTO wal_restore_points_of_datasets (repository, system, line, timeline, lsn, name, dataset,
                                            at)
SELECT r.repository, r.system, r.line, r.timeline, r.lsn, r.name,
       COALESCE((SELECT p.dataset FROM wal_parts p
                 WHERE p.repository = r.repository AND p.system = r.system AND p.line = r.line
                   AND p.timeline = r.timeline AND p.start_lsn < r.lsn
                   AND p.start_lsn > r.lsn - 16777216 - 1 AND p.end_lsn >= r.lsn
                 ORDER BY p.stored_at, p.dataset LIMIT 1),
                (SELECT s.dataset FROM wal_shares s
                 WHERE s.repository = r.repository AND s.system = r.system AND s.line = r.line
                   AND s.timeline = r.timeline
                 ORDER BY s.since, s.dataset LIMIT 1),
                ''),
       r.at
FROM wal_restore_points r;
DROP TABLE wal_restore_points;
ALTER TABLE wal_restore_points_of_datasets RENAME TO wal_restore_points;
