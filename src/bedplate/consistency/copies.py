"""I9: what the cache still holds of rows that have changed since."""

from sqlalchemy import text

from bedplate.consistency.finding import Checked, Finding, Rule, Subject, apply_rules
from bedplate.delivery import outbox
from bedplate.errors import RedisUnreachableError, SettingsError

UNTOLD = text("""
SELECT 'key ' || key AS subject,
       format('it changed at %s, and Redis was not told: %s', created_at,
              coalesce(last_error, 'nobody tried')) AS why
  FROM bedplate.outbox
 WHERE kind LIKE :kind
   AND created_at < now() - CAST(:patience AS interval)
 ORDER BY created_at
 LIMIT :limit
""")
COUNT_WAITING = text("SELECT count(*) FROM bedplate.outbox")


async def copies_are_true(subject: Subject) -> Checked:
    """I9: every invalidation was told in time, and Redis is there to be told."""
    hint = "Is a relay running? bedplate relay. A dead message is put back by: bedplate outbox."
    checked = await apply_rules(
        9, subject, Rule(UNTOLD, hint), count=COUNT_WAITING, kind=f"{outbox.INVALIDATE}%"
    )
    checked.noun = "messages that wait"
    try:
        await subject.layer.redis.ping()
    except (RedisUnreachableError, SettingsError) as error:
        checked.findings.append(
            Finding(9, "Redis", error.message, error.hint or "Check REDIS_URL.", is_warning=True)
        )
    return checked
