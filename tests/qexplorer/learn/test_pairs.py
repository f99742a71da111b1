"""Which of a seed's replies become a pair, and why others do not."""

from collections import Counter

from qexplorer.learn.pairs import Pair, Valued, pairs


def reply(text: str, value: float) -> Valued:
    return Valued(text=text, value=value, queries=tuple(text.split("; ")))


def made(*replies: Valued, most: int = 2) -> tuple[list[Pair], Counter[str]]:
    dropped: Counter[str] = Counter()
    return pairs("f", replies, dropped, most), dropped


def test_the_best_is_chosen_and_two_deviations_below_the_mean_rejected() -> None:
    """Not the worst, which lies far beyond."""
    values = [0.4] * 12 + [0.5, 0.1, -1.5]
    replies = [reply(f"a{n} b{n}; c{n} d{n}", value) for n, value in enumerate(values)]
    found, _ = made(*replies, most=1)
    # The mean is 0.26, the deviation 0.47, so the aim is −0.69: −1.5 is 0.81 away and 0.1 is 0.79.
    assert [(pair.chosen.value, pair.rejected.value) for pair in found] == [(0.5, 0.1)]


def test_no_text_is_in_two_pairs() -> None:
    """The second pair is made of what is left."""
    found, _ = made(*(reply(f"a{n} b{n}; c{n}", n / 10) for n in range(8)))
    texts = [text for pair in found for text in (pair.chosen.text, pair.rejected.text)]
    assert len(found) == 2
    assert len(set(texts)) == 4


def test_reasons_are_counted() -> None:
    """A data card says why a seed has no pair."""
    assert made(reply("a", 1), reply("b", 0))[1] == {"too few different replies": 1}
    assert made(*(reply(f"a{n}", 0.5) for n in range(5)))[1] == {"all replies are worth the same": 1}
    alike = [reply(f"a b c d e f g h i; x{n}", n / 10) for n in range(5)]
    assert made(*alike)[1] == {"the replies are too alike": 1}
    long = [reply("good one", 1.0), *(reply("; ".join(f"w{n}{m}" for m in range(9)), 0.0) for n in range(4))]
    assert made(*long)[1] == {"one is twice as long": 1}


def test_a_pair_does_not_teach_shorter_queries() -> None:
    """What is rejected has queries of no more words; a reply that could not be read has none."""
    short, wordy = reply("one; two; six", 1.0), [reply(f"a{n} b{n}; c{n}", 0.0) for n in range(4)]
    assert made(short, *wordy)[1] == {"the rejected has longer queries": 1}
    brief = reply("ten; red", 0.3)
    assert made(short, *wordy, brief, most=1)[0] == [Pair(flag_id="f", chosen=short, rejected=brief)]
    broken = Valued(text="((((((((", value=-1.5, queries=())
    assert made(short, *wordy, broken, most=1)[0] == [Pair(flag_id="f", chosen=short, rejected=broken)]
    best = reply("a9 b9; c9", 1.0)
    assert made(best, *wordy, most=1)[0] == [Pair(flag_id="f", chosen=best, rejected=wordy[0])]


def test_an_unparseable_reply_is_never_chosen() -> None:
    """Even where all the others are worse."""
    broken = [Valued(text=f"((({n}", value=-1.5 + n / 10, queries=()) for n in range(5)]
    assert made(*broken)[0] == []
