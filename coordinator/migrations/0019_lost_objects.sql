-- What a store held and holds no more, or not whole (decision 0047).
CREATE TABLE lost_objects (
    repository  TEXT NOT NULL REFERENCES repositories (name),
    path        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    -- As it was written, bytes.
    length      BIGINT NOT NULL,
    -- What the store holds of it; NULL: nothing.
    found       BIGINT,
    -- When its PUT was granted.
    granted_at  BIGINT NOT NULL,
    noticed_at  BIGINT NOT NULL,
    -- An operator has seen it: it is no alarm any more.
    accepted_at BIGINT,
    PRIMARY KEY (repository, path)
);

-- When the store was last compared with the catalog, and how many objects it had
-- lost: more than are noted, when they are very many.
ALTER TABLE repositories ADD COLUMN compared_at BIGINT;
ALTER TABLE repositories ADD COLUMN lost_count BIGINT NOT NULL DEFAULT 0;

-- Since when the store has no such file, or part of a log, any more.
ALTER TABLE snapshots ADD COLUMN lost_at BIGINT;
ALTER TABLE wal_parts ADD COLUMN lost_at BIGINT;
CREATE INDEX snapshots_published ON snapshots (repository, published_at);
