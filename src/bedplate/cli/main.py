"""The entry point `bedplate`: finds the command, runs it, and turns what it raises into an answer.

Promises: results on stdout, everything else on stderr; exit status 0, 1 (failure), 2 (usage),
3 (not ready, timed out) or 130 (interrupted), but for commands that run another program and end
with its status; a traceback only with `--debug`. Imports click and nothing heavier, so that
`--help` answers at once; the commands are imported when they are called.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from bedplate.cli.catalog import COMMANDS
from bedplate.cli.options import Invocation, global_options
from bedplate.cli.output import Output
from bedplate.errors import BedplateError

INTERRUPTED = 130


class LazyGroup(click.Group):
    """The group of all commands: it knows their names, and imports the one that is called."""

    def __init__(self, **arguments: Any) -> None:
        # The empty commands are for click's "did you mean"; get_command loads the real ones.
        names = {name: click.Command(name) for name, entry in COMMANDS.items()}
        super().__init__(commands=names, **arguments)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in the order of the catalog, which is that of a first day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bedplate.cli.commands.{COMMANDS[cmd_name].module}")
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the catalog: no command is imported for it."""
        rows = [(name, entry.help) for name, entry in COMMANDS.items() if not entry.is_hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit with its status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """Run one command line; the exit status."""
    invocation = Invocation()
    # Errors before the options are read are to be told in the format that was asked for, too.
    invocation.expect(arguments)
    try:
        answer = group.main(arguments, "bedplate", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except BedplateError as error:
        _fail(invocation, error, error.code, error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        _fail(invocation, error, "usage", error.format_message(), _usage_hint(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        _fail(invocation, error, "interrupted", "interrupted", "")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; the interpreter's own last flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: nothing but --debug shows a traceback
        hint = "Run it again with --debug for the traceback."
        _fail(invocation, error, "unexpected", f"{type(error).__name__}: {error}", hint)
        return 1


def _fail(invocation: Invocation, error: BaseException, code: str, message: str, hint: str) -> None:
    Output(invocation).fail(code, message, hint)
    if invocation.is_debug and code != "usage":
        import traceback

        traceback.print_exception(error, file=sys.stderr)


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path if context else 'bedplate'} --help"


def _print_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if not is_asked or context.resilient_parsing:
        return
    from importlib.metadata import version

    found = version("bedplate")
    Output(context.obj).result({"version": found}, f"bedplate {found}")
    context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="State is kept in .bedplate/; docs/commands.md has every command.",
)
@global_options()
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def group() -> None:
    """The data layer of a Python backend: PostgreSQL, Redis and Celery as one system."""


if __name__ == "__main__":
    main()
