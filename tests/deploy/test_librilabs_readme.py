"""librilabs' README, held against what it names: every command exists, those that can run are run.

What needs a Docker engine is held against the compose file; what can be provoked of its list of
symptoms is provoked, and says the words that the list says.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
from alembic import command as alembic_command

from bedplate.cli.catalog import COMMANDS
from bedplate.rows.unreachable import refusal
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.stack import Servers
from bedplate.urls import DatabaseUrl
from tests.deploy.compose import LIBRILABS, ComposeFile, known_variables
from tests.deploy.conftest import Container
from tests.texts import ROOT

README = (ROOT / "systems" / "librilabs" / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SERVICES = ComposeFile.read(LIBRILABS).services
# Subcommands of docker compose that the page uses; exec and run are followed by a service.
COMPOSE_WORDS = {"up", "down", "exec", "ps", "logs", "run"}
CLIENTS = {"curl", "psql", "valkey-cli", "createdb", "python"}


def section(title: str) -> str:
    """What stands under a heading of the second or third level."""
    return re.split(rf"^###? {re.escape(title)}\n", README, flags=re.MULTILINE)[1].split("\n## ")[0]


def commands() -> list[list[str]]:
    """Every command of a block or between backquotes, without variables set before it."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    first = "make|bedplate|alembic|docker|psql|curl|createdb|python"
    lines += re.findall(rf"`((?:\w+=\S+ )*(?:{first}) [^`]+)`", README)
    found = [shlex.split(line, comments=True) for line in lines]
    return [[word for at, word in enumerate(line) if not _is_set(line, at)] for line in found]


def _is_set(line: list[str], at: int) -> bool:
    return all(re.match(r"[A-Z][A-Z0-9_]*=", word) for word in line[: at + 1])


def test_L23_every_command_exists() -> None:
    """A page that names what is not there costs a newcomer an hour."""
    found = commands()
    assert len(found) > 30
    assert [line for line in found if not _exists(line)] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    """A check that accepts anything proves nothing."""
    for line in (
        "make upp",
        "bedplate migrat",
        "alembic upgrad head",
        "docker compose exec app alembic current",
        "docker compose start api",
        "mysql -h localhost",
    ):
        assert not _exists(line.split()), line


def test_L23_page_has_what_is_asked_for() -> None:
    """Three stands, strings, migrations, a test by hand, symptoms."""
    for title in ("Embedded", "Docker Compose", "Railway", "Connection strings", "Migrations"):
        assert section(title)
    for line in ("make up", "make up STAND=compose", "make migrate"):
        assert line in section("Set up"), line
    for line in ("alembic upgrade head", "docker compose exec api alembic upgrade head"):
        assert line in section("Migrations").splitlines(), line
    for path in re.findall(r"`/(deploy/railway/\w+\.json)`", section("Railway")):
        assert (ROOT / path).is_file()


def test_L23_every_variable_is_in_the_example() -> None:
    """The page and `.env.example` name the same variables."""
    named = set(re.findall(r"\b((?:BEDPLATE|POSTGRES|REDIS|DATABASE|LIBRILABS)_[A-Z_]+)\b", README))
    # Of the commands and the tests, not of the application: docs/environment.md has them.
    others = {"BEDPLATE_PINNED"}
    assert named - others <= known_variables(LIBRILABS.parent)
    assert others <= set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs/environment.md").read_text()))


def test_L23_connection_strings_are_taken_as_they_are() -> None:
    """Each string of the table, the password filled in."""
    found = re.findall(r"`(postgresql[^`]+)`", section("Connection strings"))
    assert len(found) == 3
    for text in found:
        url = DatabaseUrl.parse(text.replace("…", "secret"))
        assert (url.port, bool(url.password)) == (5432, True)


def test_L23_commands_by_hand_run_as_written(container: Container, stack: Servers) -> None:
    """Those that need no Docker engine; `psql` with the address of the test's server."""
    assert stack.state is not None
    assert container.call("bedplate", "migrate", "--yes").returncode == 0
    url = DatabaseUrl.parse(container.environment["DATABASE_URL"])
    given = {"-h": "127.0.0.1", "-p": str(url.port), "-U": str(url.user), "-d": url.database}
    path = f"{stack.state.client_tools}:{container.environment['PATH']}"
    variables = container.environment | {"PATH": path, "PGPASSWORD": str(url.password)}
    prepared = Container(container.folder, variables)
    ran = 0
    for line in re.findall(r"^(?:bedplate|psql) .+$", section("Test the connection by hand"), re.M):
        words = shlex.split(line)
        for at, word in enumerate(words[:-1]):
            if words[0] == "psql" and word in given:
                words[at + 1] = given[word]
        done = prepared.call(*words)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        ran += 1
    assert ran == 4


