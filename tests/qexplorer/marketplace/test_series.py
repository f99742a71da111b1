import random
from collections import Counter

import pytest

from qexplorer.marketplace.series import LARGEST, SMALLEST, Campaigns, Series, campaign_goods, make_contact, make_series
from qexplorer.marketplace.words import Half, load_words

WORDS = load_words(Half.JUDGE, "en")


def deal(total: int, seed: int = 1) -> list[int]:
    """Return the sizes of the campaigns that `total` listings are dealt out to."""
    draw = random.Random(seed)

    def open_one() -> Series:
        return make_series(WORDS, WORDS.goods[0], 100, draw)

    campaigns = Campaigns(total, open_one, draw)
    return list(Counter(id(series) for series in [campaigns.take() for _ in range(total)]).values())


@pytest.mark.parametrize("total", [*range(3, 60), 300, 4_321])
def test_campaigns_have_3_to_40_listings_and_use_up_the_total(total: int) -> None:
    """No total leaves a campaign too small or too large."""
    for seed in range(5):
        sizes = deal(total, seed)
        assert sum(sizes) == total
        assert all(SMALLEST <= size <= LARGEST for size in sizes)


def test_a_total_below_three_makes_one_campaign() -> None:
    """One or two prohibited listings cannot make a whole campaign."""
    assert deal(2) == [2]
    assert deal(0) == []


def test_campaigns_of_a_kind_share_some_slang_but_not_all() -> None:
    """Two campaigns have two or three slang terms in common on average, and never the same goods."""
    draw = random.Random(1)
    kind = WORDS.kinds[0]
    goods = [campaign_goods(WORDS, kind, draw) for _ in range(60)]
    slang = [{term for term in kind.slang if any(term in name for name in one.names)} for one in goods]
    shared = [len(one & other) for at, one in enumerate(slang) for other in slang[:at]]

    assert 1.5 <= sum(shared) / len(shared) <= 3.5
    assert len({one.names for one in goods}) == len(goods)


def test_contacts_are_invented() -> None:
    """Numbers are of the range 555-01xx that is kept for fiction, addresses of example domains."""
    draw = random.Random(1)
    contacts = [make_contact(WORDS, draw) for _ in range(500)]

    assert all("-555-01" in contact for contact in contacts if contact[0].isdigit())
    assert all("example" in contact for contact in contacts if "@" in contact[1:])
    assert len(set(contacts)) > 480
