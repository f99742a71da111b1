"""Queries that people have written, from a CSV with the columns `text` (the listing) and `queries` (by semicolons)."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.seeds import Seed
from qexplorer.normalise import normalise

COLUMNS = ("text", "kind", "queries")
# A table program takes a cell that begins so for a formula, and the text is a stranger's: the quote keeps it text.
QUOTE = "'"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", QUOTE)


class Human(Listed):
    """The queries of the seeds that the file has; the others get none."""

    def __init__(self, name: str, queries: Mapping[str, Sequence[str]]) -> None:
        super().__init__(name)
        self._queries = queries

    async def prepare(self, seeds: Sequence[Seed]) -> None:
        """Raise BadInputError when the file has none of the seeds."""
        if not any(seed.normalised in self._queries for seed in seeds):
            raise BadInputError(
                "people have written queries for none of the seeds",
                remedy="Fill in a template of this very evaluation: --human-template FILE",
            )

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the queries."""
        return guarded(self._queries.get(seed.normalised, ()), "person")


def read_human(path: Path) -> dict[str, list[str]]:
    """Return the queries by the normal form of the listing's text.

    Raises ConfigError when the file cannot be read, BadInputError when it lacks a column or any query.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy="Check the path") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no CSV: {error}", remedy="Compare it with the template") from None
    queries: dict[str, list[str]] = {}
    for row in rows:
        if not {"text", "queries"} <= set(row):
            break
        written = [part.strip() for part in (row["queries"] or "").split(";") if part.strip()]
        if written and row["text"]:
            queries[normalise(_unquoted(row["text"]))] = written
    if not queries:
        raise BadInputError(f"{path} has no queries", remedy=f"It needs the columns {', '.join(COLUMNS)}, and a row")
    return queries


def write_template(seeds: Sequence[Seed], path: Path) -> None:
    """Write the seeds of an evaluation for people to fill in.

    Raises ConfigError when the file exists, for people may have filled it in, and when it cannot be written.
    """
    try:
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({"text": _quoted(seed.text), "kind": seed.kind, "queries": ""} for seed in seeds)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", remedy="Choose another path") from None


def _quoted(text: str) -> str:
    return QUOTE + text if text.startswith(FORMULA) else text


def _unquoted(text: str) -> str:
    return text[1:] if text.startswith(QUOTE) and text[1:].startswith(FORMULA) else text
