-- What a transaction's tenant is: bedplate.tenant is set for it alone. Empty or not set: nobody's.
CREATE FUNCTION bedplate.current_tenant() RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('bedplate.tenant', true), '');

-- Not FORCEd: relay, sweeper and claims run as the owner, whom no policy binds.
ALTER TABLE bedplate.jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bedplate.jobs
  USING (tenant IS NOT DISTINCT FROM bedplate.current_tenant())
  WITH CHECK (tenant IS NOT DISTINCT FROM bedplate.current_tenant());

ALTER TABLE bedplate.stored_files ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bedplate.stored_files
  USING (tenant IS NOT DISTINCT FROM bedplate.current_tenant())
  WITH CHECK (tenant IS NOT DISTINCT FROM bedplate.current_tenant());

ALTER TABLE bedplate.inbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bedplate.inbox
  USING (tenant IS NOT DISTINCT FROM bedplate.current_tenant())
  WITH CHECK (tenant IS NOT DISTINCT FROM bedplate.current_tenant());

-- A message has no tenant but in its key, and the application only ever adds one.
ALTER TABLE bedplate.outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY added ON bedplate.outbox FOR INSERT WITH CHECK (true);
