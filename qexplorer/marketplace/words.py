"""The words that the marketplace is made of, read from words/*.yaml.

`ordinary.*.yaml` (frames, boilerplate, everyday goods) serves both halves; `learn.*.yaml` and `judge.*.yaml` hold
what is prohibited and what only looks so, with no slang, product or look-alike in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("words")
LOCALES = ("en", "zh")
PARTS = ("titles", "frames", "also", "condition", "shipping", "payment", "contact", "closing")
NOVELTY_CATEGORY = "collectibles"


class Half(StrEnum):
    """Which words: those to learn from, or those to be judged by."""

    LEARN = "learn"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goods:
    """What one listing or series sells: `names` to draw from, at `low` to `high` in the locale's currency."""

    category: str
    low: float
    high: float
    names: tuple[str, ...]
    details: tuple[str, ...]
    emoji: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindWords:
    """One prohibited kind: `slang` that its campaigns share, `products` that are a campaign's own, look-alikes."""

    kind: str
    categories: tuple[str, ...]
    low: float
    high: float
    emoji: tuple[str, ...]
    slang: tuple[str, ...]
    products: tuple[str, ...]
    details: tuple[str, ...]
    alike: tuple[Goods, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """All words of one half and locale; `phrases` holds a list for each of PARTS.

    `same_sound` maps a Chinese character to the initial of its pinyin, followed by characters of the same sound.
    """

    locale: str
    phrases: Mapping[str, tuple[str, ...]]
    goods: tuple[Goods, ...]
    kinds: tuple[KindWords, ...]
    label_parts: tuple[tuple[str, ...], tuple[str, ...]]
    seller_parts: tuple[tuple[str, ...], tuple[str, ...]]
    handles: tuple[str, ...]
    domains: tuple[str, ...]
    currencies: tuple[str, ...]
    conditions: tuple[str, ...]
    colours: tuple[str, ...]
    delivery: tuple[str, ...]
    same_sound: Mapping[str, str]


def load_words(half: Half, locale: str) -> Words:
    """Read the words of one half and locale."""
    ordinary = read_yaml(f"ordinary.{locale}")
    own = read_yaml(f"{half}.{locale}")
    joint = " " if locale == "en" else ""
    return Words(
        locale=locale,
        phrases={part: tuple(ordinary[part]) for part in PARTS},
        goods=tuple(
            goods for name, value in ordinary["categories"].items() for goods in _ordinary_goods(name, value, joint)
        ),
        kinds=tuple(_kind(name, value, own) for name, value in own["kinds"].items()),
        label_parts=(tuple(own["labels"]["first"]), tuple(own["labels"]["last"])),
        seller_parts=(tuple(ordinary["sellers"]["first"]), tuple(ordinary["sellers"]["second"])),
        handles=tuple(ordinary["contacts"]["handles"]),
        domains=tuple(ordinary["contacts"]["domains"]),
        currencies=tuple(ordinary["currencies"]),
        conditions=tuple(ordinary["conditions"]),
        colours=tuple(ordinary["colours"]),
        delivery=tuple(ordinary["delivery"]),
        same_sound=read_yaml("sounds.zh") if locale == "zh" else {},
    )


def read_yaml(name: str) -> dict[str, Any]:
    """Return the content of words/<name>.yaml."""
    # The C loader is ten times as fast; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    value: dict[str, Any] = yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    return value


def _ordinary_goods(category: str, value: Mapping[str, Any], joint: str) -> list[Goods]:
    goods = []
    for at, group in enumerate(value["groups"]):
        names = group["names"]
        # Half of the brands, so that names without one are not rare: slang has none either.
        brands = value["brands"][at % 2 :: 2]
        branded = [f"{brand.lower()}{joint}{name}" for brand in brands for name in names]
        low, high = group["price"]
        goods.append(
            Goods(
                category=category,
                low=low,
                high=high,
                names=(*names, *branded),
                details=tuple(value["details"]),
                emoji=tuple(value["emoji"]),
            )
        )
    return goods


def _kind(kind: str, value: Mapping[str, Any], own: Mapping[str, Any]) -> KindWords:
    alike = value["alike"]
    emoji = tuple(value["emoji"])
    low, high = alike["price"]
    named = [
        Goods(
            category=category,
            low=low,
            high=high,
            names=tuple(alike["names"]),
            details=tuple(alike["details"]),
            emoji=emoji,
        )
        for category in alike["categories"]
    ]
    novelty = Goods(
        category=NOVELTY_CATEGORY,
        low=low,
        high=high,
        names=tuple(template.format(s=slang) for template in own["novelty"] for slang in value["slang"]),
        details=tuple(own["novelty_details"]),
        emoji=emoji,
    )
    return KindWords(
        kind=kind,
        categories=tuple(value["categories"]),
        low=value["price"][0],
        high=value["price"][1],
        emoji=emoji,
        slang=tuple(value["slang"]),
        products=tuple(value["products"]),
        details=tuple(value["details"]),
        alike=(*named, novelty, novelty),
    )
