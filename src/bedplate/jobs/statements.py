"""The SQL that changes bedplate.jobs, each statement under its own name.

Three rules hold for all of it. Every UPDATE is guarded by the state it leaves, and by the fence
where a worker is concerned, so that a late one changes nothing. Batches are a MATERIALIZED CTE
with SKIP LOCKED: inlined, the planner may update more rows than LIMIT says. Time is the
database's: no process clock enters a lease. Called by `ledger.py` alone.
"""

from sqlalchemy import text

# One statement for any number of jobs. Dedup keys in one order everywhere: two transactions that
# insert the same two keys wait for each other's commit, and must not do so crosswise.
INSERT = text("""
INSERT INTO bedplate.jobs
       (id, task, queue, priority, arguments, arguments_version, dedup_key, group_key,
        tenant, actor, trace_context, max_attempts, run_at)
SELECT r.id, r.task, r.queue, r.priority, r.arguments, r.arguments_version, r.dedup_key,
       r.group_key, r.tenant, r.actor, r.trace_context, r.max_attempts, coalesce(r.run_at, now())
  FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS r
       (id uuid, task text, queue text, priority smallint, arguments jsonb,
        arguments_version smallint, dedup_key text, group_key text, tenant text, actor text,
        trace_context jsonb, max_attempts integer, run_at timestamptz)
 ORDER BY r.task, r.dedup_key, r.tenant, r.id
    ON CONFLICT (task, dedup_key, tenant)
 WHERE dedup_key IS NOT NULL AND state IN ('ready', 'sent', 'running')
    DO NOTHING
RETURNING id
""")

# Most transactions enqueue one: without JSON it costs a quarter less, on both sides; and without a
# dedup key there is nothing to conflict with, which is a quarter again of what the server needs.
INSERT_ONE = text("""
INSERT INTO bedplate.jobs
       (id, task, queue, priority, arguments, arguments_version, dedup_key, group_key,
        tenant, actor, trace_context, max_attempts, run_at)
VALUES (:id, :task, :queue, :priority, :arguments, :arguments_version, :dedup_key, :group_key,
        :tenant, :actor, :trace_context, :max_attempts,
        coalesce(CAST(:run_at AS timestamptz), now()))
""")
INSERT_ONE_ONCE = text(f"""
{INSERT_ONE.text.strip()}
    ON CONFLICT (task, dedup_key, tenant)
 WHERE dedup_key IS NOT NULL AND state IN ('ready', 'sent', 'running')
    DO NOTHING
""")

# A lane is one priority of one queue. Finding the first one means reading past all that was taken
# from it and cannot be vacuumed yet, so a relay asks now and then, and not for each batch.
READY_LANES = text("""
SELECT queue, priority
  FROM bedplate.ready_lanes()
""")

# Each lane is read by its index from its oldest due job: neither a full queue nor a million jobs
# of tomorrow stand in the way of what is due elsewhere.
# Of one group only the first is taken, and none while another is sent or running: a second one
# would find the group busy at its claim and wait for its deadline in vain.
TAKE_READY = text("""
WITH due AS MATERIALIZED (
    SELECT job.id, job.group_key, job.priority, job.run_at
      FROM unnest(CAST(:queues AS text[]), CAST(:priorities AS smallint[]))
             AS lane (queue, priority)
     CROSS JOIN LATERAL (
         SELECT ready.id, ready.group_key, ready.priority, ready.run_at
           FROM bedplate.jobs AS ready
          WHERE ready.state = 'ready'
            AND ready.queue = lane.queue
            AND ready.priority = lane.priority
            AND ready.run_at <= now()
            AND ready.run_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
            AND (ready.group_key IS NULL
                 OR (NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                                  WHERE busy.group_key = ready.group_key
                                    AND busy.state = 'sent')
                     AND NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                                      WHERE busy.group_key = ready.group_key
                                        AND busy.state = 'running')))
          ORDER BY ready.run_at, ready.id
          LIMIT :limit
            FOR UPDATE OF ready SKIP LOCKED
     ) AS job
     ORDER BY job.priority DESC, job.run_at, job.id
     LIMIT :limit
), first AS (
    SELECT DISTINCT ON (coalesce('g' || due.group_key, due.id::text)) due.id
      FROM due
     ORDER BY coalesce('g' || due.group_key, due.id::text), due.priority DESC, due.run_at, due.id
), sent AS (
    UPDATE bedplate.jobs AS job
       SET state = 'sent',
           lease_until = now() + CAST(:deadline AS interval)
      FROM first
     WHERE job.id = first.id
       AND job.state = 'ready'
    RETURNING job.id, job.task, job.queue, job.priority, job.run_at, job.group_key
)
SELECT id, task, queue, priority, group_key IS NOT NULL, run_at
  FROM sent
 ORDER BY priority DESC, run_at, id
""")

# A message that was lost is offered again as it is; a worker that went silent counts as a crash.
RESCUE_EXPIRED = text("""
WITH expired AS MATERIALIZED (
    SELECT id, state, fence,
           state = 'running' AS is_crash,
           state = 'running' AND crashes + 1 >= :max_crashes AS is_poison
      FROM bedplate.jobs
     WHERE state IN ('sent', 'running')
       AND lease_until <= now()
     ORDER BY lease_until
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
UPDATE bedplate.jobs AS job
   SET state = CASE WHEN expired.is_poison THEN 'dead' ELSE 'ready' END,
       crashes = job.crashes + CASE WHEN expired.is_crash THEN 1 ELSE 0 END,
       last_error = CASE WHEN expired.is_crash
                         THEN format('worker %s went silent, crash %s', job.worker, job.crashes + 1)
                         ELSE job.last_error END,
       finished_at = CASE WHEN expired.is_poison THEN now() END,
       worker = CASE WHEN expired.is_poison THEN job.worker END,
       lease_until = NULL
  FROM expired
 WHERE job.id = expired.id
   AND job.state = expired.state
   AND job.fence = expired.fence
RETURNING job.id, job.state, expired.is_crash
""")

