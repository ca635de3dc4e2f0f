-- When what an agent allows, or which connections it names, was last other than it
-- had said before: what it refused is then tried again.
ALTER TABLE agents ADD COLUMN told_at BIGINT;
