"""Jobs and messages: I3 they end, I4 once, I5 never by a stale owner, I6 one at a time."""

from sqlalchemy import text

from bedplate.consistency.finding import Checked, Rule, Subject, apply_rules

COUNT_JOBS = text("SELECT reltuples::bigint FROM pg_class WHERE oid = 'bedplate.jobs'::regclass")

# Jobs of a busy group wait rightly.
FORGOTTEN_READY = text("""
SELECT 'job ' || job.id AS subject,
       format('%s is ready since %s and nobody sends it', job.task, job.run_at) AS why
  FROM bedplate.jobs AS job
 WHERE job.state = 'ready'
   AND job.run_at < now() - CAST(:patience AS interval)
   AND (job.group_key IS NULL
        OR NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                        WHERE busy.group_key = job.group_key
                          AND busy.state IN ('sent', 'running')))
 ORDER BY job.run_at
 LIMIT :limit
""")
FORGOTTEN_LEASED = text("""
SELECT 'job ' || id AS subject,
       format('%s is %s until %s, and nobody offers it again', task, state, lease_until) AS why
  FROM bedplate.jobs
 WHERE state IN ('sent', 'running')
   AND lease_until < now() - CAST(:patience AS interval)
 ORDER BY lease_until
 LIMIT :limit
""")
DEAD_JOBS = text("""
SELECT 'task ' || task AS subject,
       format('%s jobs are dead, the last since %s: %s', count(*), max(finished_at),
              (array_agg(left(last_error, 200) ORDER BY finished_at DESC))[1]) AS why
  FROM bedplate.jobs
 WHERE state = 'dead'
 GROUP BY task
 ORDER BY task
 LIMIT :limit
""")
FORGOTTEN_MESSAGES = text("""
SELECT 'message ' || id AS subject,
       format('%s of %s is due since %s', kind, key, not_before) AS why
  FROM bedplate.outbox
 WHERE dead_at IS NULL
   AND not_before < now() - CAST(:patience AS interval)
 ORDER BY not_before
 LIMIT :limit
""")
DEAD_MESSAGES = text("""
SELECT 'messages ' || kind AS subject,
       format('%s are dead, the last since %s: %s', count(*), max(dead_at),
              (array_agg(left(last_error, 200) ORDER BY dead_at DESC))[1]) AS why
  FROM bedplate.outbox
 WHERE dead_at IS NOT NULL
 GROUP BY kind
 ORDER BY kind
 LIMIT :limit
""")
# A job is claimed, which raises its fence, before anything of it ends; a run takes a fence each.
NEVER_CLAIMED = text("""
SELECT 'job ' || id AS subject,
       format('%s succeeded at fence %s, attempt %s: nobody had claimed it', task, fence, attempt)
           AS why
  FROM bedplate.jobs
 WHERE state = 'succeeded'
   AND (fence < 1 OR attempt < 1)
 LIMIT :limit
""")
ENDED_BEFORE_IT_BEGAN = text("""
SELECT 'job ' || id AS subject,
       format('%s finished at %s and was created at %s', task, finished_at, created_at) AS why
  FROM bedplate.jobs
 WHERE finished_at < created_at
 LIMIT :limit
""")
WRONG_FENCE = text("""
SELECT 'job ' || id AS subject,
       format('%s has fence %s, %s attempts, %s crashes: a claim did not raise the fence',
              task, fence, attempt, crashes) AS why
  FROM bedplate.jobs
 WHERE attempt > fence
    OR crashes > fence
    OR (state = 'running' AND fence < 1)
 LIMIT :limit
""")
# Asked of the rows: an index that was dropped, or that is broken, hides what it should refuse.
TWICE_ALIVE = text("""
SELECT format('task %s, dedup key %s%s', task, dedup_key, ', tenant ' || tenant) AS subject,
       format('%s live jobs: %s', count(*), string_agg(id::text, ', ')) AS why
  FROM bedplate.jobs
 WHERE dedup_key IS NOT NULL
   AND state IN ('ready', 'sent', 'running')
 GROUP BY task, dedup_key, tenant
HAVING count(*) > 1
 LIMIT :limit
""")
TWICE_RUNNING = text("""
SELECT 'group ' || group_key AS subject,
       format('%s jobs run at once: %s', count(*), string_agg(id::text, ', ')) AS why
  FROM bedplate.jobs
 WHERE group_key IS NOT NULL
   AND state = 'running'
 GROUP BY group_key
HAVING count(*) > 1
 LIMIT :limit
""")

RELAY = "Is a relay running? bedplate relay; it tells of each destination that does not answer."


async def jobs_end(subject: Subject) -> Checked:
    """I3: nothing that is due lies there, and what died is known."""
    checked = await apply_rules(
        3,
        subject,
        Rule(FORGOTTEN_READY, RELAY),
        Rule(FORGOTTEN_LEASED, RELAY),
        Rule(FORGOTTEN_MESSAGES, RELAY),
        Rule(
            DEAD_JOBS, "Mend the cause, then put them back: bedplate jobs retry.", is_warning=True
        ),
        Rule(
            DEAD_MESSAGES, "Mend the cause, then put them back: bedplate outbox.", is_warning=True
        ),
        count=COUNT_JOBS,
    )
    checked.noun = "jobs"
    return checked


async def jobs_end_once(subject: Subject) -> Checked:
    """I4: only what was claimed has ended."""
    hint = "The row was changed by hand, or by code other than bedplate's: compare its effects."
    return await apply_rules(
        4, subject, Rule(NEVER_CLAIMED, hint), Rule(ENDED_BEFORE_IT_BEGAN, hint)
    )


async def fences_rise(subject: Subject) -> Checked:
    """I5: each claim took a fence of its own, so that a stale owner is refused."""
    hint = "Cancel the job and enqueue it again: two workers may hold the same fence."
    return await apply_rules(5, subject, Rule(WRONG_FENCE, hint))


async def jobs_are_alone(subject: Subject) -> Checked:
    """I6: one live job per task, dedup key and tenant, one running per group."""
    hint = "Cancel all but one; then see that I1 finds every index of the layer."
    return await apply_rules(6, subject, Rule(TWICE_ALIVE, hint), Rule(TWICE_RUNNING, hint))
