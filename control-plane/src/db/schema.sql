CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- One-time codes, as SHA-256 only: who reads this file cannot enrol.
CREATE TABLE IF NOT EXISTS codes (
    hash BLOB PRIMARY KEY, device TEXT NOT NULL, created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL,
    used_s INTEGER, key_sha256 BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS devices (
    device TEXT PRIMARY KEY, enrolled_s INTEGER NOT NULL, revoked_s INTEGER,
    key_sha256 BLOB NOT NULL, audit_key TEXT NOT NULL, agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS assignments (
    device TEXT PRIMARY KEY, model TEXT, minimum_context_tokens INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest signed desired state of each device; the version only goes up, and the row is never deleted.
CREATE TABLE IF NOT EXISTS desired (
    device TEXT PRIMARY KEY, version INTEGER NOT NULL, not_after_s INTEGER NOT NULL, envelope BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The order in which this server met the starts of a device.
CREATE TABLE IF NOT EXISTS boots (
    device TEXT NOT NULL, boot TEXT NOT NULL, ordinal INTEGER NOT NULL, PRIMARY KEY (device, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS contacts (
    device TEXT PRIMARY KEY, boot TEXT NOT NULL, connection INTEGER NOT NULL, online INTEGER NOT NULL,
    seen_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS reports (
    device TEXT NOT NULL, ordinal INTEGER NOT NULL, sequence INTEGER NOT NULL, received_s INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (device, ordinal, sequence)
) STRICT, WITHOUT ROWID;

-- What the next release of the catalogue will hold.
CREATE TABLE IF NOT EXISTS targets (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 BLOB NOT NULL, bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every catalogue that was published; the newest counts.
CREATE TABLE IF NOT EXISTS catalogues (
    number INTEGER PRIMARY KEY, blob BLOB NOT NULL, reference TEXT NOT NULL, published_s INTEGER NOT NULL
) STRICT;

-- Where the bytes of each chunk lie. Equal chunks are one chunk, so one place is enough.
CREATE TABLE IF NOT EXISTS chunks (
    id BLOB PRIMARY KEY, blob BLOB NOT NULL, start INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who is let in: the certificates of each device that count now. Rows go when a certificate counts no more; `certificates`
-- below keeps every serial number, for brokers that are told who is *not* let in. One key, except between a renewal and the first use of the new key. A device that
-- enrolled before there was this table has no row; its first renewal writes them.
CREATE TABLE IF NOT EXISTS device_keys (
    number INTEGER PRIMARY KEY, device TEXT NOT NULL, serial TEXT NOT NULL UNIQUE, key_sha256 BLOB NOT NULL,
    issued_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL, seen_s INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS device_keys_by_device ON device_keys (device);

-- Keys that may enrol without a code, each as one device.
CREATE TABLE IF NOT EXISTS allowed_keys (
    key_sha256 BLOB PRIMARY KEY, device TEXT NOT NULL, created_s INTEGER NOT NULL, used_s INTEGER
) STRICT, WITHOUT ROWID;

-- Who asked without a code and with a key that was not allowed, until an operator says yes or no.
CREATE TABLE IF NOT EXISTS enrol_requests (
    key_sha256 BLOB PRIMARY KEY, wished_name TEXT NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL,
    first_s INTEGER NOT NULL, seen_s INTEGER NOT NULL, rejected_s INTEGER
) STRICT, WITHOUT ROWID;
-- Which site a device is at: the devices of a site share its line.
CREATE TABLE IF NOT EXISTS sites (device TEXT PRIMARY KEY, site TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Commands to devices; the newest answer of each.
CREATE TABLE IF NOT EXISTS commands (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, op TEXT NOT NULL, asked_by TEXT NOT NULL,
    issued_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL, envelope BLOB NOT NULL, state TEXT, answered_s INTEGER,
    answer TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS commands_by_device ON commands (device, number);

-- Pieces of large results.
CREATE TABLE IF NOT EXISTS command_parts (
    id TEXT NOT NULL, number INTEGER NOT NULL, parts INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (id, number)
) STRICT, WITHOUT ROWID;

-- What happened on devices, the newest of each.
CREATE TABLE IF NOT EXISTS events (
    device TEXT NOT NULL, boot TEXT NOT NULL, sequence INTEGER NOT NULL, received_s INTEGER NOT NULL,
    at_s INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (device, boot, sequence)
) STRICT, WITHOUT ROWID;

-- Whom a broker that is not ours must not let in: every certificate that was ever given out, until the revocation list need not
-- name it. It is written before a certificate leaves, also for a renewal that `device_keys` forgets again; a revoked one stays so
-- if its device enrols again. Whether a certificate counts here is for `device_keys` alone to say.
CREATE TABLE IF NOT EXISTS certificates (
    serial TEXT PRIMARY KEY, device TEXT NOT NULL, not_after_s INTEGER NOT NULL, revoked_s INTEGER
) STRICT, WITHOUT ROWID;

-- People who administer the fleet.
CREATE TABLE IF NOT EXISTS people (
    name TEXT PRIMARY KEY, roles TEXT NOT NULL, password BLOB, totp BLOB, totp_step INTEGER NOT NULL,
    created_s INTEGER NOT NULL, disabled_s INTEGER
) STRICT, WITHOUT ROWID;

-- Codes with which a person sets a password, once; by hash.
CREATE TABLE IF NOT EXISTS person_codes (
    hash BLOB PRIMARY KEY, person TEXT NOT NULL, expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Browsers that are signed in, by the hash of their cookie.
CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY, person TEXT NOT NULL, address TEXT NOT NULL, started_s INTEGER NOT NULL, seen_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_person ON sessions (person);

-- Tokens of programs for the API, by hash.
CREATE TABLE IF NOT EXISTS api_tokens (
    name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, roles TEXT NOT NULL, scope TEXT NOT NULL, created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL, revoked_s INTEGER, used_s INTEGER
) STRICT, WITHOUT ROWID;

-- How often signing in failed, by the hash of a name or an address.
CREATE TABLE IF NOT EXISTS sign_in_failures (
    who BLOB PRIMARY KEY, failures INTEGER NOT NULL, last_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who approved what, by its digest.
CREATE TABLE IF NOT EXISTS approvals (
    kind TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, person TEXT NOT NULL, at_s INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, digest, person)
) STRICT, WITHOUT ROWID;

-- Records on their way into the control plane's own log.
CREATE TABLE IF NOT EXISTS own_records (number INTEGER PRIMARY KEY, form TEXT NOT NULL) STRICT;

-- The newest that a stick brought home from each device: which record of which log holds its digest, and what was stored of it.
CREATE TABLE IF NOT EXISTS homes (
    device TEXT PRIMARY KEY, origin TEXT NOT NULL, record INTEGER NOT NULL, made_at_s INTEGER NOT NULL,
    imported_s INTEGER NOT NULL, stored TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Words that operators attach to devices.
CREATE TABLE IF NOT EXISTS labels (
    device TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (device, key)
) STRICT, WITHOUT ROWID;

-- Groups of devices: those that a selector means, or fixed members.
CREATE TABLE IF NOT EXISTS device_groups (
    name TEXT PRIMARY KEY, description TEXT NOT NULL, selector TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS group_members (
    device TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (device, name)
) STRICT, WITHOUT ROWID;

-- What the newest report of each device says, in columns: ten thousand of them are gone through in milliseconds.
CREATE TABLE IF NOT EXISTS facts (
    device TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, sequence INTEGER NOT NULL, received_s INTEGER NOT NULL,
    agent TEXT NOT NULL, desired_version INTEGER NOT NULL, applied_version INTEGER NOT NULL,
    policy_version INTEGER NOT NULL, model TEXT, target TEXT, context_tokens INTEGER, speed_milli INTEGER,
    refusals INTEGER NOT NULL, waits INTEGER NOT NULL, reasons TEXT NOT NULL, backlog INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL, measured_at_s INTEGER, cpu TEXT, cores INTEGER, features TEXT,
    memory_bytes INTEGER, available_bytes INTEGER, disk_bytes INTEGER
) STRICT, WITHOUT ROWID;

-- What the machine of each device can give, as it last said: what-if asks the planner with it.
CREATE TABLE IF NOT EXISTS measurements (device TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Policy bundles that somebody is writing, as files. Digest and goodness are of what the files made when they were saved.
CREATE TABLE IF NOT EXISTS policy_drafts (
    name TEXT PRIMARY KEY, authors TEXT NOT NULL, created_s INTEGER NOT NULL, saved_s INTEGER NOT NULL,
    revision INTEGER NOT NULL, base_version INTEGER NOT NULL, digest TEXT, version INTEGER, is_good INTEGER NOT NULL,
    files TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Staged changes. `document` is the state of the machine without its devices; the revision goes up whenever it is written.
CREATE TABLE IF NOT EXISTS rollouts (
    name TEXT PRIMARY KEY, created_s INTEGER NOT NULL, is_active INTEGER NOT NULL, state TEXT NOT NULL,
    revision INTEGER NOT NULL, request TEXT NOT NULL, document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rollouts_by_age ON rollouts (created_s, name);

-- Their devices, each a row: a report rewrites one. `heard` is the place of the newest report that counted, `version` the desired
-- state that carried the last order.
CREATE TABLE IF NOT EXISTS rollout_devices (
    device TEXT NOT NULL, name TEXT NOT NULL, wave INTEGER NOT NULL, status TEXT NOT NULL, is_held INTEGER NOT NULL,
    heard INTEGER NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (name, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rollout_devices_by_device ON rollout_devices (device);

-- What happened in each, the newest.
CREATE TABLE IF NOT EXISTS rollout_notices (
    name TEXT NOT NULL, number INTEGER NOT NULL, at_s INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (name, number)
) STRICT, WITHOUT ROWID;

-- Devices that left the rollout that held them, until it has heard so: what rules them now, empty if they were revoked.
CREATE TABLE IF NOT EXISTS rollout_departures (device TEXT PRIMARY KEY, by_whom TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- What the desired state of a device says besides its assignment: the rollout that asked, the policy's target in the catalogue.
CREATE TABLE IF NOT EXISTS pins (device TEXT PRIMARY KEY, rollout TEXT, policy TEXT) STRICT, WITHOUT ROWID;

-- The version of the agent that a rollout told a device to run. A table of its own: databases of before it get it.
CREATE TABLE IF NOT EXISTS pinned_builds (device TEXT PRIMARY KEY, version TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- What happened in the fleet, in one order, for programs that follow it. The numbers are dense and rise with the commits.
CREATE TABLE IF NOT EXISTS fleet_events (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_s INTEGER NOT NULL, area TEXT NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, data TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- The number given last. Whoever takes the next one has this row until the commit.
CREATE TABLE IF NOT EXISTS fleet_event_count (one INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- What was last told of each device.
CREATE TABLE IF NOT EXISTS told_devices (
    device TEXT PRIMARY KEY, enrolled_s INTEGER NOT NULL, revoked INTEGER NOT NULL, online INTEGER NOT NULL,
    drift TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Who is sent events. The secret follows from the salt and a key of the state directory.
CREATE TABLE IF NOT EXISTS webhooks (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, kinds TEXT NOT NULL, salt BLOB NOT NULL, created_s INTEGER NOT NULL,
    disabled TEXT, delivered INTEGER NOT NULL, failures INTEGER NOT NULL, due_s INTEGER NOT NULL, claimed_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Attempts to deliver, the newest of each.
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    attempt INTEGER NOT NULL, hook TEXT NOT NULL, number INTEGER NOT NULL, at_s INTEGER NOT NULL, status INTEGER,
    took_ms INTEGER NOT NULL, error TEXT NOT NULL, PRIMARY KEY (hook, attempt)
) STRICT, WITHOUT ROWID;
-- Events that were given up for a hook.
CREATE TABLE IF NOT EXISTS webhook_dead (
    hook TEXT NOT NULL, number INTEGER NOT NULL, at_s INTEGER NOT NULL, why TEXT NOT NULL, PRIMARY KEY (hook, number)
) STRICT, WITHOUT ROWID;

-- Devices that a fleet file names and that are not enrolled, or cannot be told yet what to run: no context is no wish.
CREATE TABLE IF NOT EXISTS awaited_devices (
    device TEXT PRIMARY KEY, model TEXT, minimum_context_tokens INTEGER
) STRICT, WITHOUT ROWID;

-- API tokens that a fleet file names and that nobody has made here.
CREATE TABLE IF NOT EXISTS awaited_tokens (
    name TEXT PRIMARY KEY, roles TEXT NOT NULL, scope TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers to requests that may be sent again: by actor, route and key. Without an answer it is being done, or its server ended.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    actor TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, started_s INTEGER NOT NULL,
    bytes INTEGER NOT NULL, answer BLOB, PRIMARY KEY (actor, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (started_s);

-- Who approved which files of a model for which devices until when; `files` are the digests of the targets, with blanks between.
CREATE TABLE IF NOT EXISTS model_approvals (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, files TEXT NOT NULL, licence TEXT NOT NULL, selector TEXT NOT NULL,
    until_s INTEGER NOT NULL, person TEXT NOT NULL, note TEXT NOT NULL, at_s INTEGER NOT NULL, revoked_s INTEGER,
    revoked_by TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS model_approvals_by_model ON model_approvals (model, at_s);

-- Models that were withdrawn; no `target` means all of the model. `files` are digests of model files, with blanks between.
CREATE TABLE IF NOT EXISTS withdrawals (
    model TEXT NOT NULL, target TEXT NOT NULL, files TEXT NOT NULL, after_s INTEGER NOT NULL, reason TEXT NOT NULL,
    person TEXT NOT NULL, at_s INTEGER NOT NULL, PRIMARY KEY (model, target)
) STRICT, WITHOUT ROWID;

-- Model files that are held for a release, with where they came from.
CREATE TABLE IF NOT EXISTS held_models (
    target TEXT PRIMARY KEY, path TEXT NOT NULL, description TEXT NOT NULL, added_by TEXT NOT NULL, added_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What one of several servers does, and until when it may.
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, term INTEGER NOT NULL, until_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys are looked for by the name that they are for, too: once for each device of a file.
CREATE INDEX IF NOT EXISTS allowed_keys_by_device ON allowed_keys (device);

-- Sign-ins at a provider that are under way, by the hash of their state: each is answered once. `browser` is the hash of the
-- cookie of whoever began, `earlier` that of the session which the browser had.
CREATE TABLE IF NOT EXISTS logins (
    state BLOB PRIMARY KEY, browser BLOB NOT NULL, nonce TEXT NOT NULL, verifier TEXT NOT NULL, earlier BLOB,
    address TEXT NOT NULL, expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- People for whom a provider vouches, by its own name for them.
CREATE TABLE IF NOT EXISTS vouched_people (
    issuer TEXT NOT NULL, subject TEXT NOT NULL, person TEXT NOT NULL UNIQUE, PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

-- Codes of people for when their authenticator is lost, by hash; each counts once.
CREATE TABLE IF NOT EXISTS recovery_codes (
    hash BLOB PRIMARY KEY, person TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recovery_codes_by_person ON recovery_codes (person);

-- Secrets of authenticators that a person is about to confirm.
CREATE TABLE IF NOT EXISTS offered_authenticators (
    person TEXT PRIMARY KEY, secret BLOB NOT NULL, expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
