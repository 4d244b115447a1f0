-- Every change of the state raises it; rows carry the value at which they last changed.
CREATE TABLE revision (one BIGINT PRIMARY KEY, rev BIGINT NOT NULL);
INSERT INTO revision (one, rev) VALUES (1, 0);

CREATE TABLE apps (
    id TEXT PRIMARY KEY, location TEXT NOT NULL, created BIGINT NOT NULL, fields TEXT NOT NULL, rev BIGINT NOT NULL
);
CREATE TABLE services (
    app TEXT NOT NULL REFERENCES apps (id), id TEXT NOT NULL, split TEXT NOT NULL, labels TEXT NOT NULL, network TEXT, migration TEXT,
    created BIGINT NOT NULL, rev BIGINT NOT NULL, PRIMARY KEY (app, id)
);
CREATE TABLE manifests (hash TEXT PRIMARY KEY, files TEXT NOT NULL, count BIGINT NOT NULL, size BIGINT NOT NULL, unused BIGINT);
CREATE TABLE versions (
    app TEXT NOT NULL, service TEXT NOT NULL, id TEXT NOT NULL, spec TEXT NOT NULL, manifest TEXT NOT NULL REFERENCES manifests (hash),
    status TEXT NOT NULL, creator TEXT NOT NULL, created BIGINT NOT NULL, deployment BIGINT NOT NULL, disk BIGINT NOT NULL, rev BIGINT NOT NULL,
    PRIMARY KEY (app, service, id), FOREIGN KEY (app, service) REFERENCES services (app, id)
);
CREATE INDEX versions_manifest ON versions (manifest);
-- `deployment` of a version's JSON: as large as the app has files, so lists do not read it.
CREATE TABLE deployments (
    app TEXT NOT NULL, service TEXT NOT NULL, version TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (app, service, version),
    FOREIGN KEY (app, service, version) REFERENCES versions (app, service, id) ON DELETE CASCADE
);

CREATE TABLE operations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, app TEXT NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL,
    actor TEXT NOT NULL, inserted BIGINT NOT NULL, ended BIGINT, work TEXT NOT NULL, message TEXT NOT NULL, warnings TEXT NOT NULL,
    extra TEXT NOT NULL, response TEXT, error TEXT
);
CREATE INDEX operations_app ON operations (app, seq);
CREATE INDEX operations_ended ON operations (ended);
-- What running operations have for themselves.
CREATE TABLE locks (resource TEXT PRIMARY KEY, operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE);
-- Manifests that running operations still need.
CREATE TABLE holds (
    manifest TEXT NOT NULL REFERENCES manifests (hash), operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    PRIMARY KEY (manifest, operation)
);
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at BIGINT NOT NULL, actor TEXT NOT NULL, token TEXT, app TEXT, action TEXT NOT NULL,
    target TEXT NOT NULL, was TEXT, became TEXT, operation TEXT
);
CREATE INDEX audit_app ON audit (app, seq);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, role TEXT NOT NULL, app TEXT, scopes TEXT NOT NULL, created BIGINT NOT NULL,
    used BIGINT, revoked BIGINT
);
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);

CREATE TABLE firewall (
    app TEXT NOT NULL REFERENCES apps (id), priority BIGINT NOT NULL, action TEXT NOT NULL, source TEXT NOT NULL, description TEXT NOT NULL,
    PRIMARY KEY (app, priority)
);
CREATE TABLE domains (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps (id), body TEXT NOT NULL, created BIGINT NOT NULL
);
CREATE INDEX domains_app ON domains (app, id);
CREATE TABLE certificates (
    app TEXT NOT NULL REFERENCES apps (id), id TEXT NOT NULL, name TEXT NOT NULL, chain TEXT NOT NULL, private_key TEXT NOT NULL,
    domains TEXT NOT NULL, expires BIGINT NOT NULL, managed TEXT, created BIGINT NOT NULL, PRIMARY KEY (app, id)
);
CREATE TABLE documents (
    app TEXT NOT NULL REFERENCES apps (id), kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, created BIGINT NOT NULL,
    updated BIGINT NOT NULL, PRIMARY KEY (app, kind, name)
);

-- Content that is whole in `files/`.
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, sha1 TEXT NOT NULL, size BIGINT NOT NULL, touched BIGINT NOT NULL);
CREATE INDEX blobs_sha1 ON blobs (sha1);
CREATE TABLE buckets (name TEXT PRIMARY KEY, app TEXT, location TEXT NOT NULL, created BIGINT NOT NULL, body TEXT NOT NULL);
CREATE TABLE objects (
    bucket TEXT NOT NULL REFERENCES buckets (name), name TEXT NOT NULL, sha256 TEXT NOT NULL REFERENCES blobs (sha256), content_type TEXT NOT NULL,
    created BIGINT NOT NULL, generation BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (bucket, name)
);
CREATE INDEX objects_sha256 ON objects (sha256);
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets (name), name TEXT NOT NULL, content_type TEXT NOT NULL, expected BIGINT,
    body TEXT NOT NULL, created BIGINT NOT NULL, touched BIGINT NOT NULL
);