def test_L23_symptoms_say_the_words_of_the_table(
    container: Container, stack: Servers, background: BackgroundLoop
) -> None:
    """Refused, wrong password, unknown database, TLS, too many connections."""
    url = DatabaseUrl.parse(container.environment["DATABASE_URL"])
    cases = {
        "nobody answers there": replace(url, port=1),
        "the password is wrong": replace(url, password="wrong"),
        "there is no such database": replace(url, database="nowhere"),
        "TLS could not be agreed on": replace(url, sslmode="require"),
    }
    for words, wrong in cases.items():
        _assert_said(container, words, wrong)
    with _no_connection_left(stack.admin, str(url.user), background):
        _assert_said(container, "the server has no connection left", url)


def test_L23_a_server_that_wants_tls_says_the_words_of_the_table() -> None:
    """No server of the tests' has TLS to want; the error is the one that PostgreSQL sends."""
    sent = asyncpg.InvalidAuthorizationSpecificationError(
        'no pg_hba.conf entry for host "10.0.0.1", user "a", database "b", no encryption'
    )
    said = refusal(DatabaseUrl.parse("postgresql://a:b@c/d"), sent, role=None)
    assert "the server does not let this user in" in str(said)
    assert "the server does not let this user in" in section("When it does not connect")
    assert "?sslmode=require" in (said.hint or "")


def test_L23_pending_migrations_and_a_stopped_stack_say_so(
    container: Container, tmp_path: Path
) -> None:
    """What has no address to be wrong."""
    assert container.call("bedplate", "migrate", "--yes").returncode == 0
    assert container.call("alembic", "downgrade", "base").returncode == 0
    told = container.call("bedplate", "migrate", "status")
    assert told.returncode == 3
    assert "pending" in told.stdout
    assert "0001" in told.stdout
    assert container.call("bedplate", "migrate", "--yes").returncode == 0

    kept = {name: each for name, each in container.environment.items() if "_URL" not in name}
    kept["BEDPLATE_STATE_DIR"] = str(tmp_path)
    alone = Container(container.folder, kept).call("bedplate", "migrate", "status")
    assert re.search(r"the embedded servers of \S+ are not running", alone.stderr)
    assert "the embedded servers of … are not running" in section("When it does not connect")


def _exists(line: list[str]) -> bool:
    program, *words = line
    if program == "make":
        return all(word in TARGETS for word in words if "=" not in word)
    if program == "bedplate":
        return words[0] in COMMANDS
    if program == "alembic":
        return callable(getattr(alembic_command, words[0], None))
    if program == "docker":
        return words[0] == "compose" and _is_composes(words[1:])
    return program in CLIENTS


def _is_composes(words: list[str]) -> bool:
    word, *rest = words
    if word not in COMPOSE_WORDS:
        return False
    named = [each for each in rest if not each.startswith("-")]
    if word in ("exec", "run"):
        return named[0] in SERVICES and _exists(rest[rest.index(named[0]) + 1 :])
    return all(each in SERVICES for each in named)


def _assert_said(container: Container, words: str, url: DatabaseUrl) -> None:
    assert f"`{words}`" in section("When it does not connect")
    variables = container.environment | {"DATABASE_URL": url.render()}
    told = Container(container.folder, variables).call("bedplate", "migrate", "status")
    assert told.returncode != 0
    assert words in told.stderr, told.stderr


@contextmanager
def _no_connection_left(
    admin: DatabaseUrl, user: str, background: BackgroundLoop
) -> Iterator[None]:
    """While this lasts the server refuses the user as it does when all connections are taken."""

    async def limit(count: int) -> None:
        connection = await asyncpg.connect(admin.render())
        try:
            await connection.execute(f'ALTER ROLE "{user}" CONNECTION LIMIT {count}')
        finally:
            await connection.close()

    background.run(limit(0))
    try:
        yield
    finally:
        background.run(limit(-1))
