-- How many restore points an attempt has entered.
ALTER TABLE job_attempts ADD COLUMN restore_points BIGINT NOT NULL DEFAULT 0;
