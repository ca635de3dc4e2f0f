-- Since when jobs are shown an index file: since its attempt has a snapshot.
-- Those that were shown to all before this rule stay so, for snapshots need them.
ALTER TABLE objects ADD COLUMN shown_at BIGINT;
UPDATE objects SET shown_at = granted_at WHERE kind = 'index';
CREATE INDEX objects_withheld ON objects (repository) WHERE kind = 'index' AND shown_at IS NULL;
