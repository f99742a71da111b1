"""The packaged model on this processor, against plain fp32 generation, and the pipeline around it."""

import time
from collections.abc import Sequence
from typing import Any

from qexplorer.errors import ReplyError
from qexplorer.llm.engine import EngineSettings, Prompt, Sampling, chat_messages
from qexplorer.llm.opening import open_engine
from qexplorer.llm.parse import parse_reply
from qexplorer.marketplace import Half, generate
from qexplorer.policies import Policy
from qexplorer.prompts import prompt_of
from qexplorer.rows import to_listing
from qexplorer.settings import Settings
from qexplorer.testing import MemorySearcher, a_flag
from schemas import FlaggedListing
from tests.bench.overlap import always, handler, run
from worker.app import Pipeline
from worker.inference import InferenceProcess, Job

PROMPTS, BATCH = 48, 16
SAMPLING = Sampling(greedy=True, samples=0, max_new_tokens=30)


def flags(count: int) -> list[FlaggedListing]:
    """Return flags of prohibited listings of the synthetic marketplace."""
    rows = (row for row in generate(100_000, half=Half.JUDGE, seed=5) if row["toxic"])
    return [
        a_flag(row["id"], flagged_at=row["updated_at"], listing=to_listing(row, {}))
        for row, _ in zip(rows, range(count), strict=False)
    ]


def prompts(given: Sequence[FlaggedListing]) -> list[Prompt]:
    """Return their prompts."""
    return [prompt_of(flag, Policy(id="drugs"), "", most_text=20_000, triage=None) for flag in given]


async def packaged_against_plain() -> str:
    """Compare replies a second and parse rates of our engine with plain `generate` in fp32, batch by batch in turn."""
    engine = open_engine(EngineSettings(batch_size=BATCH))
    plain = PlainGenerate()
    asked = prompts(flags(PROMPTS))
    engine.generate(asked[:2], SAMPLING, deadline_s=600)
    plain.generate(asked[:2])
    ours: list[str] = []
    theirs: list[str] = []
    seconds = [0.0, 0.0]
    for start in range(0, PROMPTS, BATCH):
        batch = asked[start : start + BATCH]
        before = time.monotonic()
        ours += [reply.generations[0].text for reply in engine.generate(batch, SAMPLING, deadline_s=600)]
        between = time.monotonic()
        theirs += plain.generate(batch)
        seconds[0] += between - before
        seconds[1] += time.monotonic() - between
    return (
        f"{PROMPTS} prompts, batches of {BATCH}, greedy: {PROMPTS / seconds[0]:.1f} replies/s, plain fp32 "
        f"{PROMPTS / seconds[1]:.1f}: ratio {seconds[1] / seconds[0]:.2f} (goal ≥ 1.50); parse rate "
        f"{parse_rate(ours):.0%} and {parse_rate(theirs):.0%}; {engine.version.model}"
    )


class PlainGenerate:
    """What a plain script would do: whole prompts, left padding, fp32, `generate`."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from qexplorer.llm.packaged import packaged_model

        folder = packaged_model()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def generate(self, batch: Sequence[Prompt]) -> list[str]:
        """Return the replies."""
        import torch

        texts = [
            self.tokenizer.apply_chat_template(chat_messages(prompt), tokenize=False, add_generation_prompt=True)
            for prompt in batch
        ]
        encoded = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            output = self.model.generate(**encoded, max_new_tokens=SAMPLING.max_new_tokens, do_sample=False)
        replies: list[str] = self.tokenizer.batch_decode(
            output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return replies


def parse_rate(replies: Sequence[str]) -> float:
    """Return the share of replies that follow the grammar."""
    good = 0
    for reply in replies:
        try:
            good += bool(parse_reply(reply))
        except ReplyError:
            continue
    return good / len(replies)


async def pipeline_against_raw() -> str:
    """Take flags through the pipeline, and the same prompts in the same batches through the process alone."""
    given = flags(PROMPTS)
    engine = Settings().engines["default"].model_copy(update={"batch_size": BATCH})
    process = InferenceProcess([engine])
    await process.start()
    try:
        policy = Policy(id="drugs")
        raw = 0.0
        whole = 0.0
        for _ in range(2):  # in turn, so that a change of the machine's load meets both
            before = time.monotonic()
            for start in range(0, PROMPTS, BATCH):
                asked = tuple(prompts(given[start : start + BATCH]))
                sampling = Sampling(greedy=True, samples=0, temperature=policy.temperature)
                await process.generate(Job(engine=engine, prompts=asked, sampling=sampling, deadline_s=600))
            raw += time.monotonic() - before
            searcher = MemorySearcher(listings={"listings": []})
            pipeline = Pipeline(handler(process, searcher, Settings(engines={"default": engine})), always())
            whole += await run(pipeline, [flag.to_bytes() for flag in given], BATCH)
    finally:
        await process.stop()
    return (
        f"{PROMPTS} flags in batches of {BATCH}: pipeline {2 * PROMPTS / whole:.2f} items/s, raw generation "
        f"{2 * PROMPTS / raw:.2f}: ratio {raw / whole:.2f} (goal ≥ 0.95)"
    )
