-- 1: the snapshot lacks something that its policy asks for, such as one of
-- several databases, and does not stand for a whole one.
ALTER TABLE snapshots ADD COLUMN partial BIGINT NOT NULL DEFAULT 0;
