"""The page of commands is what the commands say of themselves.

Write it anew with: python -m tests.docs.test_commands
"""

from pathlib import Path

import click

from bedplate.cli.catalog import COMMANDS
from bedplate.cli.main import group

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
WIDTH = 96
HEAD = """\
# Commands

`bedplate --help` and `bedplate COMMAND --help` say the same; this page is made from them and a
test holds it true.

- **Streams**: results on stdout; progress, warnings and errors on stderr.
- **JSON**: `-o json` prints one object on stdout, `{ok, data | error: {code, message, hint},
  command, duration_ms}`; `run` and a foreground `up` print it once they are ready. Fields are only
  ever added.
- **Exit status**: 0; 1 failure; 2 usage; 3 not running, not ready, timed out; 130 interrupted.
  `exec`, `psql` and `redis-cli` end with the status of the program that they run.
- **Nobody at the terminal** (no TTY, or `CI` is set): never a question, plain lines. What would
  change a server that bedplate did not start, or lose rows, needs `--yes` (`--confirm NAME` for
  rows of a managed database).
- **Errors**: what happened, why, and `Try:` with what to do; a traceback only with `--debug`.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD, _section("bedplate", group, None)]
    root = click.Context(group, info_name="bedplate")
    for name, entry in COMMANDS.items():
        command = group.get_command(root, name)
        if command is None or entry.is_hidden:
            continue
        parts.append(_section(f"bedplate {name}", command, root))
        if isinstance(command, click.Group):
            above = click.Context(command, info_name=name, parent=root)
            parts += [
                _section(f"bedplate {name} {below}", found, above)
                for below, found in command.commands.items()
            ]
    return "\n".join(parts)


def _section(title: str, command: click.Command, parent: click.Context | None) -> str:
    context = click.Context(
        command,
        info_name=title.rpartition(" ")[2],
        parent=parent,
        terminal_width=WIDTH,
        **command.context_settings,
    )
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


def test_the_page_says_what_the_commands_say() -> None:
    """Documentation that nobody generates describes the last version but one."""
    assert PAGE.read_text(encoding="utf-8") == render()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
