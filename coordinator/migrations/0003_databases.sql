-- A job that waits until another has succeeded.
ALTER TABLE jobs ADD COLUMN after_job TEXT;
-- What an agent last found at the connections of its agent.toml: JSON.
ALTER TABLE agents ADD COLUMN connections TEXT;
