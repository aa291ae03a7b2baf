DROP INDEX bedplate.ix_jobs_ready;

CREATE INDEX ix_jobs_ready ON bedplate.jobs (queue, priority DESC, run_at, id)
  WHERE state = 'ready';

CREATE FUNCTION bedplate.ready_lanes() RETURNS TABLE (queue text, priority smallint)
LANGUAGE sql STABLE ROWS 10
AS $$
  WITH RECURSIVE lane AS (
      (SELECT job.queue, job.priority
         FROM bedplate.jobs AS job
        WHERE job.state = 'ready'
        ORDER BY job.queue, job.priority DESC
        LIMIT 1)
    UNION ALL
      SELECT later.queue, later.priority
        FROM lane
       CROSS JOIN LATERAL (
           (SELECT job.queue, job.priority
              FROM bedplate.jobs AS job
             WHERE job.state = 'ready'
               AND job.queue = lane.queue
               AND job.priority < lane.priority
             ORDER BY job.priority DESC
             LIMIT 1)
         UNION ALL
           (SELECT job.queue, job.priority
              FROM bedplate.jobs AS job
             WHERE job.state = 'ready'
               AND job.queue > lane.queue
             ORDER BY job.queue, job.priority DESC
             LIMIT 1)
           LIMIT 1
       ) AS later
  )
  SELECT lane.queue, lane.priority FROM lane
$$;

COMMENT ON FUNCTION bedplate.ready_lanes() IS
  'The queues and priorities of ready jobs, one look into the index each, however many wait';
