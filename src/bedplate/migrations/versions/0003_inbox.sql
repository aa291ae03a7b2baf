CREATE TABLE bedplate.inbox (
  consumer text NOT NULL,
  scope text NOT NULL DEFAULT '',
  message_id text NOT NULL,
  tenant text,
  fingerprint bytea,
  status smallint,
  headers jsonb,
  body bytea,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
  CONSTRAINT pk_inbox PRIMARY KEY (consumer, scope, message_id),
  CONSTRAINT ck_inbox_message_id CHECK (char_length(message_id) BETWEEN 1 AND 255),
  CONSTRAINT ck_inbox_fingerprint CHECK (octet_length(fingerprint) = 32),
  CONSTRAINT ck_inbox_status CHECK (status BETWEEN 200 AND 399),
  CONSTRAINT ck_inbox_answer CHECK ((status IS NULL) = (fingerprint IS NULL))
);

CREATE INDEX ix_inbox_expires_at ON bedplate.inbox (expires_at);
