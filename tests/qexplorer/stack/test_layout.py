from pathlib import Path

import pytest

from qexplorer.errors import StackError
from qexplorer.stack.layout import Layout, keep_layout


def test_the_same_stack_may_use_its_folder_again(tmp_path: Path) -> None:
    """A folder takes the stack that it belongs to, and an engine that it did not have yet."""
    keep_layout(tmp_path, Layout(brokers=3))
    keep_layout(tmp_path, Layout(search_nodes=2))
    keep_layout(tmp_path, Layout(brokers=3, search_nodes=2))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Layout(brokers=1), "not of 1 Kafka brokers"),
        (Layout(brokers=3, search_nodes=1), "1 OpenSearch nodes"),
        (Layout(brokers=3, secured=True), "with users"),
    ],
)
def test_another_stack_is_refused(tmp_path: Path, other: Layout, says: str) -> None:
    """Data of three brokers are not opened by one, nor data without users by a stack with them."""
    keep_layout(tmp_path, Layout(brokers=3))
    keep_layout(tmp_path, Layout(search_nodes=2))
    with pytest.raises(StackError, match=says):
        keep_layout(tmp_path, other)


def test_an_older_folder_is_of_single_nodes(tmp_path: Path) -> None:
    """A folder without the file, from before there were several nodes, is that of one broker."""
    (tmp_path / "kafka").mkdir()
    with pytest.raises(StackError, match="1 Kafka brokers"):
        keep_layout(tmp_path, Layout(brokers=3))
    keep_layout(tmp_path, Layout(brokers=1))


def test_a_spoilt_file_names_the_remedy(tmp_path: Path) -> None:
    """A layout that cannot be read says what to delete."""
    (tmp_path / "layout.json").write_text("{")
    with pytest.raises(StackError) as caught:
        keep_layout(tmp_path, Layout())
    assert "layout.json" in caught.value.remedy
