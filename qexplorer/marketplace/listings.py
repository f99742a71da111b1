"""The stream of listings, each a JSON-able dict: the fields of a listing and the ground truth beside them.

Prohibited and honest listings are written by the same code from the same frames, boilerplate, sellers, contacts and
disguises; only what is sold differs.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from qexplorer.errors import BadInputError
from qexplorer.marketplace.disguise import disguise
from qexplorer.marketplace.series import (
    MOST_OPEN,
    SHAPES,
    Campaigns,
    Series,
    campaign_goods,
    make_contact,
    make_label,
    make_series,
    some_of,
)
from qexplorer.marketplace.words import LOCALES, Goods, Half, Words, load_words

CHINESE = 0.3
DISGUISED = 0.25
REPEATED = 0.45
IN_SERIES = 0.35
DAYS = tuple((datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat() for day in range(90))
TIMES = tuple(f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60))
_PARTS = {"f": "frames", "a": "also", "c": "condition", "s": "shipping", "p": "payment", "k": "contact", "z": "closing"}


def generate(
    count: int, *, half: Half, seed: int, prohibited: float = 0.03, look_alikes: float = 0.05
) -> Iterator[dict[str, Any]]:
    """Yield `count` listings in flat memory; the same arguments give the same listings.

    Exactly round(count × prohibited) are prohibited, in campaigns; about `look_alikes` of all are honest and share
    words with prohibited ones. Beside the fields of a listing each has `kind` ("benign" or a prohibited kind), `toxic`,
    `campaign` ("" when honest) and `variant` ("honest", "look-alike", "plain", "reworded" or "disguised").
    Raises BadInputError when a share is not between 0 and 1, or both exceed 1 together, or count is negative.
    """
    if count < 0 or min(prohibited, look_alikes) < 0 or prohibited + look_alikes > 1:
        raise BadInputError(
            f"a marketplace of {count} listings with {prohibited} prohibited and {look_alikes} look-alikes cannot be",
            remedy="Give a count from 0, and shares from 0 to 1 that together make at most 1",
        )
    return _Market(count, half, seed, prohibited, look_alikes).listings()


class _Market:
    """Draws what each listing is, and writes it."""

    def __init__(self, count: int, half: Half, seed: int, prohibited: float, look_alikes: float) -> None:
        self._count = count
        self._name = f"{half}:{seed}"
        self._draw = random.Random(self._name)
        self._words = {locale: load_words(half, locale) for locale in LOCALES}
        self._most_sellers = max(50, count // 5)
        self._prohibited = round(count * prohibited)
        self._look_alikes = look_alikes
        self._opened = 0
        self._kinds: list[int] = []
        self._honest: list[Series] = []

    def listings(self) -> Iterator[dict[str, Any]]:
        prohibited = self._prohibited
        campaigns = Campaigns(prohibited, self._open_campaign, self._draw)
        for number in range(self._count):
            left = self._count - number
            at = self._draw.random() * left
            if at < prohibited:
                prohibited -= 1
                series = campaigns.take()
            elif at < prohibited + self._look_alikes * left:
                series = self._once(alike=True)
            elif self._draw.random() < IN_SERIES:
                series = self._honest_series()
            else:
                series = self._once(alike=False)
            yield self._write(number, series)

    def _open_campaign(self) -> Series:
        words = self._some_words()
        if not self._kinds:
            self._kinds = self._draw.sample(range(len(words.kinds)), len(words.kinds))
        kind = words.kinds[self._kinds.pop()]
        series = make_series(words, campaign_goods(words, kind, self._draw), self._most_sellers, self._draw)
        self._opened += 1
        series.kind = kind.kind
        series.campaign = f"{kind.kind}-{_hash(f'{self._name}:campaign:{self._opened}')[:12]}"
        return series

    def _some_words(self) -> Words:
        return self._words["zh" if self._draw.random() < CHINESE else "en"]

    def _honest_series(self) -> Series:
        """Return an open honest series: they keep repetition, of itself, from telling a prohibited listing."""
        draw = self._draw
        at = int(draw.random() * MOST_OPEN)
        if at >= len(self._honest):
            at = len(self._honest)
            self._honest.append(self._new_honest())
        series = self._honest[at]
        series.left -= 1
        if not series.left:
            self._honest[at] = self._new_honest()
        return series

    def _new_honest(self) -> Series:
        words = self._some_words()
        return make_series(words, some_of(self._draw.choice(words.goods), self._draw), self._most_sellers, self._draw)

    def _once(self, *, alike: bool) -> Series:
        """Return a series of one listing, with every phrase to choose from."""
        draw = self._draw
        words = self._some_words()
        goods = _one(_one(words.kinds, draw).alike, draw) if alike else _one(words.goods, draw)
        return Series(
            words=words,
            goods=goods,
            phrases=words.phrases,
            shapes=SHAPES,
            label=make_label(words, draw),
            contact="",
            # Square, so that some sellers post many.
            sellers=(int(self._most_sellers * draw.random() ** 2),),
            alike=alike,
        )

    def _write(self, number: int, series: Series) -> dict[str, Any]:
        draw, words, goods = self._draw, series.words, series.goods
        hidden = draw.random() < DISGUISED
        # A series repeats itself in some listings; a one-off has nothing to repeat.
        repeated = series.phrases is not words.phrases and draw.random() < REPEATED
        names = _three(goods.names, draw)
        if hidden:
            names = [
                disguise(name, goods.emoji, words.same_sound, draw) if not at or draw.random() < 0.7 else name
                for at, name in enumerate(names)
            ]
        title, description = self._texts(series, names, repeated=repeated)
        name = _hash(f"{self._name}:{number}")
        uniform = draw.random
        minute, images = TIMES[int(uniform() * len(TIMES))], int(uniform() * 4)
        return {
            "id": name,
            "version": str(1 + int(3 * uniform() ** 2)),
            "title": title,
            "description": description,
            "seller": _seller(_one(series.sellers, draw), words),
            "category": goods.category,
            "price": {"amount": _price(goods, draw), "currency": _one(words.currencies, draw)},
            "locale": words.locale,
            "images": [f"https://img.example.com/{name}/{at}.jpg" for at in range(images)],
            "status": "active" if uniform() < 0.9 else "sold",
            "updated_at": f"{DAYS[int(uniform() * len(DAYS))]}{minute}{int(uniform() * 50) + 10}+00:00",
            "attributes": {
                "condition": _one(words.conditions, draw),
                "colour": _one(words.colours, draw),
                "delivery": _one(words.delivery, draw),
            },
            "kind": series.kind,
            "toxic": bool(series.campaign),
            "campaign": series.campaign,
            "variant": _variant(series, hidden=hidden, repeated=repeated),
        }

    def _texts(self, series: Series, names: list[str], *, repeated: bool) -> tuple[str, str]:
        """Return title and description; repeated ones take the first of each list of phrases."""
        draw, phrases = self._draw, series.phrases
        uniform = draw.random
        slots = {"g": names[0], "g2": names[1], "g3": names[2], "l": series.label, "c": series.contact}
        shape = series.shapes[0] if repeated else _one(series.shapes, draw)
        if not series.contact and "k" in shape:
            slots["c"] = make_contact(series.words, draw)
        titles = phrases["titles"]
        title = (titles[0] if repeated else titles[int(uniform() * len(titles))]).format_map(slots)
        details, at = series.goods.details, int(uniform() * len(series.goods.details))
        sentences = []
        for part in shape:
            if part == "d":
                sentences.append(details[at])
                at = (at + 1) % len(details)
                continue
            options = phrases[_PARTS[part]]
            sentence = options[0] if repeated else options[int(uniform() * len(options))]
            sentences.append(sentence.format_map(slots) if "{" in sentence else sentence)
        if series.words.locale == "en":
            return _cased(title, uniform()), (" " if uniform() < 0.8 else "\n").join(sentences)
        return title, ("" if uniform() < 0.8 else "\n").join(sentences)


def _variant(series: Series, *, hidden: bool, repeated: bool) -> str:
    if not series.campaign:
        return "look-alike" if series.alike else "honest"
    if hidden:
        return "disguised"
    return "plain" if repeated else "reworded"


def _three(names: tuple[str, ...], draw: random.Random) -> list[str]:
    """Return three different names; several times as fast as `sample`."""
    most = len(names)
    first = int(draw.random() * most)
    second = (first + 1 + int(draw.random() * (most - 1))) % most
    third = (second + 1) % most
    return [names[first], names[second], names[third if third != first else (third + 1) % most]]


def _seller(index: int, words: Words) -> str:
    first, second = words.seller_parts
    mixed = index * 2654435761 % 2**32
    joint = "_" if words.locale == "en" else ""
    return f"{first[mixed % len(first)]}{joint}{second[mixed // 64 % len(second)]}{mixed // 4096 % 9973}"


def _price(goods: Goods, draw: random.Random) -> float:
    """Return a price spread evenly over the orders of magnitude, rounded as sellers do."""
    amount = goods.low * float((goods.high / goods.low) ** draw.random())
    if amount >= 100:
        return float(round(amount / 5) * 5)
    return round(amount) - (0.01 if draw.random() < 0.3 else 0.0)


def _cased(title: str, share: float) -> str:
    if share < 0.5:
        return title
    if share < 0.62:
        return title.upper()
    return title.title() if share < 0.85 else title.capitalize()


def _one(options: tuple[Any, ...], draw: random.Random) -> Any:
    return options[int(draw.random() * len(options))]


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=10).hexdigest()
