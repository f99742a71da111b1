"""A language model in this process, by transformers: one fixed instruction, many short replies."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qexplorer.errors import ModelUnavailableError
from qexplorer.llm.decode import Decoder, Prefix, Row, Stops, compute_prefix, make_rows
from qexplorer.llm.engine import (
    EngineSettings,
    EngineVersion,
    Generation,
    GenerationSource,
    Prompt,
    Reply,
    Sampling,
)
from qexplorer.llm.ids import frame_ids, listing_ids
from qexplorer.llm.loading import Loaded, load_model
from qexplorer.llm.packaged import Progress
from qexplorer.llm.plain import generate_plainly

_MOST_PREFIXES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The tokens around a listing under one instruction, and the state after those before it."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    prefix: Prefix


class TransformersEngine:
    """Answers prompts with a causal language model of transformers. Not for several threads at once."""

    def __init__(
        self, loaded: Loaded, *, batch_size: int, share_prefix: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._version = loaded.version
        self._batch_size = batch_size
        self._shares = share_prefix and loaded.shares
        self._clock = clock
        self._frames: dict[str, _Frame] = {}
        self._stops = _stops(loaded.tokenizer, loaded.model)

    @classmethod
    def load(cls, settings: EngineSettings, *, progress: Progress | None = None) -> "TransformersEngine":
        """Load what the settings name. Raises ModelError."""
        return cls(load_model(settings, progress=progress), batch_size=settings.batch_size)

    @property
    def version(self) -> EngineVersion:
        """Name the model and the adapter."""
        return self._version

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, deadline_s: float) -> list[Reply]:
        """Return one reply for each prompt, in the same order. Raises ModelUnavailableError past the deadline."""
        end = self._clock() + deadline_s

        def check() -> None:
            if self._clock() >= end:
                raise ModelUnavailableError(
                    f"The model did not answer {len(prompts)} prompts within {deadline_s:g} s",
                    remedy="Give it more time (explore.generate_timeout_s), fewer samples, or a GPU",
                )

        check()
        replies: dict[int, Reply] = {}
        for batch in self._batches(prompts):
            replies |= self._answer(batch, prompts, sampling, check)
        return [replies[i] for i in range(len(prompts))]

    def _batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Group prompts of one instruction and of like length: little padding, one shared prefix."""
        keys = [_frame_key(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: (keys[i], len(prompts[i].listing)))
        batches: list[list[int]] = []
        for i in order:
            last = batches[-1] if batches else []
            if last and len(last) < self._batch_size and keys[last[0]] == keys[i]:
                last.append(i)
            else:
                batches.append([i])
        return batches

    def _answer(
        self, batch: Sequence[int], prompts: Sequence[Prompt], sampling: Sampling, check: Callable[[], None]
    ) -> dict[int, Reply]:
        """Answer a batch; one that breaks the model is halved until the prompt that does it stands alone."""
        try:
            chosen = [prompts[i] for i in batch]
            return dict(zip(batch, self._run(chosen, sampling, check), strict=True))
        except (RuntimeError, MemoryError, ValueError, IndexError) as error:
            _free_memory()
            if len(batch) == 1:
                return {batch[0]: Reply(error=f"{type(error).__name__}: {str(error)[:200]}")}
        half = len(batch) // 2
        first = self._answer(batch[:half], prompts, sampling, check)
        return first | self._answer(batch[half:], prompts, sampling, check)

    def _run(self, prompts: Sequence[Prompt], sampling: Sampling, check: Callable[[], None]) -> list[Reply]:
        frame = self._frame(prompts[0])
        own_ids = [[*listing_ids(self._tokenizer, prompt), *frame.after] for prompt in prompts]
        whole_ids = [[*frame.before, *ids] for ids in own_ids]
        rows: list[Row] = []
        if self._shares:
            rows += [row for i, prompt in enumerate(prompts) for row in make_rows(i, sampling, _identity(prompt))]
            if rows:
                Decoder(self._model, frame.prefix, self._stops, check).fill(own_ids, rows, sampling)
        for source in _plain_sources(sampling, shares=self._shares):
            rows += generate_plainly(self._model, whole_ids, sampling, source, self._stops, check)
        found: list[list[Generation]] = [[] for _ in prompts]
        for row in rows:
            found[row.prompt].append(self._generation(row))
        return [
            Reply(
                generations=tuple(generations),
                prompt_tokens=len(ids),
                completion_tokens=sum(len(generation.logprobs) for generation in generations),
            )
            for generations, ids in zip(found, whole_ids, strict=True)
        ]

    def _generation(self, row: Row) -> Generation:
        text = self._text(row.tokens)
        return Generation(text=text, source=row.source, logprobs=tuple(row.logprobs), finished=row.finished)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip().split("\n")[0].strip()

    def _frame(self, prompt: Prompt) -> _Frame:
        """Return the frame of the prompt's instruction and fences, computing it the first time."""
        key = _frame_key(prompt)
        if key not in self._frames:
            if len(self._frames) >= _MOST_PREFIXES:
                self._frames.pop(next(iter(self._frames)))
            self._frames[key] = self._make_frame(prompt)
        return self._frames[key]

    def _make_frame(self, prompt: Prompt) -> _Frame:
        before, after = frame_ids(self._tokenizer, prompt)
        prefix = compute_prefix(self._model, before) if self._shares else Prefix()
        return _Frame(before=tuple(before), after=tuple(after), prefix=prefix)


def _stops(tokenizer: Any, model: Any) -> Stops:
    """Collect the tokens that end a reply; in byte-level vocabularies a line end is written Ċ."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    lines = {i for piece, i in vocabulary.items() if any(sign in piece for sign in ("\n", "Ċ", "<0x0A>"))}
    separators = frozenset(i for piece, i in vocabulary.items() if ";" in piece)
    return Stops(ends=frozenset(ends - {None}), lines=frozenset(lines - ends), separators=separators)


def _plain_sources(sampling: Sampling, *, shares: bool) -> list[GenerationSource]:
    """Return what the shared-prefix decoder does not do, in the order of a reply."""
    sources: list[GenerationSource] = []
    if not shares:
        sources += ["greedy"] if sampling.greedy else []
        sources += ["sample"] if sampling.samples else []
    return [*sources, "beam"] if sampling.beams else sources


def _frame_key(prompt: Prompt) -> str:
    opening, _, closing = prompt.parts()
    return "\0".join((prompt.instruction, *map("\0".join, prompt.examples), opening, closing))


def _identity(prompt: Prompt) -> str:
    return hashlib.sha256(f"{prompt.instruction}\0{prompt.listing}".encode()).hexdigest()


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
