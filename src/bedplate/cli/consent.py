"""Asks before a command changes a server that is not ours: at a terminal, or by `--yes`.

A DATABASE_URL that was left in a shell must not migrate or seed somebody's real server.
"""

import click

from bedplate.cli.options import Invocation
from bedplate.cli.stand import Stand
from bedplate.errors import ConsentMissingError


def require_consent(invocation: Invocation, stand: Stand, deed: str) -> None:
    """Print which managed databases `deed` would change, and raise unless the person agrees."""
    if not stand.databases:
        return
    for name, url in stand.databases.items():
        invocation.output.warn(
            f"{name} is a managed database: {url.database} on {url.host}:{url.port}, as {url.user}"
        )
    if invocation.is_confirmed:
        return
    if invocation.is_interactive and click.confirm(f"{deed.capitalize()} there?", err=True):
        return
    raise ConsentMissingError(
        f"bedplate does not {deed} on a server that it did not start without being told to",
        hint=f"bedplate {invocation.command} --yes; or unset DATABASE_URL for an embedded server",
    )


def require_loss_agreed(
    invocation: Invocation, stand: Stand, system: str, deed: str, confirmed: str | None
) -> None:
    """Raise unless the person agrees to lose rows: `--yes` for ours, `--confirm` for managed."""
    url = stand.databases.get(system)
    if url is not None and confirmed == url.database:
        return
    if url is None and invocation.is_confirmed:
        return
    where = f"{url.database} on {url.host}" if url else "the embedded database"
    if invocation.is_interactive and click.confirm(
        f"{deed} in {where}? Rows may be lost.".capitalize(), err=True
    ):
        return
    flag = f"--confirm {url.database}" if url else "--yes"
    raise ConsentMissingError(
        f"to {deed} may lose rows of {where}, and nobody agreed to it",
        hint=f"bedplate {invocation.command} {system} {flag}",
    )


def agree_to_many(invocation: Invocation, deed: str, count: int, what: str, where: str) -> None:
    """Raise unless the person agrees to change this many rows, which were not named one by one."""
    said = f"{deed} {count} {what}{'' if count == 1 else 's'} {where}"
    if invocation.is_confirmed:
        return
    if invocation.is_interactive and click.confirm(f"{said.capitalize()}?", err=True):
        return
    raise ConsentMissingError(
        f"to {said} was not agreed to", hint=f"bedplate {invocation.command} … --yes"
    )
