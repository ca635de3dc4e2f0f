-- What is not believed of agents any more.

-- When the coordinator granted a snapshot's PUT: what is newest is decided by
-- this, and taken_at, which agents tell, is only shown.
ALTER TABLE snapshots ADD COLUMN published_at BIGINT NOT NULL DEFAULT 0;
UPDATE snapshots SET published_at = COALESCE(
    (SELECT CASE WHEN a.ended_at < snapshots.taken_at THEN a.ended_at END
     FROM job_attempts a
     WHERE a.job_id = snapshots.job_id AND a.attempt = snapshots.attempt),
    taken_at);
UPDATE snapshots SET taken_at = published_at WHERE taken_at > published_at;
CREATE INDEX snapshots_newest ON snapshots (dataset, published_at);

-- When a report was refused because its attempt had ended: noted once.
ALTER TABLE job_attempts ADD COLUMN contradicted_at BIGINT;

-- What an attempt was granted to write, in objects of its own and bytes.
ALTER TABLE job_attempts ADD COLUMN put_objects BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job_attempts ADD COLUMN put_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE job_attempts SET
    put_objects = (SELECT COUNT(*) FROM objects o
                   WHERE o.job_id = job_attempts.job_id AND o.attempt = job_attempts.attempt),
    put_bytes = (SELECT CAST(COALESCE(SUM(o.length), 0) AS BIGINT) FROM objects o
                 WHERE o.job_id = job_attempts.job_id AND o.attempt = job_attempts.attempt);

-- The most that one attempt may write, bytes; NULL: no such limit.
ALTER TABLE jobs ADD COLUMN new_data BIGINT;
-- What is odd about a job, for people.
ALTER TABLE jobs ADD COLUMN alarm TEXT;
