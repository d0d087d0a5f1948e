CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- One-time codes, as SHA-256 only: who reads this file cannot enrol.
CREATE TABLE codes (
    hash BLOB PRIMARY KEY, device TEXT NOT NULL, created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL,
    used_s INTEGER, key_sha256 BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    device TEXT PRIMARY KEY, enrolled_s INTEGER NOT NULL, revoked_s INTEGER,
    key_sha256 BLOB NOT NULL, audit_key TEXT NOT NULL, agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE assignments (
    device TEXT PRIMARY KEY, model TEXT, minimum_context_tokens INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest signed desired state of each device; the version only goes up, and the row is never deleted.
CREATE TABLE desired (
    device TEXT PRIMARY KEY, version INTEGER NOT NULL, not_after_s INTEGER NOT NULL, envelope BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The order in which this server met the starts of a device.
CREATE TABLE boots (
    device TEXT NOT NULL, boot TEXT NOT NULL, ordinal INTEGER NOT NULL, PRIMARY KEY (device, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    device TEXT PRIMARY KEY, boot TEXT NOT NULL, connection INTEGER NOT NULL, online INTEGER NOT NULL,
    seen_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    device TEXT NOT NULL, ordinal INTEGER NOT NULL, sequence INTEGER NOT NULL, received_s INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (device, ordinal, sequence)
) STRICT, WITHOUT ROWID;

-- What the next release of the catalogue will hold.
CREATE TABLE targets (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 BLOB NOT NULL, bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every catalogue that was published; the newest counts.
CREATE TABLE catalogues (
    number INTEGER PRIMARY KEY, blob BLOB NOT NULL, reference TEXT NOT NULL, published_s INTEGER NOT NULL
) STRICT;

-- Where the bytes of each chunk lie. Equal chunks are one chunk, so one place is enough.
CREATE TABLE chunks (
    id BLOB PRIMARY KEY, blob BLOB NOT NULL, start INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every certificate that a device was given, for the revocation list; a revoked one stays so if its device enrols again.
CREATE TABLE IF NOT EXISTS certificates (
    serial BLOB PRIMARY KEY, device TEXT NOT NULL, not_after_s INTEGER NOT NULL, revoked_s INTEGER
) STRICT, WITHOUT ROWID;
