"""Triage: how likely a listing is wanted, from its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Triage(Protocol):
    """A model over listing texts."""

    @property
    def version(self) -> str:
        """Name the artefact by the hash of its content."""

    def score(self, kind: str, texts: Sequence[str]) -> list[float]:
        """Return the calibrated probability that each normalised text is wanted under the kind, in [0, 1]."""

    def weigh(self, kind: str, words: Sequence[str]) -> list[float]:
        """Return what each normalised word or query adds to the log odds: how promising it is to search."""


def open_triage(path: Path | None) -> Triage | None:
    """Open the artefact at `path`; None, for a run without triage, when no path is given."""
    return None
