-- Codes of warnings that a job's policy accepts, a JSON list.
ALTER TABLE jobs ADD COLUMN accept TEXT;
