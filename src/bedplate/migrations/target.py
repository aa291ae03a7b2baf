"""Which system, and so which database, a plain `alembic` command means."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bedplate.environment import read_environment
from bedplate.errors import MigrationError, StackNotRunningError
from bedplate.project import Project, SystemEntry
from bedplate.servers.client import read_state
from bedplate.settings import Settings


@dataclass(frozen=True)
class Target:
    """A system of a project, and the variables that name its database."""

    project: Project
    entry: SystemEntry
    variables: Mapping[str, str]

    def settings(self) -> Settings:
        """Of the variables, else of the embedded stack that runs. Raises `BedplateError`."""
        settings = Settings.load(self.entry.name, self.variables)
        if settings.migration_database_url or settings.database_direct_url or settings.database_url:
            return settings
        state = read_state(self.project)
        if state is None or self.entry.name not in state.databases:
            raise StackNotRunningError(
                f"no database: neither {self.entry.variable} nor DATABASE_URL is set, "
                "and no embedded stack runs",
                hint="Try: bedplate up -d",
            )
        return Settings.load(
            self.entry.name, {**self.variables, "DATABASE_URL": state.databases[self.entry.name]}
        )

    @property
    def role(self) -> str:
        """The serving role, known without a database: for scripts."""
        settings = Settings.load(self.entry.name, self.variables)
        if settings.app_role or settings.database_url:
            return settings.serving_role()
        return f"{self.entry.database}_app"


def find_target(folder: Path, system: str | None = None) -> Target:
    """The system whose `alembic.ini` is in `folder`: named like the folder, or the only one."""
    variables = read_environment(folder)
    project = Project.find(variables, folder)
    if system is not None:
        return Target(project, project.entry(system), variables)
    for entry in project.systems:
        if entry.name == folder.resolve().name:
            return Target(project, entry, variables)
    if len(project.systems) == 1:
        return Target(project, project.systems[0], variables)
    raise MigrationError(
        f"{folder} belongs to no system of {project.root}",
        hint="Name it in env.py: env.run(Base.metadata, system=NAME)",
    )
