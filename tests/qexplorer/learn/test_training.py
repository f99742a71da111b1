"""Both stages of training on a tiny model: the real trainers, rows and adapters, in seconds."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qexplorer.errors import BadInputError, ConfigError, ModelError, TrainingError
from qexplorer.learn.dpo import train_dpo
from qexplorer.learn.sft import train_sft
from qexplorer.learn.store import write_table
from qexplorer.learn.training import TrainingSettings
from qexplorer.llm import EngineSettings, Sampling, load_template, open_engine, render
from qexplorer.llm.ids import frame_ids, listing_ids
from qexplorer.llm.tiny import save_tiny_model
from qexplorer.stack.ports import free_ports

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def flags(**columns: Sequence[str]) -> list[dict[str, Any]]:
    shared = [{"title": f"t{n}", "description": "", "kind": "drugs", "locale": "en"} for n in range(16)]
    return [
        {**row, **{name: values[n % len(values)] for name, values in columns.items()}} for n, row in enumerate(shared)
    ]


def settings(model: Path, **changes: Any) -> TrainingSettings:
    usual: dict[str, Any] = {
        "prompt": "short",
        "rank": 4,
        "learning_rate": 0.02,
        "batch_size": 4,
        "epochs": 4.0,
        "save_steps": 2,
    }
    return TrainingSettings(model=str(model), **usual | changes)


def quiet(_done: int, _total: int, _loss: float) -> None:
    """Hear of a step."""


@pytest.fixture(scope="module")
def sft_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("data") / "sft.parquet", flags(reply=["zaza; lean"]))


@pytest.fixture(scope="module")
def adapter(model: Path, sft_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "adapter"
    train_sft(sft_data, out, settings(model, epochs=8.0), quiet)
    return out


def logprob(model: Path, adapter: Path | None, reply: str) -> float:
    """Return the log-probability of a reply to a listing that was not trained on."""
    import torch
    from peft import PeftModel

    from qexplorer.learn.training import load_base, prompt_ids, said_ids

    base, tokenizer = load_base(str(model))
    if adapter is not None:
        base = PeftModel.from_pretrained(base, str(adapter))
    row = {"title": "other", "description": "", "kind": "drugs", "locale": "en"}
    before, said = prompt_ids(tokenizer, load_template("short"), row), said_ids(tokenizer, reply)
    with torch.inference_mode():
        logits = base(torch.tensor([[*before, *said]])).logits[0, len(before) - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, torch.tensor(said)[:, None]).sum())


def test_sft_teaches_the_replies(model: Path, adapter: Path) -> None:
    """Also for a listing that was not among them, and the adapter holds its record and curves."""
    assert logprob(model, adapter, "zaza; lean") > logprob(model, None, "zaza; lean") + 5
    record = json.loads((adapter / "training.json").read_text())
    assert record["stage"] == "sft"
    assert record["rows"] == 16
    assert record["data"]["sha256"]
    assert record["history"][-1]["step"] == 32
    assert str(model.parent) not in (adapter / "adapter_config.json").read_text()
    assert (adapter / "curves.png").stat().st_size > 1000
    assert not (adapter / "checkpoints").exists()


def test_a_step_is_so_many_prompts_with_all_their_replies(model: Path, tmp_path: Path) -> None:
    """Sixteen listings with two replies each are four steps of four."""
    data = write_table(tmp_path / "sft.parquet", flags(reply=["zaza; lean"]) + flags(reply=["lean"]))
    steps: list[int] = []
    record = train_sft(data, tmp_path / "out", settings(model, epochs=1.0), lambda done, *_: steps.append(done))
    assert record["rows"] == 32
    assert steps == [1, 2, 3, 4]


def test_a_model_that_cannot_share_prompts_learns_each_reply_alone(model: Path, tmp_path: Path) -> None:
    """One that scales its logits: sixteen listings with two replies each are eight steps of four."""
    from transformers import AutoTokenizer, GraniteConfig, GraniteForCausalLM

    known = json.loads((model / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    scaling = GraniteConfig(logits_scaling=8.0, initializer_range=0.5, **{name: known[name] for name in names})
    GraniteForCausalLM(scaling).save_pretrained(tmp_path / "granite")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "granite")
    data = write_table(tmp_path / "sft.parquet", flags(reply=["zaza; lean"]) + flags(reply=["lean"]))
    steps: list[int] = []
    out = tmp_path / "out"
    train_sft(data, out, settings(tmp_path / "granite", epochs=1.0), lambda done, *_: steps.append(done))
    assert steps == list(range(1, 9))
    assert logprob(tmp_path / "granite", out, "lean") > logprob(tmp_path / "granite", None, "lean") + 1


def test_the_engine_answers_with_the_adapter(model: Path, adapter: Path) -> None:
    """And sees the very tokens that were trained on."""
    from qexplorer.learn.training import load_base, prompt_ids

    engine = open_engine(EngineSettings(model=str(model), adapter=str(adapter)))
    prompt = render(load_template("short"), title="other", description="", kind="drugs", locale="en")
    (reply,) = engine.generate([prompt], Sampling(), deadline_s=60)
    assert engine.version.adapter.startswith("adapter@")
    _, tokenizer = load_base(str(model))
    row = {"title": "other", "description": "", "kind": "drugs", "locale": "en"}
    assert reply.prompt_tokens == len(prompt_ids(tokenizer, load_template("short"), row))
    assert reply.generations[0].text.startswith("z")


def test_known_spans_are_trained_on_as_they_are_asked(model: Path) -> None:
    """A row's prompt has the tokens that the engine makes of the same spans, and not those of other spans."""
    from qexplorer.learn.training import load_base, prompt_ids

    _, tokenizer = load_base(str(model))
    template, row = load_template("known"), {"title": "other", "description": "", "kind": "drugs", "locale": "en"}
    prompt = render(template, **row, known=["zaza", "lean"])
    before, after = frame_ids(tokenizer, prompt)
    asked = [*before, *listing_ids(tokenizer, prompt), *after]
    assert prompt_ids(tokenizer, template, {**row, "known": ["zaza", "lean"]}) == asked
    assert prompt_ids(tokenizer, template, row) != asked


