import pytest
from pydantic import ValidationError

from qexplorer.llm.engine import EngineSettings, Prompt, chat_messages


def _prompt(listing: str) -> Prompt:
    return Prompt(instruction="do", listing=listing, max_listing_tokens=9)


@pytest.mark.parametrize(
    ("listing", "parts"),
    [
        ("<a>\nbody\n</a>", ("<a>\n", "body", "\n</a>")),
        ("<a>\n\n</a>", ("<a>\n", "", "\n</a>")),
        ("bare", ("", "bare", "")),
    ],
    ids=["fenced", "empty", "bare"],
)
def test_parts_mark_the_line_that_may_be_cut(listing: str, parts: tuple[str, str, str]) -> None:
    """A fenced listing falls into fence, body and fence, which together are the listing."""
    assert _prompt(listing).parts() == parts
    assert "".join(_prompt(listing).parts()) == listing


def test_chat_puts_the_instruction_first() -> None:
    """The instruction is the system's turn and the listing the user's."""
    assert [message["content"] for message in chat_messages(_prompt("x"))] == ["do", "x"]


def test_settings_hide_the_key_and_refuse_what_they_do_not_know() -> None:
    """An API key is not printed, and a misspelt setting is an error."""
    assert "s3cret" not in repr(EngineSettings.model_validate({"api_key": "s3cret"}))
    with pytest.raises(ValidationError):
        EngineSettings.model_validate({"modle": "x"})


def test_surface_is_sorted_complete_and_light() -> None:
    """The package exports what it lists, in order, and importing it loads no torch and no client."""
    import subprocess
    import sys

    import qexplorer.llm

    assert list(qexplorer.llm.__all__) == sorted(qexplorer.llm.__all__)
    assert all(hasattr(qexplorer.llm, name) for name in qexplorer.llm.__all__)
    code = "import sys, qexplorer.llm; print({'torch', 'transformers', 'openai', 'phonenumbers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"  # noqa: S603 (our own code)
