"""The packaged model in the number format that this machine prefers, against float32: what the product finds with each.

Judged by the evaluation, on fifty seeds: thirty seeds in one run without triage differed by 40 %, by their draws alone.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from qexplorer.llm.adapters import prompt_for

LISTINGS = 10_000
ENGINES = {"default": {"model": "packaged"}, "exact": {"model": "packaged", "dtype": "float32"}}


async def auto_against_float32() -> str:
    """Take the same seeds of the synthetic marketplace through both and return how their finds compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, config, results = folder / "judge.jsonl", folder / "settings.yaml", folder / "results"
        config.write_text(yaml.safe_dump({"engines": ENGINES}))
        made = f"marketplace --half judge --count {LISTINGS} --prohibited 0.05 --seed 6 --out {corpus}"
        judged = (
            f"evaluate {corpus} --out {results} --config {config} --seeds-by campaign --group-size 10 --searches 3 "
            "--searches 6 --method whole_text"
        )
        for extractor, engine in (("auto", "default"), ("float32", "exact")):
            judged += f" --extractor {extractor}={engine},packaged,{prompt_for('packaged')}"
        for command in (made, judged):
            await asyncio.to_thread(_qexplorer, command)
        said = await asyncio.to_thread(_qexplorer, f"compare auto:system float32:system --results {results}")
        table = (results / "report.md").read_text().splitlines()
    parsed = [line for line in table if line.startswith(("| auto |", "| float32 |"))]
    return "goal for finds 0.97–1.03\n" + "\n".join([said.strip(), *parsed])


def _qexplorer(command: str) -> str:
    """Run a command line and return what it prints."""
    words = [sys.executable, "-c", "from qexplorer.cli.app import main; main()", *command.split()]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
