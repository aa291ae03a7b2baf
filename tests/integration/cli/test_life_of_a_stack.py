"""Nothing runs, it runs, it is stopped: what each command says before, meanwhile and after."""

import signal

from tests.integration.cli.conftest import Bedplate


def test_without_servers_commands_say_how_to_start_them(bedplate: Bedplate) -> None:
    """Exit status 3, nothing on stdout that an eval would take, and the next command."""
    for name in ("status", "env", "psql", "redis-cli", "seed", "worker"):
        done = bedplate.call(name)
        assert done.returncode == 3, name
        assert done.stdout == "", name
        assert "Try: bedplate up -d" in done.stderr, name


def test_without_servers_json_holds_the_code(bedplate: Bedplate) -> None:
    """Programs branch on the code, not on the sentence."""
    answer = bedplate.json("status")
    assert answer["ok"] is False
    assert answer["error"]["code"] == "stack_not_running"
    assert answer["error"]["hint"] == "bedplate up -d"


def test_down_without_servers_is_fine(bedplate: Bedplate) -> None:
    """Clean-up steps must not fail when there is nothing to clean."""
    done = bedplate.call("down")
    assert done.returncode == 0
    assert "nothing to stop" in done.stdout


def test_exec_brings_servers_for_as_long_as_its_program_runs(bedplate: Bedplate) -> None:
    """`bedplate exec -- make test` is a whole CI job."""
    done = bedplate.call("exec", "--", "psql", "-Atc", "select 1")
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert bedplate.call("down").returncode == 0


def test_up_in_the_foreground_stops_with_ctrl_c(bedplate: Bedplate) -> None:
    """What a terminal started ends with the terminal."""
    running = bedplate.start("up")
    running.wait_for("Ctrl-C stops the servers")
    assert set(bedplate.processes()) == {"postgres", "valkey"}
    assert running.end(signal.SIGINT) == 130
    bedplate.call("down")
    assert bedplate.call("status").returncode == 3


def test_up_in_the_foreground_ends_when_another_terminal_says_down(bedplate: Bedplate) -> None:
    """`down` stops them, whoever started them, and says what it stopped."""
    running = bedplate.start("up")
    running.wait_for("Ctrl-C stops the servers")
    done = bedplate.call("down")
    assert "stopped" in done.stdout
    assert "postgres" in done.stdout
    assert "valkey" in done.stdout
    running.wait_for("the servers were stopped")
    assert running.process.wait(timeout=10) == 0
