-- Without the tenant, one tenant's live job kept another's of the same task and key from being
-- added. NULLS NOT DISTINCT: the jobs of nobody are held to one another as those of a tenant are.
-- The live jobs of a database at 0007 all fit: they differ in task and key already.
CREATE UNIQUE INDEX uq_jobs_tenant_dedup_key_live ON bedplate.jobs (task, dedup_key, tenant)
  NULLS NOT DISTINCT
  WHERE dedup_key IS NOT NULL AND state IN ('ready', 'sent', 'running');

DROP INDEX bedplate.uq_jobs_dedup_key_live;
