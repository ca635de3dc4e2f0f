-- Snapshots that were entered by earlier versions have the time of their agent's
-- clock. As of all others, it lies between two moments of the coordinator's: their
-- attempt was offered at one, and published them at the other.
UPDATE snapshots SET published_at = (
    SELECT a.dispatched_at FROM job_attempts a
    WHERE a.job_id = snapshots.job_id AND a.attempt = snapshots.attempt)
WHERE published_at < (
    SELECT a.dispatched_at FROM job_attempts a
    WHERE a.job_id = snapshots.job_id AND a.attempt = snapshots.attempt);
UPDATE snapshots SET taken_at = (
    SELECT a.dispatched_at FROM job_attempts a
    WHERE a.job_id = snapshots.job_id AND a.attempt = snapshots.attempt)
WHERE taken_at < (
    SELECT a.dispatched_at FROM job_attempts a
    WHERE a.job_id = snapshots.job_id AND a.attempt = snapshots.attempt);
UPDATE snapshots SET taken_at = published_at WHERE taken_at > published_at;
