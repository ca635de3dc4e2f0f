-- Which keys of a coordinator's this catalog was written with: agents trust its
-- certificate authority, and the passwords of repositories are sealed under its
-- key-encryption key. Both lie in a data directory; here is what tells them apart.
CREATE TABLE own_keys (
    kind        TEXT PRIMARY KEY,
    -- SHA-256, 64 hex digits.
    fingerprint TEXT NOT NULL,
    entered_at  BIGINT NOT NULL
);
