"""The same listings disguised: what of the finds survives once sellers hide their words."""

import random
from collections.abc import Sequence

from qexplorer.corpus import Item
from qexplorer.marketplace.disguise import disguise
from qexplorer.words import is_han, tokens
from schemas import Listing

SHARE = 0.5
EMOJI = ("🔥", "💊", "🌿", "🍬", "🎁", "💎")


def disguised(listings: Sequence[Listing], items: Sequence[Item], seeds: Sequence[str], *, seed: int) -> list[Listing]:
    """Return the listings with half of the prohibited ones disguised, by chance; `seeds` are ids that stay as they are.

    A seed is known as it was flagged: only what is to be found is hidden. In a disguised listing each line has one of
    the ways of hiding (leet, homoglyphs, gaps, zero width, emoji, swapped letters) on its longest words.
    """
    draw = random.Random(seed)
    hidden = {item.listing.id for item in items if draw.random() < SHARE} - set(seeds)
    return [_hide(listing, draw) if listing.id in hidden else listing for listing in listings]


def _hide(listing: Listing, draw: random.Random) -> Listing:
    return listing.model_copy(
        update={"title": _hidden(listing.title, draw), "description": _hidden(listing.description, draw)}
    )


def _hidden(text: str, draw: random.Random) -> str:
    """Disguise a third of the words of a text, the longest ones: those that say what is sold."""
    lines = []
    for line in text.split("\n"):
        words = line.split(" ")
        telling = sorted((word for word in words if any(map(_tells, tokens(word)))), key=len, reverse=True)
        chosen = set(telling[: (len(telling) + 2) // 3])
        lines.append(" ".join(disguise(word, EMOJI, {}, draw) if word in chosen else word for word in words))
    return "\n".join(lines)


def _tells(token: str) -> bool:
    return len(token) > 3 or is_han(token)
