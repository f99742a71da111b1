"""What is asked of a training."""

import pytest
from typer.testing import CliRunner

from qexplorer.cli.train import app


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_a_run_of_no_pass_is_refused(epochs: str) -> None:
    """It would write an adapter that has learnt nothing, and say that it was trained."""
    result = CliRunner().invoke(app, ["sft", "sft.parquet", "--out", "out", "--epochs", epochs])
    assert result.exit_code == 2
    assert "--epochs" in result.output