def test_dpo_prefers_the_chosen(model: Path, adapter: Path, tmp_path: Path) -> None:
    """The margin between both grows from where the SFT adapter stood."""
    data = write_table(tmp_path / "pairs.parquet", flags(chosen=["zaza; lean"], rejected=["lean; zaza"]))
    out = tmp_path / "dpo"
    record = train_dpo(data, adapter, out, settings(model, rank=0, learning_rate=0.001), quiet)
    assert record["adapter"].startswith("adapter@")

    def margin(folder: Path) -> float:
        return logprob(model, folder, "zaza; lean") - logprob(model, folder, "lean; zaza")

    assert margin(out) > margin(adapter) + 0.5


def test_a_run_that_was_cut_off_goes_on(model: Path, sft_data: Path, tmp_path: Path) -> None:
    """From its last whole checkpoint, also within an epoch, and it ends with the very adapter of a run in one go."""

    class Killed(Exception):  # noqa: N818 - no error of ours
        pass

    def kill(done: int, _total: int, _loss: float) -> None:
        if done == 11:
            raise Killed

    steps: list[int] = []
    for name in ("cut", "torn"):
        with pytest.raises(Killed):
            train_sft(sft_data, tmp_path / name, settings(model), kill)
    # The state is the last file of a checkpoint; where it is not whole the one before, at the end of an epoch, counts.
    (tmp_path / "torn" / "checkpoints" / "checkpoint-10" / "trainer_state.json").write_text('{"global_st')
    for name in ("cut", "torn"):
        train_sft(sft_data, tmp_path / name, settings(model), lambda done, _total, _loss: steps.append(done))
    assert steps == [*range(11, 17), *range(9, 17)]
    train_sft(sft_data, tmp_path / "whole", settings(model), quiet)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("cut", "torn", "whole")]
    assert weights[0] == weights[1] == weights[2]


def test_a_preference_run_that_was_cut_off_keeps_what_it_has_learnt(model: Path, adapter: Path, tmp_path: Path) -> None:
    """It goes on from the weights of its checkpoint, with the SFT adapter as its reference as before."""

    def kill(done: int, _total: int, _loss: float) -> None:
        if done == 7:
            raise KeyboardInterrupt

    data = write_table(tmp_path / "pairs.parquet", flags(chosen=["zaza; lean"], rejected=["lean; zaza", "lean"]))
    how = settings(model, rank=0, learning_rate=0.001, epochs=2.5)
    with pytest.raises(KeyboardInterrupt):
        train_dpo(data, adapter, tmp_path / "cut", how, kill)
    for name in ("cut", "whole"):
        train_dpo(data, adapter, tmp_path / name, how, quiet)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]


