"""A corpus is split so that nothing is judged by what it was trained on."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from qexplorer.corpus import Corpus, make_corpus, read_truth
from qexplorer.errors import BadInputError
from qexplorer.rows import Row
from schemas import WireError


def corpus(prohibited: int = 60, honest: int = 40, first: Mapping[str, Any] | None = None, **arguments: Any) -> Corpus:
    rows = [
        {"id": f"p{n}", "text": f"aa{n // 3} bb{n // 3} cc{n // 3} dd{n}", "kind": "drugs" if n % 2 else "scam"}
        | {"toxic": True, "source": "one", **({"campaign": f"c{n // 6}"} if n < 30 else {})}
        for n in range(prohibited)
    ]
    rows += [
        {"id": f"h{n}", "text": f"h{n}", "kind": "x", "toxic": False, "source": "one" if n % 2 else "two"}
        for n in range(honest)
    ]
    rows[0] |= first or {}
    return make_corpus(
        "x", [Row(number=number, value=value) for number, value in enumerate(rows, start=1)], **arguments
    )


def test_no_cluster_is_in_two_parts() -> None:
    """Near-duplicates, and campaigns that the rows name, stay together."""
    made = corpus()
    parts: dict[str, set[str]] = {}
    for item in made.items:
        parts.setdefault(item.cluster, set()).add(item.part)
    assert all(len(found) == 1 for found in parts.values())
    assert len(parts) == 5 + 10
    assert len({item.campaign for item in made.items}) == 20
    assert {item.part for item in made.items} == {"train", "dev", "test"}


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    """A split can be made again."""
    assert corpus(seed=1) == corpus(seed=1)
    assert [item.part for item in corpus(seed=1).items] != [item.part for item in corpus(seed=2).items]
    assert corpus(seed=1).digest != corpus(seed=2).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"campaign": "other"},
        {"updated_at": "2026-01-01T00:00:00Z"},
        {"seller": "other"},
        {"status": "removed"},
        {"text": "other words"},
        {"kind": "other"},
    ],
    ids=lambda changed: str(next(iter(changed))),
)
def test_the_digest_follows_all_that_split_and_index_depend_on(changed: dict[str, str]) -> None:
    """One row that differs makes another corpus, also where rows bring versions of their own."""
    same = {"version": "1"}
    assert corpus(first=same).digest == corpus(first=same).digest
    assert corpus(first=same | changed).digest != corpus(first=same).digest


def test_the_newest_clusters_are_for_the_test() -> None:
    """Where all have dates, training does not see the future."""
    rows = [
        {"id": f"p{n}", "title": f"aa{n} bb{n}", "kind": "drugs", "toxic": "true"}
        | {"updated_at": f"2026-01-{n + 1:02d}T00:00:00Z"}
        for n in range(28)
    ] + [{"id": f"h{n}", "text": f"h{n}", "toxic": 0} for n in range(30)]
    made = make_corpus("x", [Row(number=n, value=row) for n, row in enumerate(rows, start=1)])
    days = {part: [item.listing.updated_at for item in made.of(part)] for part in ("train", "dev", "test")}
    assert max(map(str, days["train"])) < min(map(str, days["dev"]))
    assert max(map(str, days["dev"])) < min(map(str, days["test"]))


def test_a_number_names_a_kind_and_a_campaign() -> None:
    """Also 0: its listings are not refused, and one campaign of that number is one cluster."""
    rows = [{"id": f"p{n}", "text": f"aa{n} bb{n}", "toxic": 1, "kind": n % 2, "campaign": n // 5} for n in range(40)]
    rows += [{"id": f"h{n}", "text": f"h{n}", "toxic": 0} for n in range(20)]
    made = make_corpus("x", [Row(number=number, value=value) for number, value in enumerate(rows, start=1)])
    assert [item.kind for item in made.items] == ["0", "1"] * 20
    assert (len({item.cluster for item in made.items}), made.refused) == (8, 0)


def test_the_oldest_is_so_in_every_time_zone() -> None:
    """Twenty listings an hour apart: where each was written down moves none of them to another part."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    zones = [timezone(timedelta(hours=hours)) for hours in (-11, 0, 13)]
    rows = [
        {"id": f"p{n}", "text": f"aa{n} bb{n}", "kind": "x", "toxic": True}
        | {"updated_at": (began + timedelta(hours=n)).astimezone(zones[n % 3]).isoformat()}
        for n in range(20)
    ] + [{"id": f"h{n}", "text": f"h{n}", "toxic": False} for n in range(20)]
    made = make_corpus("x", [Row(number=number, value=value) for number, value in enumerate(rows, start=1)])
    assert [item.part for item in made.items] == ["train"] * 10 + ["dev"] * 3 + ["test"] * 7


def test_a_kind_that_is_held_out_is_in_the_test_alone() -> None:
    """No training sees a kind that transfer is measured on, nor the clusters that hold it."""
    made = corpus(held_out=["scam"])
    assert not [item for item in made.items if item.kind == "scam" and item.part != "test"]
    clusters = {item.cluster for item in made.items if item.kind == "scam"}
    assert {item.part for item in made.items if item.cluster in clusters} == {"test"}
    assert all(item.held_out == (item.kind == "scam") for item in made.items)


def test_other_sources_are_left_out() -> None:
    """A source that only harmless rows come from would tell them by itself."""
    assert len(corpus(honest=60, sources=["one"]).others) == 30


def test_too_few_are_refused() -> None:
    """A corpus without ground truth is named with what it needs."""
    with pytest.raises(BadInputError, match="has 5 prohibited and 40 other"):
        corpus(prohibited=5)


def test_what_refuses_every_row_is_said() -> None:
    """A column that has nothing to do with the truth can spoil all rows: the first is named with its reason."""
    rows = [Row(number=n, value={"id": f"{n}", "text": "aa", "status": "lost"}) for n in range(1, 9)]
    with pytest.raises(BadInputError, match=r"8 rows refused, the first: row 1: Listing: status: .*removed"):
        make_corpus("x", rows)


@pytest.mark.parametrize("toxic", [1, 1.0, "1.0", "True", "yes"])
def test_a_prohibited_row_without_a_kind_is_not_taken_for_harmless(toxic: object) -> None:
    """It is refused, whichever way the truth is written."""
    with pytest.raises(WireError, match="without a kind"):
        read_truth(Row(number=1, value={"id": "a", "text": "aa", "toxic": toxic, "kind": None}))
    assert read_truth(Row(number=1, value={"id": "a", "text": "aa", "toxic": toxic, "kind": "drugs"}))[1] == "drugs"
