-- What an attempt may take of its host, besides upload_rate: bytes per second,
-- threads, bytes.
ALTER TABLE jobs ADD COLUMN download_rate BIGINT;
ALTER TABLE jobs ADD COLUMN read_rate BIGINT;
ALTER TABLE jobs ADD COLUMN threads BIGINT;
ALTER TABLE jobs ADD COLUMN memory_bytes BIGINT;
