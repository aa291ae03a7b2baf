"""Clients of S3 cost half a second to import: nobody pays who does not use them."""

import subprocess
import sys

PROGRAM = """
import sys
import bedplate.layer, bedplate.unit_of_work, bedplate.health, bedplate.files.transfer
from bedplate.delivery import relay
print([name for name in ("boto3", "botocore", "obstore") if name in sys.modules])
"""


def test_no_client_is_imported_before_it_is_used() -> None:
    """Neither by the layer, nor by the relay, nor by the module of the blocking functions."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
