-- Requests that were sent under an idempotency key, and their answers, so that
-- the same one does nothing twice (decision 0051).
CREATE TABLE request_keys (
    -- Who sent it: `operator:NAME`.
    sender    TEXT NOT NULL,
    key       TEXT NOT NULL,
    -- SHA-256 of method, path, query and body, hex.
    request   TEXT NOT NULL,
    begun_at  BIGINT NOT NULL,
    -- The answer's HTTP status; NULL: it is not answered yet.
    status    BIGINT,
    location  TEXT,
    -- NULL beside a status: the answer held a secret.
    body      TEXT,
    PRIMARY KEY (sender, key)
);
CREATE INDEX request_keys_begun ON request_keys (begun_at);