def test_a_loss_that_is_no_number_stops_it(model: Path, sft_data: Path, tmp_path: Path) -> None:
    """And there is no adapter then."""
    with pytest.raises(TrainingError, match="the loss is nan"):
        train_sft(sft_data, tmp_path / "out", settings(model, learning_rate=1e30), quiet)
    assert not (tmp_path / "out" / "training.json").exists()


def test_other_inputs_do_not_go_on_with_it(model: Path, sft_data: Path, tmp_path: Path) -> None:
    """Neither with the beginning of another run nor over its result."""

    def kill(_done: int, _total: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(sft_data, tmp_path / "out", settings(model), kill)
    with pytest.raises(ConfigError, match="beginning of a run with other inputs"):
        train_sft(sft_data, tmp_path / "out", settings(model, seed=2), quiet)
    train_sft(sft_data, tmp_path / "out", settings(model), quiet)
    with pytest.raises(ConfigError, match="holds a trained adapter"):
        train_sft(sft_data, tmp_path / "out", settings(model), quiet)


@pytest.mark.parametrize("epochs", [0.25, 0.5, 4.0])
def test_the_last_step_is_told_with_a_loss(model: Path, sft_data: Path, tmp_path: Path, epochs: float) -> None:
    """Also of a run of one step, which is shorter than what is between two lines of the log."""
    told: list[tuple[int, int, float]] = []
    train_sft(sft_data, tmp_path / "out", settings(model, epochs=epochs), lambda *step: told.append(step))
    steps = int(4 * epochs)
    assert [step[:2] for step in told] == [(done, steps) for done in range(1, steps + 1)]
    assert math.isfinite(told[-1][2])


def test_data_that_teaches_nothing_is_named(model: Path, adapter: Path, tmp_path: Path) -> None:
    """No rows, no file, rows of the other stage, no adapter, or a model that is not whole."""
    torn = save_tiny_model(tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:9999])
    rows = write_table(tmp_path / "rows.parquet", flags(reply=["zaza"]))
    with pytest.raises(ModelError, match="torn cannot be loaded"):
        train_sft(rows, tmp_path / "e", settings(torn), quiet)
    with pytest.raises(BadInputError, match="has no column chosen, rejected"):
        train_dpo(rows, adapter, tmp_path / "f", settings(model), quiet)
    pairs = write_table(tmp_path / "pairs.parquet", flags(chosen=["zaza"], rejected=["lean"]))
    with pytest.raises(BadInputError, match="has no column reply"):
        train_sft(pairs, tmp_path / "g", settings(model), quiet)
    empty = write_table(tmp_path / "empty.parquet", [])
    with pytest.raises(BadInputError, match="has 0 rows"):
        train_sft(empty, tmp_path / "a", settings(model), quiet)
    with pytest.raises(BadInputError, match="cannot be read"):
        train_sft(tmp_path / "none.parquet", tmp_path / "b", settings(model), quiet)
    with pytest.raises(BadInputError, match="has 0 pairs"):
        train_dpo(empty, adapter, tmp_path / "c", settings(model), quiet)
    with pytest.raises(ModelError, match="there is no adapter"):
        train_dpo(empty, tmp_path, tmp_path / "d", settings(model), quiet)


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(("accelerate", "launch", "--config_file", "accelerate.yaml"), id="accelerate"),
        # What accelerate starts for several GPUs; on processors alone it would need MPI.
        pytest.param(("torchrun", "--nproc-per-node", "2", "--master-port", "PORT"), id="two processes"),
    ],
)
def test_a_launcher_starts_it(launcher: tuple[str, ...], model: Path, sft_data: Path, tmp_path: Path) -> None:
    """By an accelerate configuration; several processes share the rows of a step, and one writes the adapter."""
    (tmp_path / "accelerate.yaml").write_text("distributed_type: 'NO'\nuse_cpu: true\nnum_processes: 1\n")
    folder, port = Path(sys.executable).parent, str(free_ports(1)[0])
    start = [str(folder / launcher[0]), *(port if word == "PORT" else word for word in launcher[1:])]
    training = [
        str(folder / "qexplorer"), "train", "sft", str(sft_data), "--out", "out", "--model", str(model),
        "--rank", "4", "--learning-rate", "0.02", "--batch-size", "4", "--epochs", "8",
    ]  # fmt: skip
    command = [*start, *training]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)  # noqa: S603 - our own
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert max(entry["step"] for entry in record["history"]) == 8 * 16 // 4
    assert logprob(model, tmp_path / "out", "zaza; lean") > logprob(model, None, "zaza; lean") + 1
    assert done.stderr.count("trained on 16 rows") == 1
