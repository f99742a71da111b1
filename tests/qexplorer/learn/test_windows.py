"""What a model could have written: the short runs of words of a listing."""

from hypothesis import given
from hypothesis import strategies as st

from qexplorer.learn.windows import windows
from qexplorer.normalise import normalise
from qexplorer.words import count_words


def test_runs_begin_and_end_with_a_telling_word() -> None:
    """Common words stand inside only."""
    assert windows("fear of god hoodie") == ["fear", "fear of god", "god hoodie", "hoodie"]


def test_no_run_reaches_over_the_end_of_a_phrase() -> None:
    """What two sentences happen to say beside each other is no query."""
    assert windows("fresh kush. Blue zushi!") == ["fresh", "fresh kush", "kush", "blue", "blue zushi", "zushi"]


def test_han_runs_are_cut_into_two_to_four_characters() -> None:
    """Chinese has no spaces to cut at."""
    assert windows("莆田纯原") == ["莆田", "田纯", "纯原", "莆田纯", "田纯原", "莆田纯原"]


def test_contacts_are_in_no_run() -> None:
    """A phone, a handle or a code would teach the model whom to look for."""
    made = windows("call +44 7911 123456 or text lean to 60055 now, mail jo@example.com")
    assert not any(word in run for run in made for word in ("7911", "123456", "60055", "example"))


@given(st.text(max_size=80))
def test_runs_are_normal_short_and_distinct(text: str) -> None:
    """Whatever the text, each run is one that could be searched as it is."""
    made = windows(text)
    assert len(made) == len(set(made))
    assert all(run == normalise(run) for run in made)
    assert all(count_words(run) <= 8 for run in made)
