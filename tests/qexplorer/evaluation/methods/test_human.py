"""Queries that people wrote."""

import csv
from pathlib import Path

import pytest

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.evaluation.methods.human import Human, read_human, write_template
from qexplorer.evaluation.seeds import Seed

SEED = Seed(title="Plug & play gummies", description="dm me", kind="drugs", locale="en")


def test_a_filled_template_is_read(tmp_path: Path) -> None:
    """What is written for a listing is asked for it, in order; a row without queries has none."""
    path = tmp_path / "human.csv"
    write_template([SEED, Seed(title="other", description="", kind="x", locale="")], path)
    path.write_text(path.read_text().replace("drugs,", "drugs,play gummies; edibles plug", 1))
    queries = read_human(path)
    assert list(queries.values()) == [["play gummies", "edibles plug"]]
    assert [ask.text for ask in Human("human", queries).asks(SEED)] == ["play gummies", "edibles plug"]
    assert Human("human", {}).asks(SEED) == []


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "'=", "'"])
def test_a_listing_is_no_formula_of_the_table_program(tmp_path: Path, first: str) -> None:
    """A seller may write what opens a link or runs a command where people open the file; it is still told apart."""
    seed = Seed(title=f"{first}HYPERLINK(cheap pills)", description="", kind="drugs", locale="en")
    path = tmp_path / "human.csv"
    write_template([seed], path)
    with path.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row["text"][0] not in "=+-@"
    path.write_text(path.read_text().replace("drugs,", "drugs,cheap pills"))
    assert [ask.text for ask in Human("human", read_human(path)).asks(seed)] == ["cheap pills"]


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "text,queries\nx,\n", "queries,text\nx\n", "\x00"],
    ids=["empty", "columns", "blank", "cut off", "0"],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """It says which columns are needed."""
    path = tmp_path / "human.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"has no queries|is no CSV"):
        read_human(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_human(tmp_path / "missing.csv")


def test_what_people_have_filled_in_is_not_overwritten(tmp_path: Path) -> None:
    """A template of an existing name, or in no folder, is refused by name."""
    path = tmp_path / "human.csv"
    path.write_text("text,kind,queries\nx,drugs,cheap pills\n")
    for taken in (path, tmp_path / "nowhere" / "human.csv"):
        with pytest.raises(ConfigError, match=r"human\.csv cannot be written: (File exists|No such file)"):
            write_template([SEED], taken)
    assert "cheap pills" in path.read_text()


async def test_a_file_for_other_seeds_is_refused() -> None:
    """Nothing found would look like people's queries finding nothing."""
    with pytest.raises(BadInputError, match="none of the seeds"):
        await Human("human", {"other": ["x"]}).prepare([SEED])


def test_the_ten_seeds_of_the_documentation_are_filled() -> None:
    """The example that is shipped can be read."""
    queries = read_human(Path(__file__).parents[4] / "docs" / "human-queries.csv")
    assert len(queries) == 10
    assert all(1 <= len(written) <= 6 for written in queries.values())
