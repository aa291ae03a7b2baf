CREATE TABLE bedplate.stored_files (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  tenant text,
  bucket text NOT NULL,
  key text NOT NULL,
  state text NOT NULL DEFAULT 'pending',
  size_bytes bigint,
  sha256 bytea,
  content_type text NOT NULL,
  file_name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  pending_until timestamptz,
  committed_at timestamptz,
  deleted_at timestamptz,
  gone_at timestamptz,
  expires_at timestamptz,
  CONSTRAINT pk_stored_files PRIMARY KEY (id),
  CONSTRAINT uq_stored_files_bucket_key UNIQUE (bucket, key),
  CONSTRAINT ck_stored_files_state
    CHECK (state IN ('pending', 'committed', 'deleted', 'gone')),
  CONSTRAINT ck_stored_files_pending
    CHECK ((state = 'pending') = (pending_until IS NOT NULL)),
  CONSTRAINT ck_stored_files_committed
    CHECK (
      CASE state
        WHEN 'pending' THEN committed_at IS NULL
        WHEN 'committed' THEN committed_at IS NOT NULL
        ELSE true
      END
    ),
  CONSTRAINT ck_stored_files_deleted
    CHECK ((state IN ('deleted', 'gone')) = (deleted_at IS NOT NULL)),
  CONSTRAINT ck_stored_files_gone
    CHECK ((state = 'gone') = (gone_at IS NOT NULL)),
  CONSTRAINT ck_stored_files_measured
    CHECK (committed_at IS NULL OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL)),
  CONSTRAINT ck_stored_files_size_bytes CHECK (size_bytes >= 0),
  CONSTRAINT ck_stored_files_sha256 CHECK (octet_length(sha256) = 32),
  CONSTRAINT ck_stored_files_file_name CHECK (char_length(file_name) BETWEEN 1 AND 255)
);

CREATE INDEX ix_stored_files_pending ON bedplate.stored_files (pending_until)
  WHERE state = 'pending';
CREATE INDEX ix_stored_files_expiring ON bedplate.stored_files (expires_at)
  WHERE state = 'committed' AND expires_at IS NOT NULL;
CREATE INDEX ix_stored_files_deleted ON bedplate.stored_files (deleted_at)
  WHERE state = 'deleted';
CREATE INDEX ix_stored_files_gone ON bedplate.stored_files (gone_at)
  WHERE state = 'gone';

CREATE TABLE bedplate.quarantined_objects (
  bucket text NOT NULL,
  key text NOT NULL,
  size_bytes bigint NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT pk_quarantined_objects PRIMARY KEY (bucket, key)
);

CREATE INDEX ix_quarantined_objects_noticed_at ON bedplate.quarantined_objects (noticed_at);
