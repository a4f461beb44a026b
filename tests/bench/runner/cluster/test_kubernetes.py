"""The manifest in the documents says what the command line understands, and holds together."""

from pathlib import Path

import pytest
import typer
import yaml

from bench.cli.app import app
from bench.utils.environment import STORAGE

MANIFEST = Path(__file__).parents[4] / "docs" / "cluster" / "kubernetes.yaml"


@pytest.fixture(scope="module")
def parts() -> dict[str, dict]:
    found = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    return {f"{part['kind']}/{part['metadata']['name']}": part for part in found}


@pytest.mark.parametrize(("job", "study"), [("Job/night-open", "night"), ("Job/night-workers", "night")])
def test_the_commands_of_the_jobs_are_understood(parts, job, study):
    (container,) = parts[job]["spec"]["template"]["spec"]["containers"]
    program, name, *arguments = container["command"]
    assert program == "bench"
    command = typer.main.get_command(app).commands[name]
    given = command.make_context(name, arguments).params
    assert (given["study"], str(given["out"])) == (study, "/results")


def test_secrets_claims_and_services_that_are_named_are_there(parts):
    secret = parts["Secret/bench-storage"]["stringData"]
    assert secret["password"] in secret["url"]
    assert f"@{parts['Service/bench-postgres']['metadata']['name']}/" in secret["url"]
    for job in ("Job/night-open", "Job/night-workers"):
        spec = parts[job]["spec"]["template"]["spec"]
        (variable,) = spec["containers"][0]["env"]
        assert variable["name"] == STORAGE
        assert variable["valueFrom"]["secretKeyRef"]["key"] in secret
        (volume,) = spec["volumes"]
        assert f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}" in parts
        assert spec["containers"][0]["volumeMounts"][0]["name"] == volume["name"]
    labels = parts["StatefulSet/bench-postgres"]["spec"]["template"]["metadata"]["labels"]
    assert parts["Service/bench-postgres"]["spec"]["selector"] == labels
