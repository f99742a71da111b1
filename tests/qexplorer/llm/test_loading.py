import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qexplorer.errors import ModelError
from qexplorer.llm.engine import EngineSettings, Prompt, Sampling
from qexplorer.llm.loading import best_dtype, fingerprint, has_bfloat16_units, load_model, resolve_model
from qexplorer.llm.opening import open_engine
from qexplorer.llm.tiny import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def _save_adapter(folder: Path, path: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    model.save_pretrained(path)
    return path


def test_version_follows_the_weights(folder: Path, tmp_path: Path) -> None:
    """The name is the folder's, the hash changes with any weight file."""
    version = load_model(EngineSettings(model=str(folder), dtype="float32")).version
    assert version.model == f"tiny@{fingerprint(folder)}"
    assert version.adapter == ""
    assert fingerprint(save_tiny_model(tmp_path, seed=1)) != fingerprint(folder)


def test_adapter_is_merged_and_named(folder: Path, tmp_path: Path) -> None:
    """With an adapter the model answers otherwise, and the version says which adapter it was."""
    adapter = _save_adapter(folder, tmp_path / "lora")
    plain = EngineSettings(model=str(folder), dtype="float32")
    adapted = plain.model_copy(update={"adapter": str(adapter)})
    prompt = Prompt(instruction="i", listing="<l>\nvape\n</l>", max_listing_tokens=9)
    engines = [open_engine(settings) for settings in (plain, adapted)]
    one, other = (engine.generate([prompt], Sampling(max_new_tokens=8), deadline_s=99)[0] for engine in engines)
    assert one.generations != other.generations
    assert engines[1].version.adapter == f"lora@{fingerprint(adapter)}"


def test_an_adapter_of_another_strength_is_another_one(folder: Path, tmp_path: Path) -> None:
    """The same weights times another factor write other replies, so the hash follows the configuration too."""
    adapter = _save_adapter(folder, tmp_path / "lora")
    before = fingerprint(adapter)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 32}))
    assert fingerprint(adapter) != before


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_other_number_types_answer_too(folder: Path, dtype: str) -> None:
    """A model in fewer bits still gives log-probabilities and text."""
    engine = open_engine(EngineSettings.model_validate({"model": str(folder), "dtype": dtype}))
    prompt = Prompt(instruction="i", listing="<l>\nvape\n</l>", max_listing_tokens=9)
    (reply,) = engine.generate([prompt], Sampling(samples=1, max_new_tokens=4), deadline_s=99)
    assert reply.error is None
    assert all(generation.logprobs for generation in reply.generations)


def test_threads_are_set(folder: Path) -> None:
    """The engine uses as many threads as it is given."""
    import torch

    before = torch.get_num_threads()
    try:
        load_model(EngineSettings(model=str(folder), dtype="float32", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_padding_never_ends_a_reply(folder: Path) -> None:
    """The pad token differs from the end token even where the files say the same."""
    loaded = load_model(EngineSettings(model=str(folder), dtype="float32"))
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id
    assert loaded.tokenizer.padding_side == "left"


def test_same_pad_and_end_token_are_told_apart(folder: Path, tmp_path: Path) -> None:
    """A tokenizer that pads with its end token gets another pad token."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<|im_end|>"}))
    loaded = load_model(EngineSettings(model=str(copy), dtype="float32"))
    assert loaded.tokenizer.pad_token_id not in {None, loaded.tokenizer.eos_token_id}


def _save_other(folder: Path, path: Path, name: str, **settings: Any) -> Path:
    """Save a model of another architecture with the tokenizer of `folder`."""
    import torch
    import transformers

    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    known = json.loads((folder / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "bos_token_id", "eos_token_id")
    config = transformers.AutoConfig.for_model(
        name, initializer_range=0.5, **{name: known[name] for name in names}, **settings
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(
            "gpt_oss",
            {"head_dim": 8, "num_key_value_heads": 2, "num_local_experts": 4, "pad_token_id": 0},
            id="attention with sinks",
        ),
        pytest.param("falcon", {}, id="attention of its own"),
    ],
)
def test_a_model_that_cannot_share_keeps_its_own_attention(
    folder: Path, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    """It gives what it gives without us."""
    import torch
    from transformers import AutoModelForCausalLM

    path = _save_other(folder, tmp_path / "other", name, **settings)
    loaded = load_model(EngineSettings(model=str(path), dtype="float32"))
    assert not loaded.shares
    ids = torch.arange(3, 43)[None]
    with torch.inference_mode():
        ours, theirs = loaded.model(ids).logits, AutoModelForCausalLM.from_pretrained(path)(ids).logits
    assert torch.equal(ours, theirs)


def test_weights_that_are_no_numbers_are_named(folder: Path, tmp_path: Path) -> None:
    """Such a model would answer, with nonsense."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"copy, or its adapter, has weights that are no numbers"):
        load_model(EngineSettings(model=str(copy), dtype="float32"))


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    """A missing model, adapter or chat template is an error with a remedy, and so is a template of no use."""
    with pytest.raises(ModelError, match=r"no model in .*absent.*packaged"):
        resolve_model(str(tmp_path / "absent"))
    with pytest.raises(ModelError, match=r"no adapter in .*nowhere"):
        load_model(EngineSettings(model=str(folder), adapter=str(tmp_path / "nowhere")))
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_model(EngineSettings(model=str(copy)))
    (copy / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    with pytest.raises(ModelError, match=r"template in .*copy cannot be used: System role not supported"):
        load_model(EngineSettings(model=str(copy)))
    shutil.copy(folder / "chat_template.jinja", copy)
    (copy / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(EngineSettings(model=str(copy), dtype="float32"))


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network a hub id is an error that points to a path or the packaged model."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'nobody/nothing'.*packaged"):
        resolve_model("nobody/nothing")


def test_number_type_follows_the_processor() -> None:
    """Only a processor with units for it is given bfloat16."""
    assert (best_dtype("cpu") == "bfloat16") == has_bfloat16_units()


def test_an_adapter_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """It says what it was trained on, so it cannot be merged into a model of the same shape by mistake."""
    adapter = _save_adapter(folder, tmp_path / "lora")
    (adapter / "training.json").write_text('{"base": "other@000000000000"}')
    with pytest.raises(ModelError, match=r"was trained on other@0+, the model is"):
        load_model(EngineSettings(model=str(folder), adapter=str(adapter)))


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of torch are another library's there")
def test_a_models_threads_give_way_to_other_processes() -> None:
    """Their library is told, before it is loaded, to spin for a moment only; what the user has set counts more."""
    code = "import qexplorer.llm.loading, torch"
    for given, wanted in (({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        ran = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_DISPLAY_ENV": "VERBOSE", **given},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"GOMP_SPINCOUNT = '{wanted}'" in ran.stderr
