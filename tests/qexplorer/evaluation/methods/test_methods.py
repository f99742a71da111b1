"""Every method by its name runs on a small evaluation, within its budget."""

import pytest

from qexplorer.clock import SystemClock
from qexplorer.errors import ConfigError
from qexplorer.evaluation.methods import METHODS, Place, is_upper_reference, make_methods
from qexplorer.evaluation.methods.active_learning import ActiveLearning
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.pool import all_seeds, explore_group
from qexplorer.evaluation.testing import small_case
from qexplorer.llm.engine import Sampling
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings

ELSEWHERE = {"significant_text", "knn", "active_learning", "yake"}


def place() -> Place:
    case, index = small_case()
    client = OpenSearchClient(SearchSettings())
    human = {case.groups[0][0].seed.normalised: ["gummies", "vapes"]}
    return Place(case=case, index=index, client=client, clock=SystemClock(), human=human)


@pytest.mark.parametrize("name", sorted(set(METHODS) - ELSEWHERE))
async def test_a_method_searches_within_its_budget(name: str) -> None:
    """Three searches a seed at most, and something is found."""
    here = place()
    (method,) = make_methods([name], {}, here)
    assert not isinstance(method, ActiveLearning)
    await method.prepare(all_seeds(here.case))
    result = await explore_group(here.case, here.index, method, number=0, load=3)
    assert all(seed.spent.searches <= 3 for seed in result.seeds)
    assert sum(result.verdicts) > 0


def test_active_learning_finds_without_a_search() -> None:
    """It reads the whole corpus: all campaigns are found, at whatever load is asked for."""
    here = place()
    (method,) = make_methods(["active_learning"], {}, here)
    assert isinstance(method, ActiveLearning)
    result = method.run(here.case, number=0, load=6, reviews=10)
    assert result.load == 6
    assert sum(result.verdicts) == result.campaigns == len(here.case.campaigns) - 3
    assert sum(seed.spent.searches for seed in result.seeds) == 0
    assert sum(seed.finds for seed in result.seeds) == sum(result.verdicts)


def test_an_extractor_gives_a_method_for_each_order() -> None:
    """By votes and by foresight, each with the whole text too, the product and the best choice by labels."""
    replies = Replies(ScriptedEngine(), sampling=Sampling())
    names = [method.name for method in make_methods([], {"sft": replies}, place())]
    assert names == [
        "sft", "sft:foresight", "sft+whole_text", "sft:foresight+whole_text", "sft:system", "sft:best_of_n",
    ]  # fmt: skip
    assert [name for name in [*names, *METHODS] if is_upper_reference(name)] == [
        "sft:best_of_n", "oracle", "active_learning",
    ]  # fmt: skip


def test_an_unknown_method_is_named() -> None:
    """With what there is."""
    with pytest.raises(ConfigError, match="no method guesswork"):
        make_methods(["guesswork"], {}, place())
