-- What was done with one resource: a service's splits are looked up so, however much else was done since.
CREATE INDEX audit_target ON audit (target, seq);
