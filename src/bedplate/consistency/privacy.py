"""I10 a tenant never sees another's rows, and I15 no secret is written down."""

from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from sqlalchemy import text

from bedplate.consistency.finding import Checked, Finding, Rule, Subject, apply_rules
from bedplate.settings import Settings

# Whom row-level security does not bind.
UNBOUND_ROLE = text("""
SELECT 'role ' || rolname AS subject,
       CASE WHEN rolsuper THEN 'requests are served as a superuser'
            ELSE 'requests are served as a role that bypasses row-level security' END AS why
  FROM pg_roles
 WHERE rolname = :role
   AND (rolsuper OR rolbypassrls)
 LIMIT :limit
""")
OWNED_BY_ROLE = text("""
SELECT 'table ' || class.oid::regclass AS subject,
       'the serving role owns it, and its policies do not bind an owner' AS why
  FROM pg_class AS class
  JOIN pg_roles AS owner ON owner.oid = class.relowner
 WHERE owner.rolname = :role
   AND class.relkind IN ('r', 'p')
   AND NOT class.relforcerowsecurity
 LIMIT :limit
""")
# A policy is written, and does nothing until it is switched on.
IDLE_POLICY = text("""
SELECT 'table ' || class.oid::regclass AS subject,
       format('it has %s policies, and row-level security is off', count(*)) AS why
  FROM pg_policy AS policy
  JOIN pg_class AS class ON class.oid = policy.polrelid
 WHERE NOT class.relrowsecurity
 GROUP BY class.oid
 LIMIT :limit
""")
COUNT_POLICIES = text("SELECT count(*) FROM pg_policy")

IN_JOB = text("""
SELECT 'job ' || id AS subject, 'its last error holds a secret of the settings' AS why
  FROM bedplate.jobs
 WHERE strpos(last_error, :secret) > 0 OR strpos(arguments::text, :secret) > 0
 LIMIT :limit
""")
IN_MESSAGE = text("""
SELECT 'message ' || id AS subject, 'it holds a secret of the settings' AS why
  FROM bedplate.outbox
 WHERE strpos(last_error, :secret) > 0 OR strpos(payload::text, :secret) > 0
 LIMIT :limit
""")
# Shorter ones are found in any text.
SHORTEST_SECRET = 8


async def tenants_are_apart(subject: Subject) -> Checked:
    """I10: the policies are in force, and bind the role that serves requests."""
    role = subject.layer.settings.serving_role()
    checked = await apply_rules(
        10,
        subject,
        Rule(UNBOUND_ROLE, "ALTER ROLE … NOSUPERUSER NOBYPASSRLS, or serve as another role."),
        Rule(OWNED_BY_ROLE, "Let a role own it that serves no request: bedplate migrate."),
        Rule(IDLE_POLICY, "ALTER TABLE … ENABLE ROW LEVEL SECURITY"),
        count=COUNT_POLICIES,
        role=role,
    )
    checked.noun = "policies"
    return checked


async def no_secret_is_written_down(subject: Subject) -> Checked:
    """I15: no password or key of the settings is in a job or a message."""
    checked = Checked(noun="secrets")
    hint = "Delete the text, change the secret, and see where the error was made."
    for secret in sorted(_secrets(subject.layer.settings)):
        async with subject.reading() as connection:
            for rule in (Rule(IN_JOB, hint), Rule(IN_MESSAGE, hint)):
                found = await rule.apply(15, subject, connection, secret=secret)
                checked.findings += [each for each in found if not _is_known(each, checked)]
        checked.looked_at += 1
    return checked


def _is_known(finding: Finding, checked: Checked) -> bool:
    return any(each.subject == finding.subject for each in checked.findings)


def _secrets(settings: Settings) -> set[str]:
    found = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            plain = value.get_secret_value()
            found.add(unquote(urlsplit(plain).password or "") if "://" in plain else plain)
    return {each for each in found if len(each) >= SHORTEST_SECRET}
