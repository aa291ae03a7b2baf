"""`bedplate doctor --consistency` as a process, on a stack of its own."""

import pytest

from bedplate.consistency.report import CHECKERS
from tests.integration.cli.conftest import Bedplate


@pytest.fixture(scope="module")
def stack(sample: Bedplate) -> Bedplate:
    """The sample's stack with S3, detached; it syncs nothing to the disk, which I2 finds."""
    sample.environment["BEDPLATE_FILES"] = "1"
    done = sample.call("up", "-d")
    assert done.returncode == 0, done.stderr
    return sample


def test_before_the_first_migration_it_says_so(stack: Bedplate) -> None:
    """There is nothing to examine, and one line says what to do."""
    answer = stack.json("doctor", "--consistency")
    assert answer["error"]["code"] == "migration_pending"
    assert stack.call("migrate").returncode == 0


def test_it_says_what_is_wrong_why_and_what_to_do(stack: Bedplate) -> None:
    """Findings on stdout, a line an invariant on stderr; exit status 1 with a failure."""
    assert stack.call("migrate").returncode == 0
    done = stack.call("doctor", "--consistency", "--deep")
    assert done.returncode == 1, done.stderr
    assert "✗ I2 setting fsync: fsync is off" in done.stdout
    assert "Try: Set it to on" in done.stdout
    assert "sample: 3 violations" in done.stdout
    assert "✗ I2 the server writes a commit to the disk" in done.stderr
    assert "✓ I7 an object of its size" in done.stderr


def test_json_names_every_invariant(stack: Bedplate) -> None:
    """For a monitor, which reads it each minute."""
    assert stack.call("migrate").returncode == 0
    (system,) = stack.json("doctor", "sample", "--consistency")["data"]["systems"]
    assert (system["system"], system["is_consistent"]) == ("sample", False)
    assert [each["invariant"] for each in system["invariants"]] == [f"I{n}" for n in CHECKERS]
    broken = [each["invariant"] for each in system["invariants"] if each["findings"]]
    assert broken == ["I2"]


def test_an_unknown_system_is_named(stack: Bedplate) -> None:
    """With those that there are."""
    answer = stack.json("doctor", "--consistency", "shop")
    assert not answer["ok"]
    assert "sample" in answer["error"]["hint"]


def test_without_an_option_it_checks_versions(stack: Bedplate) -> None:
    """PostgreSQL's, and those of the extensions that a system names; the data is not looked at."""
    done = stack.call("doctor")
    assert done.returncode == 0, done.stderr
    assert "✓ sample: PostgreSQL " in done.stdout
    assert ", needed 16 or later" in done.stdout
    (system,) = stack.json("doctor", "sample")["data"]["systems"]
    assert [each["what"] for each in system["versions"]] == ["PostgreSQL"]
    assert system["versions"][0]["is_met"]
    assert "invariants" not in system
