-- The functions of uuid-ossp that need no library: random and nil. Those of the clock and of names
-- (v1, v3, v5) are not here; PostgreSQL itself has uuidv7() since 18.
\echo Use "CREATE EXTENSION "uuid-ossp"" to load this file. \quit

CREATE FUNCTION uuid_generate_v4()
RETURNS uuid
LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
AS 'SELECT pg_catalog.gen_random_uuid()';

CREATE FUNCTION uuid_nil()
RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$SELECT '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid$$;
