import dataclasses
import os
from pathlib import Path

import psutil
import pytest

from qexplorer.errors import StackError
from qexplorer.stack.state import StackState, read_state, remove_state, state_folder, supervisor_of, write_state


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    state_folder(tmp_path).mkdir()
    return tmp_path


def this_process(**changes: object) -> StackState:
    state = StackState(
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        kafka="127.0.0.1:1",
        opensearch=None,
        kafka_version="4",
        opensearch_version="3",
        logs="/none/logs",
        data="/none",
        throwaway=False,
    )
    return dataclasses.replace(state, **changes)  # type: ignore[arg-type]  # the changes of a builder


def test_what_is_written_is_read(cache: Path) -> None:
    """The state survives the file, and is None before the first stack."""
    assert read_state(cache) is None
    write_state(cache, this_process())
    assert read_state(cache) == this_process()


def test_a_reused_process_id_is_not_the_supervisor() -> None:
    """A process with the right number and another start time is another process."""
    assert supervisor_of(this_process()) is not None
    assert supervisor_of(this_process(started=psutil.Process().create_time() - 3600)) is None


@pytest.mark.parametrize(("throwaway", "kept"), [(True, False), (False, True)])
def test_data_goes_with_a_dead_stack_only_where_it_was_to(cache: Path, *, throwaway: bool, kept: bool) -> None:
    """Clearing up after a dead stack throws temporary data away and keeps the user's folder."""
    data = cache / "data"
    data.mkdir()
    state = this_process(data=str(data), throwaway=throwaway)
    write_state(cache, state)
    remove_state(cache, state)
    assert read_state(cache) is None
    assert data.exists() == kept


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}'])
def test_a_spoilt_state_file_names_the_remedy(cache: Path, content: str) -> None:
    """A state file that is not ours to read is an error that says what to delete."""
    (state_folder(cache) / "state.json").write_text(content)
    with pytest.raises(StackError) as caught:
        read_state(cache)
    assert "state.json" in caught.value.remedy
