CREATE TABLE alembic_version ( version_num TEXT NOT NULL, PRIMARY KEY (version_num) ) STRICT
CREATE TABLE connections ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, dialect TEXT NOT NULL, settings TEXT NOT NULL, sealed TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, extra TEXT NOT NULL ) STRICT
CREATE UNIQUE INDEX connections_name ON connections (name)
CREATE TABLE groups ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL, visibility TEXT NOT NULL, created_at INTEGER NOT NULL, extra TEXT NOT NULL ) STRICT
CREATE UNIQUE INDEX groups_path ON groups (lower(path))
CREATE TABLE projects ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL, default_branch TEXT NOT NULL, visibility TEXT NOT NULL, import_url TEXT NOT NULL, last_number INTEGER NOT NULL, created_at INTEGER NOT NULL, extra TEXT NOT NULL ) STRICT
CREATE UNIQUE INDEX projects_path ON projects (lower(path))
CREATE TABLE users ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL, is_admin INTEGER NOT NULL, created_at INTEGER NOT NULL, extra TEXT NOT NULL ) STRICT
CREATE UNIQUE INDEX users_username ON users (lower(username))
CREATE TABLE environments ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, name TEXT NOT NULL, slug TEXT NOT NULL, tier TEXT NOT NULL, state TEXT NOT NULL, external_url TEXT NOT NULL, auto_stop_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, extra TEXT NOT NULL, CONSTRAINT environments_state_known CHECK (state IN ('available', 'stopping', 'stopped')), FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE ) STRICT
CREATE INDEX environments_auto_stop ON environments (auto_stop_at) WHERE auto_stop_at IS NOT NULL
CREATE UNIQUE INDEX environments_name ON environments (project_id, name)
CREATE INDEX environments_of_project ON environments (project_id, id)
CREATE TABLE members ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, level INTEGER NOT NULL, project_id INTEGER, group_id INTEGER, created_at INTEGER NOT NULL, created_by INTEGER, expires_at INTEGER, CONSTRAINT members_of_one_thing CHECK ((project_id IS NULL) <> (group_id IS NULL)), FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE ) STRICT
CREATE INDEX members_of_group ON members (group_id, id)
CREATE INDEX members_of_project ON members (project_id, id)
CREATE UNIQUE INDEX members_once ON members (user_id, coalesce(project_id, 0), coalesce(group_id, 0))
CREATE TABLE records ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, project_id INTEGER, "key" TEXT NOT NULL, data TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, blob TEXT, FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE ) STRICT
CREATE INDEX records_blob ON records (blob)
CREATE UNIQUE INDEX records_key ON records (kind, coalesce(project_id, 0), key) WHERE key <> ''
CREATE INDEX records_of_kind ON records (kind, id)
CREATE INDEX records_of_project ON records (project_id, kind, id)
CREATE TABLE runners ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, token_hash TEXT NOT NULL, description TEXT NOT NULL, tags TEXT NOT NULL, run_untagged INTEGER NOT NULL, protected INTEGER NOT NULL, paused INTEGER NOT NULL, project_id INTEGER, maximum_timeout_s INTEGER, stock INTEGER NOT NULL, contacted_at INTEGER, created_at INTEGER NOT NULL, info TEXT NOT NULL, extra TEXT NOT NULL, group_id INTEGER, FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE ) STRICT
CREATE INDEX runners_group ON runners (group_id)
CREATE INDEX runners_project ON runners (project_id)
CREATE UNIQUE INDEX runners_token ON runners (token_hash)
CREATE TABLE runs ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, number INTEGER NOT NULL, dialect TEXT NOT NULL, source TEXT NOT NULL, ref TEXT NOT NULL, sha TEXT NOT NULL, before_sha TEXT NOT NULL, tag INTEGER NOT NULL, name TEXT NOT NULL, actor_id INTEGER, state TEXT NOT NULL, outcome TEXT, hold TEXT, warnings INTEGER NOT NULL, error TEXT NOT NULL, variables TEXT NOT NULL, idempotency_key TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, extra TEXT NOT NULL, CONSTRAINT runs_state_known CHECK (state IN ('waiting', 'held', 'queued', 'running', 'stopping', 'done')), CONSTRAINT runs_outcome_known CHECK (outcome IS NULL OR outcome IN ('passed', 'failed', 'errored', 'canceled', 'skipped')), CONSTRAINT runs_done_has_outcome CHECK ((state = 'done') = (outcome IS NOT NULL)), CONSTRAINT runs_hold_known CHECK (hold IS NULL OR hold IN ('manual', 'delayed', 'concurrency')), CONSTRAINT runs_hold_only_held CHECK (hold IS NULL OR state = 'held'), FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE ) STRICT
CREATE UNIQUE INDEX runs_idempotency ON runs (project_id, idempotency_key)
CREATE UNIQUE INDEX runs_number ON runs (project_id, number)
CREATE INDEX runs_of_dialect ON runs (dialect, id)
CREATE INDEX runs_of_project ON runs (project_id, id)
CREATE INDEX runs_of_project_state ON runs (project_id, state, outcome, id)
CREATE INDEX runs_of_ref ON runs (project_id, ref, id)
CREATE INDEX runs_of_sha ON runs (project_id, sha, id)
CREATE INDEX runs_of_state ON runs (state, outcome, id)
CREATE INDEX runs_passed ON runs (project_id, ref, id) WHERE outcome = 'passed'
CREATE INDEX runs_updated ON runs (updated_at)
CREATE TABLE secret_variables ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "key" TEXT NOT NULL, value TEXT NOT NULL, project_id INTEGER, masked INTEGER NOT NULL, protected INTEGER NOT NULL, file INTEGER NOT NULL, raw INTEGER NOT NULL, environment_scope TEXT NOT NULL, kind TEXT NOT NULL, extra TEXT NOT NULL, group_id INTEGER, variant TEXT, CONSTRAINT secret_variables_one_owner CHECK (project_id IS NULL OR group_id IS NULL), FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE ) STRICT
CREATE INDEX secret_variables_group ON secret_variables (group_id)
CREATE UNIQUE INDEX secret_variables_key ON secret_variables (coalesce(project_id, 0), coalesce(group_id, 0), kind, key, environment_scope, coalesce(variant, ''))
CREATE INDEX secret_variables_project ON secret_variables (project_id)
CREATE TABLE tokens ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, hash TEXT NOT NULL, user_id INTEGER, project_id INTEGER, name TEXT NOT NULL, scopes TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE ) STRICT
CREATE UNIQUE INDEX tokens_hash ON tokens (hash)
CREATE INDEX tokens_project ON tokens (project_id)
CREATE INDEX tokens_user ON tokens (user_id)
CREATE TABLE deployments ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, environment_id INTEGER NOT NULL, number INTEGER NOT NULL, ref TEXT NOT NULL, sha TEXT NOT NULL, status TEXT NOT NULL, tag INTEGER NOT NULL, attempt_id INTEGER, user_id INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, finished_at INTEGER, extra TEXT NOT NULL, FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, FOREIGN KEY(environment_id) REFERENCES environments (id) ON DELETE CASCADE ) STRICT
CREATE INDEX deployments_of_attempt ON deployments (attempt_id)
CREATE INDEX deployments_of_environment ON deployments (environment_id, id)
CREATE INDEX deployments_of_project ON deployments (project_id, id)
CREATE TABLE workflows ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL, "key" TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT, hold TEXT, warnings INTEGER NOT NULL, error TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, extra TEXT NOT NULL, CONSTRAINT workflows_state_known CHECK (state IN ('waiting', 'held', 'queued', 'running', 'stopping', 'done')), CONSTRAINT workflows_outcome_known CHECK (outcome IS NULL OR outcome IN ('passed', 'failed', 'errored', 'canceled', 'skipped')), CONSTRAINT workflows_done_has_outcome CHECK ((state = 'done') = (outcome IS NOT NULL)), CONSTRAINT workflows_hold_known CHECK (hold IS NULL OR hold IN ('manual', 'delayed', 'concurrency')), CONSTRAINT workflows_hold_only_held CHECK (hold IS NULL OR state = 'held'), FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE ) STRICT
CREATE UNIQUE INDEX workflows_key ON workflows (run_id, "key")
CREATE TABLE jobs ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL, workflow_id INTEGER NOT NULL, project_id INTEGER NOT NULL, "key" TEXT NOT NULL, name TEXT NOT NULL, "plan" TEXT NOT NULL, position INTEGER NOT NULL, created_at INTEGER NOT NULL, FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE, FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE ) STRICT
CREATE UNIQUE INDEX jobs_key ON jobs (workflow_id, "key")
CREATE INDEX jobs_of_run ON jobs (run_id, position, id)
CREATE TABLE attempts ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL, run_id INTEGER NOT NULL, project_id INTEGER NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT, reason TEXT NOT NULL, hold TEXT, message TEXT NOT NULL, tolerated INTEGER NOT NULL, latest INTEGER NOT NULL, automatic INTEGER NOT NULL, created_at INTEGER NOT NULL, queued_at INTEGER, started_at INTEGER, finished_at INTEGER, run_after_at INTEGER, deadline_at INTEGER, lease_until_at INTEGER, runner_id INTEGER, actor_id INTEGER, token_hash TEXT NOT NULL, exit_code INTEGER, log_bytes INTEGER NOT NULL, log_crc INTEGER, log_blob TEXT NOT NULL, coverage REAL, outputs TEXT NOT NULL, variables TEXT NOT NULL, erased_at INTEGER, extra TEXT NOT NULL, concurrency_group TEXT, outline TEXT, card BLOB, CONSTRAINT attempts_state_known CHECK (state IN ('waiting', 'held', 'queued', 'running', 'stopping', 'done')), CONSTRAINT attempts_outcome_known CHECK (outcome IS NULL OR outcome IN ('passed', 'failed', 'errored', 'canceled', 'skipped')), CONSTRAINT attempts_done_has_outcome CHECK ((state = 'done') = (outcome IS NOT NULL)), CONSTRAINT attempts_hold_known CHECK (hold IS NULL OR hold IN ('manual', 'delayed', 'concurrency')), CONSTRAINT attempts_hold_only_held CHECK (hold IS NULL OR state = 'held'), CONSTRAINT attempts_lease_while_running CHECK ((state IN ('running', 'stopping')) = (lease_until_at IS NOT NULL)), CONSTRAINT attempts_delay_has_time CHECK (hold IS NULL OR hold <> 'delayed' OR run_after_at IS NOT NULL), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE ) STRICT
CREATE INDEX attempts_delayed ON attempts (run_after_at) WHERE hold = 'delayed'
CREATE INDEX attempts_in_group ON attempts (project_id, concurrency_group, id) WHERE concurrency_group IS NOT NULL AND state <> 'done'
CREATE INDEX attempts_leased ON attempts (lease_until_at) WHERE lease_until_at IS NOT NULL
CREATE INDEX attempts_limited ON attempts (deadline_at) WHERE state IN ('running', 'stopping')
CREATE INDEX attempts_log_blob ON attempts (log_blob) WHERE log_blob <> ''
CREATE UNIQUE INDEX attempts_number ON attempts (job_id, number)
CREATE INDEX attempts_of_project ON attempts (project_id, id)
CREATE INDEX attempts_of_project_state ON attempts (project_id, state, outcome, id)
CREATE INDEX attempts_of_run ON attempts (run_id, id)
CREATE INDEX attempts_of_runner ON attempts (runner_id, id) WHERE runner_id IS NOT NULL
CREATE UNIQUE INDEX attempts_one_open ON attempts (job_id) WHERE state <> 'done'
CREATE INDEX attempts_open ON attempts (state, id) WHERE state <> 'done'
CREATE INDEX attempts_queued ON attempts (queued_at, id) WHERE state = 'queued'
CREATE INDEX attempts_undrawn ON attempts (id) WHERE state = 'done' AND card IS NULL
CREATE TABLE artifacts ( id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, attempt_id INTEGER NOT NULL, run_id INTEGER NOT NULL, project_id INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, format TEXT NOT NULL, filename TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, blob TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, extra TEXT NOT NULL, FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT
CREATE INDEX artifacts_blob ON artifacts (blob)
CREATE INDEX artifacts_expiry ON artifacts (expires_at)
CREATE INDEX artifacts_of_attempt ON artifacts (attempt_id, id)
CREATE INDEX artifacts_of_project ON artifacts (project_id, id)
CREATE INDEX artifacts_of_run ON artifacts (run_id, id)
CREATE TABLE log_chunks ( attempt_id INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL, taken_at INTEGER, PRIMARY KEY (attempt_id, start), FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT
CREATE TABLE queue ( attempt_id INTEGER NOT NULL, run_id INTEGER NOT NULL, project_id INTEGER NOT NULL, lane TEXT NOT NULL, queued_at INTEGER NOT NULL, PRIMARY KEY (attempt_id), FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT
CREATE INDEX queue_lane ON queue (lane, attempt_id)
CREATE INDEX queue_project_lane ON queue (project_id, lane, attempt_id)
CREATE TABLE samples ( attempt_id INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (attempt_id, at), FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT
CREATE TABLE steps ( attempt_id INTEGER NOT NULL, position INTEGER NOT NULL, "key" TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT, exit_code INTEGER, started_at INTEGER, finished_at INTEGER, log_start INTEGER, log_end INTEGER, extra TEXT NOT NULL, PRIMARY KEY (attempt_id, position), CONSTRAINT steps_state_known CHECK (state IN ('waiting', 'held', 'queued', 'running', 'stopping', 'done')), CONSTRAINT steps_outcome_known CHECK (outcome IS NULL OR outcome IN ('passed', 'failed', 'errored', 'canceled', 'skipped')), CONSTRAINT steps_done_has_outcome CHECK ((state = 'done') = (outcome IS NOT NULL)), FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT
INSERT INTO alembic_version (version_num) VALUES ('0007')