# Locked until the caller commits: nobody can take the job over between this check and the commit.
HOLD = text("""
SELECT id
  FROM bedplate.jobs
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
   FOR NO KEY UPDATE
""")

PROGRESS = text("""
UPDATE bedplate.jobs
   SET progress = :percent
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
RETURNING id
""")

FINISH = text("""
UPDATE bedplate.jobs
   SET state = 'succeeded',
       progress = 100,
       lease_until = NULL,
       last_error = NULL,
       finished_at = now()
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
RETURNING id
""")

FAIL = text("""
UPDATE bedplate.jobs
   SET state = CASE WHEN :is_final OR attempt >= max_attempts THEN 'dead' ELSE 'ready' END,
       run_at = CASE WHEN :is_final OR attempt >= max_attempts
                     THEN run_at ELSE now() + CAST(:backoff AS interval) END,
       worker = CASE WHEN :is_final OR attempt >= max_attempts THEN worker END,
       finished_at = CASE WHEN :is_final OR attempt >= max_attempts THEN now() END,
       lease_until = NULL,
       last_error = :error
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
RETURNING state
""")

# A worker that is told to stop: no attempt is spent, another one may begin at once.
HAND_BACK = text("""
UPDATE bedplate.jobs
   SET state = 'ready',
       attempt = attempt - 1,
       worker = NULL,
       lease_until = NULL
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
RETURNING id
""")

# A running one is cancelled too: its worker fails at the next check of its fence. Locked in one
# order, so that two that cancel overlapping jobs do not deadlock.
CANCEL = text("""
WITH live AS MATERIALIZED (
    SELECT id
      FROM bedplate.jobs
     WHERE id = ANY(CAST(:ids AS uuid[]))
       AND state IN ('ready', 'sent', 'running')
     ORDER BY id
       FOR UPDATE
)
UPDATE bedplate.jobs AS job
   SET state = 'cancelled',
       lease_until = NULL,
       finished_at = now()
  FROM live
 WHERE job.id = live.id
   AND job.state IN ('ready', 'sent', 'running')
RETURNING job.id
""")

# Dead jobs whose dedup key another live job has taken since stay dead.
RETRY = text("""
WITH dead AS MATERIALIZED (
    SELECT job.id
      FROM bedplate.jobs AS job
     WHERE job.id = ANY(CAST(:ids AS uuid[]))
       AND job.state = 'dead'
       AND NOT EXISTS (SELECT FROM bedplate.jobs AS other
                        WHERE other.task = job.task
                          AND other.dedup_key = job.dedup_key
                          AND other.tenant IS NOT DISTINCT FROM job.tenant
                          AND other.state IN ('ready', 'sent', 'running'))
     ORDER BY job.id
       FOR UPDATE OF job SKIP LOCKED
)
UPDATE bedplate.jobs AS job
   SET state = 'ready',
       attempt = 0,
       crashes = 0,
       run_at = now(),
       worker = NULL,
       finished_at = NULL
  FROM dead
 WHERE job.id = dead.id
   AND job.state = 'dead'
RETURNING job.id
""")

LOAD = text("""
SELECT id, task, queue, priority, arguments, arguments_version, dedup_key, group_key, tenant,
       actor, trace_context, state, attempt, max_attempts, crashes, fence, run_at, lease_until,
       worker, progress, last_error, created_at, finished_at
  FROM bedplate.jobs
 WHERE id = :id
""")

# Of the tenant that is named; else of the transaction's.
FIND_LIVE = text("""
SELECT id
  FROM bedplate.jobs
 WHERE task = :task
   AND dedup_key = :dedup_key
   AND tenant IS NOT DISTINCT FROM coalesce(CAST(:tenant AS text), bedplate.current_tenant())
   AND state IN ('ready', 'sent', 'running')
""")

# How long the next job of each queue has waited, the longest of them: one look into the index per
# lane, so that a backlog of a million costs no more than one job. Jobs of a busy group wait
# rightly, and so do those of a queue of which as much was sent as workers can take, or which direct
# workers serve.
READY_LAG = text("""
WITH busy_queue AS MATERIALIZED (
    SELECT queue
      FROM bedplate.jobs
     WHERE state = 'sent'
     GROUP BY queue
    HAVING count(*) >= :enough
     UNION
    SELECT queue
      FROM bedplate.direct_queues
     WHERE lease_until > clock_timestamp()
), next AS (
    SELECT DISTINCT ON (lane.queue) lane.queue, job.run_at
      FROM bedplate.ready_lanes() AS lane
     CROSS JOIN LATERAL (
         SELECT ready.run_at
           FROM bedplate.jobs AS ready
          WHERE ready.state = 'ready'
            AND ready.queue = lane.queue
            AND ready.priority = lane.priority
            AND ready.run_at <= clock_timestamp()
            AND (ready.group_key IS NULL
                 OR (NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                                  WHERE busy.group_key = ready.group_key
                                    AND busy.state = 'sent')
                     AND NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                                      WHERE busy.group_key = ready.group_key
                                        AND busy.state = 'running')))
          ORDER BY ready.run_at, ready.id
          LIMIT 1
     ) AS job
     WHERE lane.queue NOT IN (SELECT queue FROM busy_queue)
     ORDER BY lane.queue, lane.priority DESC
)
SELECT extract(epoch FROM clock_timestamp() - min(next.run_at))::double precision AS lag
  FROM next
""")
