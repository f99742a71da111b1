"""Training by the project's trainer against a bare loop over the same rows in batches of like length."""

import tempfile
import time
from pathlib import Path
from typing import Any

from qexplorer.learn.sft import train_sft
from qexplorer.learn.store import read_table, write_table
from qexplorer.learn.training import TrainingSettings, load_base, prompt_ids, said_ids
from qexplorer.llm.loading import has_bfloat16_units
from qexplorer.llm.prompt import load_template
from qexplorer.marketplace import Half, generate

ROWS, BATCH, WARM = 192, 8, 4
REPLIES = (
    "plug and play; zaza; blue zushi; carts; lean; exotic gas",
    "gas pack; press; runtz; shatter; tabs; wockhardt",
)


async def trainer_against_bare_loop() -> str:
    """Return rows a second of both; start-up and the first steps are left out."""
    with tempfile.TemporaryDirectory() as name:
        data = write_table(Path(name) / "sft.parquet", rows())
        settings = TrainingSettings(batch_size=BATCH // len(REPLIES), epochs=1.0, save_steps=10_000)
        times: list[float] = []
        train_sft(data, Path(name) / "out", settings, lambda _done, _total, _loss: times.append(time.monotonic()))
        ours = (len(times) - WARM) * BATCH / (times[-1] - times[WARM - 1])
        bare = bare_loop(data, settings)
    return (
        f"{ROWS} rows, {len(REPLIES)} a prompt, in batches of {BATCH}: {ours:.2f} rows/s, bare loop {bare:.2f}: "
        f"ratio {ours / bare:.2f} (≥ 0.90)"
    )


def rows() -> list[dict[str, Any]]:
    listings = generate(ROWS // len(REPLIES), half=Half.LEARN, seed=3, prohibited=0.5)
    return [
        {"title": each["title"], "description": each["description"], "kind": "drugs", "locale": "en", "reply": reply}
        for each in listings
        for reply in REPLIES
    ]


def bare_loop(data: Path, settings: TrainingSettings) -> float:
    """Train the same adapter with nothing around it."""
    import torch
    from peft import LoraConfig, get_peft_model

    base, tokenizer = load_base(settings.model)
    model = get_peft_model(base, LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear"))
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    template = load_template(settings.prompt)
    tokens = [(prompt_ids(tokenizer, template, row), said_ids(tokenizer, row["reply"])) for row in read_table(data)]
    tokens.sort(key=lambda pair: -len(pair[0]) - len(pair[1]))
    times: list[float] = []
    for start in range(0, len(tokens), BATCH):
        ids, labels = padded(tokens[start : start + BATCH], tokenizer.pad_token_id)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16_units()):
            loss = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.monotonic())
    return (len(times) - WARM) * BATCH / (times[-1] - times[WARM - 1])


def padded(batch: list[tuple[list[int], list[int]]], pad: int) -> tuple[Any, Any]:
    """Return tokens and labels of a batch, [rows, longest]; what comes before a reply has no label."""
    import torch

    longest = max(len(before) + len(said) for before, said in batch)
    ids = [[*before, *said, *[pad] * (longest - len(before) - len(said))] for before, said in batch]
    labels = [[*[-100] * len(before), *said, *[-100] * (longest - len(before) - len(said))] for before, said in batch]
    return torch.tensor(ids), torch.tensor(labels)
