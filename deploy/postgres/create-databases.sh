#!/bin/sh
# Makes each system's database, with its owner and its serving role. The database's image runs it
# once, as the superuser, when its volume is empty.
# BEDPLATE_DATABASES has a line for each: database owner password
set -eu

printf '%s\n' "$BEDPLATE_DATABASES" | while read -r database owner password; do
  [ -n "$database" ] || continue
  export database owner password
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --username "$POSTGRES_USER" --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
\getenv database database
\getenv owner owner
\getenv password password
CREATE ROLE :"owner" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"owner";
SELECT :'database' || '_app' AS role \gset
CREATE ROLE :"role" NOLOGIN NOBYPASSRLS;
GRANT :"role" TO :"owner" WITH SET TRUE, INHERIT FALSE;
\connect :"database"
CREATE EXTENSION vector;
SQL
done
