"""`bedplate doctor`: what is wrong with a running system, why, and what to do."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bedplate.cli.options import Invocation, declare
from bedplate.cli.output import Output, duration
from bedplate.cli.stack import find_stand, find_state, stack_variables

if TYPE_CHECKING:
    from bedplate.consistency.finding import Finding
    from bedplate.consistency.report import Report, Result
    from bedplate.doctor.versions import Version
    from bedplate.project import Project, SystemEntry

# More of one kind say no more.
SHOWN = 20


@declare("doctor", "Say what is wrong with servers and data, why, and what to do.")
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option("--consistency", is_flag=True, help="Also check every invariant on the live system.")
@click.option("--deep", is_flag=True, help="Also read and hash every object that is looked at.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Files and objects looked at, at most.",
)
def command(
    invocation: Invocation, systems: tuple[str, ...], consistency: bool, deep: bool, limit: int
) -> int:
    """Check versions, with --consistency the data, too; reads only.

    Exit status 1 for a version that is too old and an invariant that is broken, 0 with warnings.
    """
    stand = find_stand(invocation)
    entries = [stand.project.entry(each) for each in systems] or list(stand.project.systems)
    variables = stand.environment(stack_variables(stand.project, find_state(invocation, stand)))
    failures = 0
    shown: list[dict[str, Any]] = []
    lines: list[str] = []
    for entry in entries:
        versions = asyncio.run(_read_versions(stand.project, entry, variables))
        failures += sum(not each.is_met for each in versions)
        shown.append({"system": entry.name, "versions": [_version(each) for each in versions]})
        lines += [_version_line(entry.name, each) for each in versions]
        if consistency:
            report = asyncio.run(
                _check(entry.name, variables, invocation.output, is_deep=deep, limit=limit)
            )
            failures += len(report.failures)
            shown[-1] |= _as_json(entry.name, report)
            lines += _lines(entry.name, report)
    invocation.output.result({"systems": shown}, lines)
    return 1 if failures else 0


async def _read_versions(
    project: "Project", entry: "SystemEntry", variables: dict[str, str]
) -> "list[Version]":
    from bedplate.doctor.versions import read_versions
    from bedplate.rows.database import Database
    from bedplate.settings import Settings
    from bedplate.system import load_system

    needed = {} if entry.target is None else load_system(project, entry).extensions
    database = Database(Settings.load(entry.name, variables).migration_database())
    return await read_versions(database, needed)


def _version(version: "Version") -> dict[str, Any]:
    return {**asdict(version), "is_met": version.is_met}


def _version_line(system: str, version: "Version") -> str:
    found = version.found or "is not there"
    line = f"{system}: {version.what} {found}, needed {version.needed} or later"
    return f"✓ {line}" if version.is_met else f"✗ {line}\n   Try: {version.hint}"


async def _check(
    name: str, variables: dict[str, str], output: Output, *, is_deep: bool, limit: int
) -> "Report":
    from bedplate.cli.files import opened
    from bedplate.consistency.finding import Subject
    from bedplate.consistency.report import check

    async with opened(name, variables) as layer:
        subject = Subject(layer, limit=limit, is_deep=is_deep)
        return await check(subject, on_result=lambda each: _tell(output, each))


def _tell(output: Output, result: "Result") -> None:
    checked = result.checked
    count = f", {checked.looked_at} {checked.noun}" if checked.looked_at else ""
    line = f"I{result.invariant} {result.promise}{count} ({duration(result.took)})"
    if any(not each.is_warning for each in result.checked.findings):
        output.failed(line)
    elif result.checked.findings:
        output.warn(line)
    else:
        output.done(line)


def _lines(name: str, report: "Report") -> list[str]:
    lines = []
    for result in report.results:
        found = result.checked.findings
        for each in found[:SHOWN]:
            lines += _finding(each)
        if len(found) > SHOWN:
            lines.append(f"   … and {len(found) - SHOWN} more of I{result.invariant}")
    failures, warnings = len(report.failures), len(report.findings) - len(report.failures)
    verdict = "consistent" if not failures else f"{failures} violations"
    return [*lines, f"{name}: {verdict}" + (f", {warnings} warnings" if warnings else "")]


def _finding(finding: "Finding") -> list[str]:
    mark = "!" if finding.is_warning else "✗"
    return [
        f"{mark} I{finding.invariant} {finding.subject}: {finding.what}",
        f"   Try: {finding.hint}",
    ]


def _as_json(name: str, report: "Report") -> dict[str, Any]:
    return {
        "system": name,
        "is_consistent": not report.failures,
        "invariants": [
            {
                "invariant": f"I{result.invariant}",
                "promise": result.promise,
                "looked_at": result.checked.looked_at,
                "findings": [
                    {**asdict(each), "invariant": f"I{each.invariant}"}
                    for each in result.checked.findings
                ],
            }
            for result in report.results
        ],
    }
