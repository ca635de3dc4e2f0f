-- How far an attempt was when it came to another stage: for `jobs logs`.
CREATE TABLE job_marks (
    job_id  TEXT NOT NULL REFERENCES jobs (id),
    attempt BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    stage   TEXT NOT NULL,
    files   BIGINT NOT NULL,
    bytes   BIGINT NOT NULL
);
CREATE INDEX job_marks_job ON job_marks (job_id, at);
