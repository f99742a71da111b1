"""What is asked of a training."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qexplorer.cli.train import app, dpo
from qexplorer.errors import ConfigError
from qexplorer.learn.store import IndexRow, Store


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_a_run_of_no_pass_is_refused(epochs: str) -> None:
    """It would write an adapter that has learnt nothing, and say that it was trained."""
    result = CliRunner().invoke(app, ["sft", "sft.parquet", "--out", "out", "--epochs", epochs])
    assert result.exit_code == 2
    assert "--epochs" in result.output


def test_rounds_search_as_their_store_was_built(tmp_path: Path) -> None:
    """What replies find by other fields or filters is not to be compared with what is there."""
    store = Store(tmp_path / "store")
    store.add([IndexRow(index="listings", size=10)])
    store.claim("listings", {"filters": ["another"]})
    with pytest.raises(ConfigError, match="searches of the index listings with other fields or filters"):
        dpo(store.folder, tmp_path / "sft", tmp_path / "dpo")
