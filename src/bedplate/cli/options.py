"""The options that every command takes, and what they say: one `Invocation` per command line.

`bedplate -o json status` and `bedplate status -o json` mean the same. Called by `main` and, as
the decorators `declare` and `declare_passing`, by every file in `commands/`.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bedplate.cli.output import Output
    from bedplate.project import Project

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FORMATS = ("text", "json", "env")
Function = Callable[..., Any]
# Of the processes that another one migrates for.
MIGRATION_LIMIT = click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds to wait at the start for a database that is down or not migrated yet.",
)


class Invocation:
    """One call of the command line: its global options, its project, its variables."""

    # No dataclass: making one takes 3 ms of the 80 that `--help` may take.
    def __init__(self) -> None:
        self.command = ""
        self.format = "text"
        self.verbosity = 0
        self.is_debug = False
        self.is_plain = False
        self.is_confirmed = False
        self.is_unattended = False
        self.namespace: str | None = None
        self.has_answered = False
        self.started = time.monotonic()

    def expect(self, arguments: list[str]) -> None:
        """Take format and `--debug` from arguments that click has not read yet."""
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        self.is_debug = "--debug" in own
        if re.search(r"(^|\s)(-o\s?|--output[ =])json(\s|$)", " ".join(own)):
            self.format = "json"

    @property
    def is_interactive(self) -> bool:
        """Whether a question may be asked: a terminal on both ends, no CI, not forbidden."""
        return (
            not self.is_unattended
            and not self.variables.get("CI")
            and sys.stdin.isatty()
            and sys.stderr.isatty()
        )

    @cached_property
    def variables(self) -> dict[str, str]:
        """The process' environment and `.env`, as found when the command was called."""
        from bedplate.environment import read_environment

        return read_environment()

    @cached_property
    def project(self) -> "Project":
        """The project of the current folder; with a namespace, its state is in a folder below."""
        from dataclasses import replace

        from bedplate.project import Project

        project = Project.find(self.variables)
        if self.namespace is None:
            return project
        return replace(project, state=project.state / self.namespace)

    @cached_property
    def output(self) -> "Output":
        """Where results and progress go."""
        from bedplate.cli.output import Output

        return Output(self)


def global_options(*, without: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Add the global options to a command, but for those flags that it uses otherwise."""

    def add(function: Function) -> Function:
        for flags, settings in reversed(_GLOBAL):
            taken = [flag for flag in flags if flag not in without]
            function = click.option(
                *taken, expose_value=False, callback=_remember, default=None, **settings
            )(function)
        return function

    return add


def declare(
    name: str, help_line: str, *, without: tuple[str, ...] = ()
) -> Callable[[Function], click.Command]:
    """Declare a command that takes the global options and is handed the `Invocation` first."""

    def decorate(function: Function) -> click.Command:
        with_options = global_options(without=without)(named(name, function))
        return _made(with_options, name, help_line, CONTEXT)

    return decorate


def declare_passing(name: str, help_line: str) -> Callable[[Function], click.Command]:
    """Declare a command whose arguments belong to another program: no option of ours among them.

    Global options stand before its name: `bedplate -n ci psql -c 'select 1'`.
    """

    def decorate(function: Function) -> click.Command:
        settings = {
            **CONTEXT,
            "help_option_names": ["--help"],
            "ignore_unknown_options": True,
            "allow_interspersed_args": False,
        }
        return _made(named(name, function), name, help_line, settings)

    return decorate


def named(name: str, function: Function) -> Function:
    """Hand the `Invocation` to a function, and note which command it is."""

    @click.pass_context
    def call(context: click.Context, /, *values: Any, **named: Any) -> Any:
        invocation: Invocation = context.obj
        invocation.command = name
        if invocation.format == "env" and name != "env":
            raise click.UsageError("-o env is for `bedplate env`", ctx=context)
        return function(invocation, *values, **named)

    # click keeps declared parameters on the function; ours must hand them on.
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return call


def _made(function: Function, name: str, help_line: str, settings: dict[str, Any]) -> click.Command:
    return click.command(name, help=help_line, context_settings=settings)(function)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is None or value is False or value == 0 or parameter.name is None:
        return
    if parameter.name == "namespace" and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,30}", value):
        raise click.BadParameter("use lower-case letters, digits, - and _", context, parameter)
    setattr(context.obj, parameter.name, value)


def is_colored(invocation: Invocation) -> bool:
    """Whether stderr may carry colors: a terminal, and neither --no-color nor NO_COLOR."""
    return not (
        invocation.is_plain
        or os.environ.get("NO_COLOR")
        or os.environ.get("CI")
        or not sys.stderr.isatty()
    )


_GLOBAL: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("format", "-o", "--output"),
        {"type": click.Choice(FORMATS), "help": "How the result is printed.  [default: text]"},
    ),
    (
        ("namespace", "-n", "--namespace"),
        {"metavar": "NAME", "help": "Another stack beside the usual one, kept in .bedplate/NAME."},
    ),
    (("verbosity", "-v", "--verbose"), {"count": True, "help": "Say more."}),
    (("is_confirmed", "--yes"), {"is_flag": True, "help": "Answer every question with yes."}),
    (("is_unattended", "--non-interactive"), {"is_flag": True, "help": "Never ask."}),
    (("is_plain", "--no-color"), {"is_flag": True, "help": "No colors (also NO_COLOR)."}),
    (("is_debug", "--debug"), {"is_flag": True, "help": "Show the traceback of an error."}),
)
