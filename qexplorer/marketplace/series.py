"""Series: the listings that one group of sellers posts of the same goods; a campaign is a prohibited series."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qexplorer.marketplace.words import Goods, KindWords, Words

SMALLEST, LARGEST = 3, 40
MOST_OPEN = 64
SYLLABLES = ("ba", "ko", "li", "mu", "ne", "po", "ra", "si", "ta", "vu", "we", "yo")
# What a description says, in order: frame, detail, also, condition, shipping, payment, contact (k), closing (z).
SHAPES = ("fds", "fdcs", "dfsp", "fdask", "fddcs", "cfdsk", "fdsaz", "fdcpk", "dsfcz", "fdacspk", "fddask", "fscz")


@dataclass(slots=True, kw_only=True)
class Series:
    """What the listings of a series have in common; `left` counts down as they are written.

    `phrases` are the few that these sellers use, the first of each list in listings that repeat each other.
    """

    words: Words
    goods: Goods
    phrases: Mapping[str, tuple[str, ...]]
    shapes: tuple[str, ...]
    label: str
    contact: str
    sellers: tuple[int, ...]
    kind: str = "benign"
    campaign: str = ""
    alike: bool = False
    left: int = 1


def make_series(words: Words, goods: Goods, most_sellers: int, draw: random.Random) -> Series:
    """Return a series of 3 to 40 listings (mostly few) by up to four sellers with a label, a contact and a style."""
    return Series(
        words=words,
        goods=goods,
        phrases={part: tuple(draw.sample(texts, 4)) for part, texts in words.phrases.items()},
        shapes=tuple(draw.sample(SHAPES, 4)),
        label=make_label(words, draw),
        contact=make_contact(words, draw),
        sellers=tuple(int(draw.random() * most_sellers) for _ in range(1 + int(draw.random() * 4))),
        left=draw_size(LARGEST, draw),
    )


def campaign_goods(words: Words, kind: KindWords, draw: random.Random) -> Goods:
    """Return what a campaign sells: names of seven slang terms, the well-known ones more often, and three products."""
    slang: list[str] = []
    while len(slang) < min(7, len(kind.slang)):
        term = kind.slang[int(len(kind.slang) * draw.random() ** 2.2)]
        if term not in slang:
            slang.append(term)
    products = draw.sample(kind.products, 3)
    joint = " " if words.locale == "en" else ""
    names = [
        *slang,
        *(f"{draw.choice(products)}{joint}{term}" for term in slang[2:]),
        *(f"{term}{joint}{draw.choice(products)}" for term in slang[:3]),
    ]
    return Goods(
        category=draw.choice(kind.categories),
        low=kind.low,
        high=kind.high,
        names=tuple(names),
        details=tuple(draw.sample(kind.details, 5)),
        emoji=kind.emoji,
    )


def some_of(goods: Goods, draw: random.Random) -> Goods:
    """Return goods as narrow as those of a campaign: 14 of the names, five of the details."""
    return Goods(
        category=goods.category,
        low=goods.low,
        high=goods.high,
        names=tuple(draw.sample(goods.names, min(14, len(goods.names)))),
        details=tuple(draw.sample(goods.details, min(5, len(goods.details)))),
        emoji=goods.emoji,
    )


def make_label(words: Words, draw: random.Random) -> str:
    """Return the name of a shop or maker."""
    first, last = words.label_parts
    return first[int(draw.random() * len(first))] + last[int(draw.random() * len(last))]


def make_contact(words: Words, draw: random.Random) -> str:
    """Return an invented contact: a number of the fictitious range 555-01xx, an example domain or a handle."""
    share = draw.random()
    if share < 0.35:
        return f"{200 + int(draw.random() * 800)}-555-01{int(draw.random() * 100):02d}"
    handle = "".join(draw.choices(SYLLABLES, k=3)) + str(int(draw.random() * 1000))
    if share < 0.55:
        return f"{handle}@{draw.choice(words.domains)}"
    return draw.choice(words.handles).format(h=handle)


def draw_size(most: int, draw: random.Random) -> int:
    """Return a size from 3 to `most`, small ones more often."""
    return SMALLEST + int((most - SMALLEST + 1) * draw.random() ** 2)


class Campaigns:
    """Deals out exactly `total` listings to campaigns of 3 to 40, up to 64 of them open at a time.

    A total below three makes one smaller campaign. Small totals make small campaigns, so that there are several.
    """

    def __init__(self, total: int, open_one: Callable[[], Series], draw: random.Random) -> None:
        self._budget = total
        self._most = min(LARGEST, max(SMALLEST, total // 12))
        self._width = min(MOST_OPEN, max(1, total // 6))
        self._open_one = open_one
        self._draw = draw
        self._open: list[Series] = []

    def take(self) -> Series:
        """Return the campaign that the next prohibited listing belongs to."""
        while self._budget and len(self._open) < self._width:
            series = self._open_one()
            series.left = self._size()
            self._budget -= series.left
            self._open.append(series)
        at = int(self._draw.random() * len(self._open))
        series = self._open[at]
        series.left -= 1
        if not series.left:
            self._open[at] = self._open[-1]
            self._open.pop()
        return series

    def _size(self) -> int:
        size = min(draw_size(self._most, self._draw), self._budget)
        rest = self._budget - size
        if 0 < rest < SMALLEST:
            # The last campaign must not be too small: join the rest, or leave it enough.
            return self._budget if self._budget <= LARGEST else size - SMALLEST
        return size
