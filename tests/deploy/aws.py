"""Servers that enforce policies, for the templates of deploy/aws: moto and SeaweedFS.

moto makes the stacks, and refuses what AWS' identities are refused, on every interface. SeaweedFS
stores bytes as an S3 must, so that the application runs under the same documents there, and knows
whether a request came over TLS.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from boto3.session import Session
from botocore.config import Config
from cfnlint.decode.cfn_yaml import load as load_template

from bedplate.servers.certificates import make_certificate
from tests.integration.servers import probes
from tests.texts import ROOT

FOLDER = ROOT / "deploy" / "aws"
IDENTITIES = FOLDER / "identities.yaml"
BUCKET_TEMPLATE = FOLDER / "bucket.yaml"
NAME = "shop-files"
OTHER = "another-bucket"
REGION = "us-east-1"
WEED_PORTS = ["s3.port", "s3.port.https", "s3.port.grpc", "master.port", "master.port.grpc"]
WEED_PORTS += ["volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]


@dataclass(frozen=True)
class Keys:
    """Whose requests are signed."""

    key_id: str
    secret: str = field(repr=False)


ADMIN = Keys("administrator", "of-the-account")


@dataclass(frozen=True)
class Cloud:
    """A server with accounts: where it is, over TLS too where it speaks it."""

    endpoint: str
    tls_endpoint: str | None = None

    def client(self, service: str, keys: Keys = ADMIN, *, is_tls: bool = False) -> Any:
        """boto3's client of somebody; one try, since refusals are what is asked for."""
        return Session().client(
            service,
            region_name=REGION,
            endpoint_url=self.tls_endpoint if is_tls else self.endpoint,
            verify=False if is_tls else None,
            aws_access_key_id=keys.key_id,
            aws_secret_access_key=keys.secret,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def key_of(self, user: str) -> Keys:
        """A new key of a user, as an administrator makes one by hand."""
        made = self.client("iam").create_access_key(UserName=user)["AccessKey"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])


def stack(cloud: Cloud, template: Path, **parameters: str) -> dict[str, str]:
    """Make a stack of a template, with every right. Returns its outputs."""
    client = cloud.client("cloudformation")
    client.create_stack(
        StackName=template.stem,
        TemplateBody=template.read_text(),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": each} for key, each in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    (made,) = client.describe_stacks(StackName=template.stem)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in made.get("Outputs", ())}


def resource(template: Path, name: str, **parameters: str) -> dict[str, Any]:
    """A resource's properties, with `!Ref` and `!Sub` of parameters filled in."""
    known = parameters | {"AWS::Partition": "aws", "AWS::Region": REGION}
    whole = json.loads(json.dumps(load_template(str(template))))
    found: dict[str, Any] = _filled(whole["Resources"][name]["Properties"], known)
    return found


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    if {*value} == {"Ref"}:
        return known.get(value["Ref"], value)
    if {*value} == {"Fn::Sub"}:
        text: str = value["Fn::Sub"]
        for name, each in known.items():
            text = text.replace(f"${{{name}}}", each)
        return text
    return {name: _filled(each, known) for name, each in value.items()}


@contextmanager
def moto(folder: Path) -> Iterator[Cloud]:
    """A moto that lets everybody do everything, until `enforce`."""
    (port,) = _free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    variables = os.environ | {"PYTHONWARNINGS": "default", "INITIAL_NO_AUTH_ACTION_COUNT": "10000"}
    endpoint = f"http://127.0.0.1:{port}"
    with _running(command, folder, variables, f"{endpoint}/moto-api/"):
        yield Cloud(endpoint)


def enforce(cloud: Cloud) -> None:
    """From now on, the policies of whoever asks decide."""
    httpx.post(f"{cloud.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()


@contextmanager
def weed(program: Path, folder: Path) -> Iterator[Cloud]:
    """A SeaweedFS with accounts and TLS, whose administrator may make users by its IAM."""
    made = make_certificate("localhost")
    (folder / "certificate.pem").write_text(made.certificate)
    (folder / "key.pem").write_text(made.key)
    credentials = [{"accessKey": ADMIN.key_id, "secretKey": ADMIN.secret}]
    identity = {"name": "administrator", "credentials": credentials, "actions": ["Admin"]}
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    ports = dict(zip(WEED_PORTS, _free_ports(len(WEED_PORTS)), strict=True))
    options = ["-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-s3"]
    options += ["-filer", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.config=identities.json"]
    options += ["-s3.cert.file=certificate.pem", "-s3.key.file=key.pem"]
    options += ["-s3.iam=true", "-s3.iam.readOnly=false", f"-s3.localSocket={folder / 's3.sock'}"]
    options += [f"-{name}={port}" for name, port in ports.items()]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    variables = {"HOME": str(folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with _running([str(program), "server", *options], folder, variables, f"{endpoint}/healthz"):
        yield Cloud(endpoint, f"https://127.0.0.1:{ports['s3.port.https']}")


def user_of(cloud: Cloud, name: str, document: Mapping[str, Any]) -> Keys:
    """A user who may do what a policy says, and nothing else."""
    client = cloud.client("iam")
    client.create_user(UserName=name)
    client.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    return cloud.key_of(name)


@contextmanager
def _running(
    command: list[str], folder: Path, variables: Mapping[str, str], health: str
) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
    try:
        probes.wait_for(lambda: _answers(health))
        yield
    finally:
        server.kill()
        server.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in taken]


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http
        return int(answer.status) == 200
    return False
