"""What the type checker says of `enqueue`: right calls pass, wrong ones are errors."""

import textwrap
from pathlib import Path

from mypy import api

SNIPPET = """
from uuid import UUID
from bedplate import JobRun, UnitOfWork, task

@task()
async def send(job: JobRun, to: UUID, times: int = 1) -> None: ...

def calls(uow: UnitOfWork, to: UUID) -> None:
    job_id: UUID = uow.enqueue(send, to)
    uow.enqueue(send.with_options(priority=1), to, times=2)
    uow.enqueue(send, "text")
    uow.enqueue(send)
    uow.enqueue(send, to, tiems=2)
    uow.enqueue(send.with_options(priority=1), to, "two")

@task()
async def no_job_run(to: UUID) -> None: ...
"""
ROOT = Path(__file__).parents[2]


def test_wrong_arguments_are_errors_and_right_ones_are_not(tmp_path: Path) -> None:
    """Fully checked: it is half of why `enqueue` takes the task's own arguments."""
    snippet = tmp_path / "snippet.py"
    snippet.write_text(textwrap.dedent(SNIPPET))
    output, errors, _ = api.run(
        [
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--cache-dir",
            str(ROOT / ".mypy_cache"),
            "--follow-imports=silent",
            str(snippet),
        ]
    )
    found = [line.split(":")[1] for line in output.splitlines() if ": error:" in line]
    lines = SNIPPET.splitlines()
    wrong = [
        str(number)
        for number, line in enumerate(lines, 1)
        if '"t' in line or line.endswith(("enqueue(send)", "tiems=2)")) or "no_job_run" in line
    ]
    assert errors == ""
    # The error of a decorated function stands at its decorator.
    assert found == [*wrong[:-1], str(int(wrong[-1]) - 1)], output
