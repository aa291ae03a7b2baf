"""`bedplate seed`: what every system needs to start with, created unless it is there."""

import asyncio

from bedplate.cli.consent import require_consent
from bedplate.cli.options import Invocation, declare
from bedplate.cli.stack import find_stand, find_state, stack_variables


@declare("seed", "Create what every system needs to start with; safe to repeat.")
def command(invocation: Invocation) -> None:
    """Run each system's seed in a transaction, and print what it created and skipped."""
    stand = find_stand(invocation)
    variables = stand.environment(stack_variables(stand.project, find_state(invocation, stand)))
    require_consent(invocation, stand, "seed")
    from bedplate.cli import rollout

    done = asyncio.run(rollout.seed_all(stand.project, variables, invocation.output))
    text = [] if rollout.has_systems(stand.project) else rollout.nothing_listed(stand.project)
    invocation.output.result({"systems": done}, text)
