-- The agent whose place the invited host takes: there was one of that name when the
-- token was made.
ALTER TABLE join_tokens ADD COLUMN replaces TEXT;
