"""What a language model writes for the seeds: once for all methods that use it, and kept between runs."""

import copy
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexplorer.candidates import by_votes, parse_all
from qexplorer.errors import ModelError
from qexplorer.evaluation.methods.base import Cost
from qexplorer.evaluation.seeds import Seed
from qexplorer.llm.engine import NOBODY_WAITS_S, Engine, Generation, Prompt, Reply, Sampling
from qexplorer.llm.prompt import load_template, render
from qexplorer.prompts import known_spans
from qexplorer.triage import Triage

BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A reply and what it took."""

    reply: Reply
    ms: float


class Replies:
    """The replies of one engine, prompt and sampling to seeds.

    With a `folder` each batch is kept in a file there, so that a run that was cut off, or one with other methods, asks
    for nothing twice.
    """

    def __init__(
        self, engine: Engine, *, prompt: str = "default", sampling: Sampling, folder: Path | None = None
    ) -> None:
        self._engine = engine
        self._template = load_template(prompt)
        self._sampling = sampling
        self._written: dict[str, Written] = {}
        self._triage: Triage | None = None
        self._path = folder / f"replies-{_digest(self.version)}.jsonl" if folder else None
        if self._path is not None and self._path.exists():
            self._written = _read(self._path)

    def told(self, triage: Triage | None) -> "Replies":
        """Return the replies to prompts with the known spans of a triage; all of them are kept together."""
        made = copy.copy(self)
        made._triage = triage  # noqa: SLF001 - its own class
        return made

    @property
    def version(self) -> str:
        """Name model, server, adapter, number format, prompt and sampling."""
        version = self._engine.version
        words = (version.model, version.server, version.adapter or "no adapter", version.dtype, self._template.version)
        return f"{' '.join(filter(None, words))} {self._sampling}"

    def write(self, seeds: Sequence[Seed]) -> None:
        """Have the replies of all seeds written that have none.

        Raises ModelError when no seed gets one, ModelUnavailableError when the engine does not answer.
        """
        new = {_key(self._prompt(seed)): seed for seed in seeds}
        missing = [key for key in new if key not in self._written]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            prompts = [self._prompt(new[key]) for key in batch]
            began = time.monotonic()
            replies = self._engine.generate(prompts, self._sampling, deadline_s=NOBODY_WAITS_S)
            ms = (time.monotonic() - began) * 1000 / len(batch)
            written = {key: Written(reply=reply, ms=ms) for key, reply in zip(batch, replies, strict=True)}
            self._written.update(written)
            if self._path is not None:
                _append(self._path, written)
        if missing and all(self._written[key].reply.error for key in missing):
            error = self._written[missing[0]].reply.error
            raise ModelError(f"the engine answers no seed: {error}", remedy="Try another dtype or model")

    def reply(self, seed: Seed) -> Reply:
        """Return the reply to a seed as the engine gave it."""
        return self._of(seed).reply

    def queries(self, seed: Seed) -> list[str]:
        """Return the queries of all generations, those with most votes first."""
        return by_votes(self._parsed(seed)[0])

    def cost(self, seed: Seed) -> Cost:
        """Return tokens, time and failed replies of a seed."""
        written = self._of(seed)
        return Cost(
            tokens=written.reply.prompt_tokens + written.reply.completion_tokens,
            ms=written.ms,
            replies=len(written.reply.generations),
            unparseable=self._parsed(seed)[1],
        )

    def _parsed(self, seed: Seed) -> tuple[list[tuple[str, ...]], int]:
        parsed, failed = parse_all(self._of(seed).reply)
        return [queries for _, queries in parsed], failed

    def _of(self, seed: Seed) -> Written:
        self.write([seed])
        return self._written[_key(self._prompt(seed))]

    def _prompt(self, seed: Seed) -> Prompt:
        return render(
            self._template,
            title=seed.title,
            description=seed.description,
            kind=seed.kind,
            locale=seed.locale,
            known=known_spans(self._template, seed.normalised, self._triage, seed.policy),
        )


def _key(prompt: Prompt) -> str:
    return _digest(f"{prompt.instruction}\0{prompt.listing}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _append(path: Path, written: Mapping[str, Written]) -> None:
    """Keep what an engine answered, but no errors: those may pass."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "key": key,
            "ms": each.ms,
            "tokens": [each.reply.prompt_tokens, each.reply.completion_tokens],
            "generations": [[made.text, made.source, made.finished] for made in each.reply.generations],
        }
        for key, each in written.items()
        if not each.reply.error
    ]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Written]:
    """Return what is kept; a line that was cut off is passed over."""
    written: dict[str, Written] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            value: Any = json.loads(line)
            generations = tuple(
                Generation(text=text, source=source, finished=finished)
                for text, source, finished in value["generations"]
            )
            prompt, completion = value["tokens"]
            reply = Reply(generations=generations, prompt_tokens=prompt, completion_tokens=completion)
            written[value["key"]] = Written(reply=reply, ms=value["ms"])
        except (ValueError, KeyError, TypeError):
            continue
    return written
