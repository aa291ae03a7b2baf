"""The SQL that changes bedplate.stored_files, each statement under its own name.

Every UPDATE is guarded by the state it leaves, so that a late one changes nothing. Batches are a
MATERIALIZED CTE with SKIP LOCKED: a row that a transaction is committing is left to it. Time is
the database's. Called by `stored_files.py` alone.
"""

from sqlalchemy import text

INSERT_PENDING = text("""
INSERT INTO bedplate.stored_files
       (id, tenant, bucket, key, content_type, file_name, size_bytes, sha256, expires_at,
        pending_until)
VALUES (:id, :tenant, :bucket, :key, :content_type, :file_name, CAST(:size_bytes AS bigint),
        CAST(:sha256 AS bytea), now() + CAST(:expires_in AS interval),
        now() + CAST(:grace AS interval))
RETURNING expires_at
""")

# The row is locked from here to the commit, and the sweeper skips what is locked.
COMMIT = text("""
UPDATE bedplate.stored_files
   SET state = 'committed',
       size_bytes = :size_bytes,
       sha256 = :sha256,
       committed_at = now(),
       pending_until = NULL
 WHERE id = :id
   AND state = 'pending'
RETURNING id, tenant, bucket, key, state, size_bytes, sha256, content_type, file_name, created_at,
          expires_at
""")

# Whether the file was there, and not whether this call deleted it: twice is once.
DELETE = text("""
UPDATE bedplate.stored_files
   SET state = 'deleted',
       deleted_at = now()
 WHERE id = :id
   AND state = 'committed'
RETURNING id
""")

# An upload that failed need not wait for its grace period.
ABANDON = text("""
UPDATE bedplate.stored_files
   SET state = 'deleted',
       deleted_at = now(),
       pending_until = NULL
 WHERE id = :id
   AND state = 'pending'
""")

LOAD = text("""
SELECT id, tenant, bucket, key, state, size_bytes, sha256, content_type, file_name, created_at,
       expires_at
  FROM bedplate.stored_files
 WHERE id = :id
""")

# What has expired is not readable, also while no sweeper has been by.
LOAD_READABLE = text("""
SELECT id, tenant, bucket, key, state, size_bytes, sha256, content_type, file_name, created_at,
       expires_at
  FROM bedplate.stored_files
 WHERE id = :id
   AND state = 'committed'
   AND (expires_at IS NULL OR expires_at > clock_timestamp())
""")

SWEEP_PENDING = text("""
WITH late AS MATERIALIZED (
    SELECT id
      FROM bedplate.stored_files
     WHERE state = 'pending'
       AND pending_until <= now()
     ORDER BY pending_until
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
UPDATE bedplate.stored_files AS file
   SET state = 'deleted',
       deleted_at = now(),
       pending_until = NULL
  FROM late
 WHERE file.id = late.id
   AND file.state = 'pending'
RETURNING file.id
""")

SWEEP_EXPIRED = text("""
WITH expired AS MATERIALIZED (
    SELECT id
      FROM bedplate.stored_files
     WHERE state = 'committed'
       AND expires_at <= now()
     ORDER BY expires_at
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
UPDATE bedplate.stored_files AS file
   SET state = 'deleted',
       deleted_at = now()
  FROM expired
 WHERE file.id = expired.id
   AND file.state = 'committed'
RETURNING file.id
""")

# Locked until the caller's transaction ends, so that no two sweepers delete the same objects.
TAKE_DUE = text("""
SELECT id, key
  FROM bedplate.stored_files
 WHERE state = 'deleted'
   AND bucket = :bucket
   AND (committed_at IS NULL
        OR expires_at <= now()
        OR deleted_at <= now() - CAST(:retention AS interval))
 ORDER BY deleted_at
 LIMIT :limit
   FOR UPDATE SKIP LOCKED
""")

MARK_GONE = text("""
UPDATE bedplate.stored_files
   SET state = 'gone',
       gone_at = now()
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND state = 'deleted'
""")

TAKE_GONE = text("""
SELECT id, key
  FROM bedplate.stored_files
 WHERE state = 'gone'
   AND bucket = :bucket
   AND gone_at <= now() - CAST(:memory AS interval)
 ORDER BY gone_at
 LIMIT :limit
   FOR UPDATE SKIP LOCKED
""")

FORGET = text("""
DELETE FROM bedplate.stored_files
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND state = 'gone'
""")

# Objects that a listing showed and no row names, in whatever state.
QUARANTINE = text("""
INSERT INTO bedplate.quarantined_objects (bucket, key, size_bytes)
SELECT :bucket, found.key, found.size_bytes
  FROM unnest(CAST(:keys AS text[]), CAST(:sizes AS bigint[])) AS found (key, size_bytes)
 WHERE NOT EXISTS (SELECT FROM bedplate.stored_files AS file
                    WHERE file.bucket = :bucket AND file.key = found.key)
    ON CONFLICT (bucket, key) DO NOTHING
RETURNING key
""")

# What got its row after all (a restored backup) leaves the quarantine unharmed.
RELEASE = text("""
DELETE FROM bedplate.quarantined_objects AS object
 USING bedplate.stored_files AS file
 WHERE object.bucket = :bucket
   AND file.bucket = object.bucket
   AND file.key = object.key
""")

TAKE_QUARANTINED = text("""
SELECT object.key
  FROM bedplate.quarantined_objects AS object
 WHERE object.bucket = :bucket
   AND object.noticed_at <= now() - CAST(:quarantine AS interval)
   AND NOT EXISTS (SELECT FROM bedplate.stored_files AS file
                    WHERE file.bucket = object.bucket AND file.key = object.key)
 ORDER BY object.noticed_at
 LIMIT :limit
   FOR UPDATE OF object SKIP LOCKED
""")

FORGET_QUARANTINED = text("""
DELETE FROM bedplate.quarantined_objects
 WHERE bucket = :bucket
   AND key = ANY(CAST(:keys AS text[]))
""")

COUNT_FOR_REFUSAL = text("""
SELECT (SELECT count(*) FROM bedplate.quarantined_objects WHERE bucket = :bucket) AS quarantined,
       (SELECT count(*) FROM bedplate.stored_files WHERE bucket = :bucket) AS named
""")

# Who this database is, so that its copy is somebody else: a dump restored has another identifier,
# CREATE DATABASE … TEMPLATE another oid; the host tells a restored snapshot of the whole server.
IDENTITY = text("""
SELECT (SELECT system_identifier FROM pg_control_system())::text AS server,
       (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS oid,
       current_database()::text AS name
""")

NOW = text("SELECT now()")
