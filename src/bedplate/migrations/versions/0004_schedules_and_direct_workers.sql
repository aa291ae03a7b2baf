CREATE TABLE bedplate.schedules (
  task text NOT NULL,
  schedule text NOT NULL,
  next_at timestamptz NOT NULL,
  last_at timestamptz,
  job_id uuid,
  CONSTRAINT pk_schedules PRIMARY KEY (task, schedule)
);

CREATE TABLE bedplate.direct_queues (
  worker text NOT NULL,
  queue text NOT NULL,
  lease_until timestamptz NOT NULL,
  CONSTRAINT pk_direct_queues PRIMARY KEY (worker, queue)
);

CREATE INDEX ix_jobs_dead ON bedplate.jobs (id)
  WHERE state = 'dead';
