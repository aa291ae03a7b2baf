CREATE SCHEMA bedplate;

CREATE TABLE bedplate.version (
  number text PRIMARY KEY,
  title text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE bedplate.jobs (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  task text NOT NULL,
  queue text NOT NULL,
  priority smallint NOT NULL DEFAULT 0,
  arguments jsonb NOT NULL DEFAULT '{}'::jsonb,
  arguments_version smallint NOT NULL DEFAULT 1,
  dedup_key text,
  group_key text,
  tenant text,
  actor text,
  trace_context jsonb,
  state text NOT NULL DEFAULT 'ready',
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL DEFAULT 5,
  crashes integer NOT NULL DEFAULT 0,
  fence bigint NOT NULL DEFAULT 0,
  run_at timestamptz NOT NULL DEFAULT now(),
  lease_until timestamptz,
  worker text,
  progress smallint NOT NULL DEFAULT 0,
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CONSTRAINT pk_jobs PRIMARY KEY (id),
  CONSTRAINT ck_jobs_state
    CHECK (state IN ('ready', 'sent', 'running', 'succeeded', 'dead', 'cancelled')),
  CONSTRAINT ck_jobs_deadline
    CHECK ((state IN ('sent', 'running')) = (lease_until IS NOT NULL)),
  CONSTRAINT ck_jobs_finish
    CHECK ((state IN ('succeeded', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
  CONSTRAINT ck_jobs_worker
    CHECK (
      CASE state
        WHEN 'running' THEN worker IS NOT NULL
        WHEN 'ready' THEN worker IS NULL
        WHEN 'sent' THEN worker IS NULL
        ELSE true
      END
    ),
  CONSTRAINT ck_jobs_progress CHECK (progress BETWEEN 0 AND 100),
  CONSTRAINT ck_jobs_arguments CHECK (jsonb_typeof(arguments) = 'object'),
  CONSTRAINT ck_jobs_counters
    CHECK (attempt >= 0 AND max_attempts >= 1 AND crashes >= 0 AND fence >= 0)
)
WITH (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0
);

CREATE UNIQUE INDEX uq_jobs_dedup_key_live ON bedplate.jobs (task, dedup_key)
  WHERE dedup_key IS NOT NULL AND state IN ('ready', 'sent', 'running');
CREATE UNIQUE INDEX uq_jobs_group_key_running ON bedplate.jobs (group_key)
  WHERE group_key IS NOT NULL AND state = 'running';
CREATE INDEX ix_jobs_group_key_sent ON bedplate.jobs (group_key)
  WHERE group_key IS NOT NULL AND state = 'sent';
CREATE INDEX ix_jobs_ready ON bedplate.jobs (priority DESC, run_at, id)
  WHERE state = 'ready';
CREATE INDEX ix_jobs_leased ON bedplate.jobs (lease_until)
  WHERE state IN ('sent', 'running');

CREATE TABLE bedplate.outbox (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  kind text NOT NULL,
  key text NOT NULL,
  version bigint NOT NULL DEFAULT 0,
  payload jsonb,
  attempts integer NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT now(),
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  dead_at timestamptz,
  CONSTRAINT pk_outbox PRIMARY KEY (id),
  CONSTRAINT ck_outbox_attempts CHECK (attempts >= 0),
  CONSTRAINT ck_outbox_dead CHECK (dead_at IS NULL OR last_error IS NOT NULL)
)
WITH (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX ix_outbox_due ON bedplate.outbox (not_before, id)
  WHERE dead_at IS NULL;
