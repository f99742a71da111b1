"""The rows of an evaluation that has not ended: a run that was cut off goes on behind them when it is started again."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qexplorer.errors import ConfigError, StorageError
from qexplorer.evaluation.results import Row, SeedRow


class Unfinished:
    """Rows so far, group by group, in a hidden file beside the folder of the results.

    `inputs` says what the rows are made from. Raises ConfigError when the file is of a run with other inputs.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        self.rows: list[Row] = []
        self.seeds: list[SeedRow] = []
        self._path = folder.with_name(f".{folder.name}.unfinished")
        self._done: set[tuple[object, ...]] = set()
        self._first = json.dumps(inputs, sort_keys=True, default=str)
        if self._path.exists():
            head, *lines = self._path.read_text(encoding="utf-8").split("\n")
            if not lines:  # cut off within its first line
                self.remove()
                return
            if head != self._first:
                raise ConfigError(
                    f"{self._path} is of an evaluation with other inputs that was cut off",
                    remedy="Remove it, or choose another folder for the results",
                )
            for line in lines:
                self._read(line)
            self._append("")  # ends a line that was cut off: what comes behind it is whole

    def has(self, corpus: str, protocol: str, method: str, *, triage: bool, load: int, group: int) -> bool:
        """Whether a group's row is there."""
        return (corpus, protocol, method, triage, load, group) in self._done

    def add(self, row: Row, seeds: Sequence[SeedRow] = ()) -> None:
        """Keep the row of a group and those of its seeds. Raises StorageError when the disk does not take them."""
        if not self._path.exists():  # a run that ends before its first group leaves nothing
            self._append(self._first)
        self._append(json.dumps({"row": asdict(row), "seeds": [asdict(seed) for seed in seeds]}))
        self._take(row, seeds)

    def remove(self) -> None:
        """Remove the file: its rows are in the results."""
        self._path.unlink(missing_ok=True)

    def _read(self, line: str) -> None:
        try:
            value = json.loads(line)
            self._take(Row(**value["row"]), [SeedRow(**seed) for seed in value["seeds"]])
        except (ValueError, KeyError, TypeError):
            return  # cut off

    def _take(self, row: Row, seeds: Sequence[SeedRow]) -> None:
        self.rows.append(row)
        self.seeds.extend(seeds)
        self._done.add((row.corpus, row.protocol, row.method, row.triage, row.load, row.group))

    def _append(self, line: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}", remedy="Free the disk") from error
