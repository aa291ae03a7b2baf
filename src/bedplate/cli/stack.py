"""The commands' way to the embedded stack: attach with its steps shown, or find it running.

Called by every command that needs a server. Nothing heavy is imported: `servers.client` is light.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from bedplate.cli.options import Invocation
from bedplate.cli.output import Output, duration
from bedplate.cli.stand import Stand
from bedplate.errors import StackNotRunningError
from bedplate.project import Project
from bedplate.servers import binaries, client
from bedplate.servers.client import RunningStack
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState, Step


def find_stand(invocation: Invocation) -> Stand:
    """What the variables decide. In production, raise unless all that it needs is set."""
    stand = Stand.find(invocation.project, invocation.variables)
    stand.refuse_gaps_in_production()
    return stand


@contextmanager
def attached(
    invocation: Invocation,
    stand: Stand,
    *,
    timeout: timedelta,
    detach: bool = False,
    is_quiet: bool = False,
) -> Iterator[RunningStack | None]:
    """The running stack while the block runs; None when every service is managed.

    Starts the servers when they do not run. The last foreground client that leaves stops them,
    unless someone asked for them to stay (`up -d`). `is_quiet`: the output is another program's.
    """
    if not stand.embeds:
        yield None
        return
    output = invocation.output
    was_running = client.read_state(invocation.project) is not None
    options = _choose_options(invocation, stand)
    with client.attach(
        invocation.project,
        options,
        detach=detach,
        on_step=None if is_quiet else lambda step: _say_start(output, step),
        timeout=timeout,
    ) as running:
        if not is_quiet:
            _say_services(output, running.state, was_running)
            if stand.embeds_files and not running.state.s3_url:
                why, hint = binaries.why_no_weed()
                output.note(f"{why}. {hint}")
        yield running


def _choose_options(invocation: Invocation, stand: Stand) -> StackOptions:
    options = StackOptions.from_environment(invocation.variables)
    return replace(
        options,
        has_postgres=stand.embeds_database,
        has_valkey=stand.embeds_redis,
        # Files are optional: where there is no SeaweedFS, everything else works.
        has_files=stand.embeds_files and binaries.find_weed(options.weed) is not None,
    )


def find_state(invocation: Invocation, stand: Stand) -> StackState | None:
    """The running stack; None when every service is managed.

    Raises `StackNotRunningError` when servers are to be embedded and do not run.
    """
    if not stand.embeds:
        return None
    state = client.read_state(invocation.project)
    if state is None:
        raise not_running(invocation.project)
    return state


def open_system(invocation: Invocation, system: str | None) -> tuple[str, dict[str, str], Stand]:
    """The one system that a command is about, with the variables that lead to its servers.

    Raises `ProjectError` when there are several and none is named, and as `find_state` does.
    """
    stand = find_stand(invocation)
    name = stand.project.choose(system).name
    variables = stand.environment(stack_variables(stand.project, find_state(invocation, stand)))
    return name, variables, stand


def stack_variables(project: Project, state: StackState | None) -> Mapping[str, str]:
    """What the stack gives to a process; nothing without one."""
    return {} if state is None else state.environment(project.systems)


def not_running(project: Project) -> StackNotRunningError:
    """The error of every command that needs the servers and finds none."""
    return StackNotRunningError(
        f"the embedded servers of {project.root} are not running", hint="bedplate up -d"
    )


def say_step(output: Output, step: Step) -> None:
    """One step of the servers' start or stop."""
    line = f"{step.name} {step.detail}".strip()
    if step.ok:
        output.done(line, timedelta(milliseconds=step.ms))
    else:
        output.failed(line)


def _say_start(output: Output, step: Step) -> None:
    # The servers themselves are told in full, with version and address, once all are ready.
    if not step.ok:
        say_step(output, step)
    else:
        output.detail(f"{step.name}: {step.detail} ({step.ms} ms)")


def _say_services(output: Output, state: StackState, was_running: bool) -> None:
    if was_running:
        output.note(f"attached to the servers that run already (pid {state.supervisor_pid})")
    for service in state.services:
        took = "" if was_running else f" ({duration(timedelta(milliseconds=service.ready_ms))})"
        word = "up" if was_running else "ready"
        output.done(f"{service.name} {service.version} {word}{took} 127.0.0.1:{service.port}")
