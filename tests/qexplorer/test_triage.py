"""The triage: what it learns, what it leaves out, and what it refuses to open."""

import math
import random
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.testing import a_listing
from qexplorer.triage import KnownFlag, LinearTriage, open_triage, train_triage

SLANG = [f"slang{n}" for n in range(12)]
ORDINARY = [f"word{n}" for n in range(400)]


def listing(draw: random.Random, *, flagged: bool) -> str:
    """Return ten ordinary words, two of them slang in a flagged listing."""
    words = draw.sample(ORDINARY, 8) + draw.sample(SLANG if flagged else ORDINARY, 2)
    return " ".join(draw.sample(words, 10))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("triage") / "t.safetensors"
    flags = [KnownFlag(text=listing(draw, flagged=True)) for _ in range(150)]
    others = [listing(draw, flagged=False) for _ in range(600)]
    report = train_triage(flags, others, path, seed=1)
    assert report.auc > 0.95
    return path


def opened(path: Path) -> LinearTriage:
    triage = open_triage(path)
    assert triage is not None
    return triage


def test_it_tells_flagged_from_ordinary_listings_that_it_has_not_seen(trained: Path) -> None:
    """Most unseen flagged listings score above one half, most ordinary ones below."""
    draw = random.Random(2)
    triage = opened(trained)
    flagged = triage.score([listing(draw, flagged=True) for _ in range(100)])
    ordinary = triage.score([listing(draw, flagged=False) for _ in range(100)])
    assert sum(score > 0.5 for score in flagged) >= 90
    assert sum(score > 0.5 for score in ordinary) <= 10
    assert all(0 <= score <= 1 for score in flagged + ordinary)


def test_its_words_say_what_is_promising_to_search(trained: Path) -> None:
    """Slang weighs more than ordinary words, whatever the offset of the model is."""
    slang, ordinary = opened(trained).weigh(["slang1 slang2", "word1 word2"])
    assert slang > 0 > ordinary


def test_the_same_training_gives_the_same_artefact(trained: Path, tmp_path: Path) -> None:
    """The version is a hash of the content, so equal inputs and seeds have equal versions."""
    draw = random.Random(1)
    again = tmp_path / "again.safetensors"
    flags = [KnownFlag(text=listing(draw, flagged=True)) for _ in range(150)]
    train_triage(flags, [listing(draw, flagged=False) for _ in range(600)], again, seed=1)
    assert opened(again).version == opened(trained).version


def test_unlabelled_listings_that_look_like_flags_are_left_out(tmp_path: Path) -> None:
    """Prohibited listings among the random ones do not teach the model that they are harmless."""
    draw = random.Random(3)
    flags = [KnownFlag(text=listing(draw, flagged=True)) for _ in range(150)]
    hidden = [listing(draw, flagged=True) for _ in range(12)]
    others = [listing(draw, flagged=False) for _ in range(600)]
    report = train_triage(flags, others + hidden + [flag.text for flag in flags[:5]], tmp_path / "t", seed=1)
    assert report.left_out >= 12


@pytest.mark.parametrize(
    ("first", "second", "policy", "shared"),
    [
        ("ann", "ann", "drugs", False),
        ("ann", "ann", "scam", True),
        ("ann", "bob", "drugs", True),
        ("", "", "drugs", True),
    ],
)
def test_flags_of_one_seller_share_nothing(
    tmp_path: Path, first: str, second: str, policy: str, *, shared: bool
) -> None:
    """Under one policy their words tell the seller; of two sellers, or of nobody knows whom, they tell what is sold."""
    flags = [KnownFlag(text=f"zaza brand{n} jar{n} box{n}", policy="drugs", seller=f"seller{n}") for n in range(20)]
    flags.append(KnownFlag.of(a_listing("a", "zaza qrx more stuff", seller=first), "drugs"))
    flags.append(KnownFlag.of(a_listing("b", "zaza qrx new drop", seller=second), policy))
    train_triage(flags, [f"garden chair{n} wood{n}" for n in range(60)], tmp_path / "t")
    assert ("qrx" in opened(tmp_path / "t").siblings("zaza stuff drop", 20)) is shared


def test_a_text_that_everybody_copies_makes_nobody_the_same(tmp_path: Path) -> None:
    """All sellers have it, and what some share beside it is still shared."""
    flags = [KnownFlag(text=f"zaza qrx{n % 3} jar{n} box{n}", seller=f"seller{n}") for n in range(24)]
    flags += [KnownFlag(text="new here ask me", seller=f"seller{n}") for n in range(24)]
    train_triage(flags, [f"garden chair{n} wood{n}" for n in range(60)], tmp_path / "t")
    assert "qrx0" in opened(tmp_path / "t").siblings("zaza jar0 box6", 20)


def test_a_text_comes_before_queries_whose_words_two_people_share(tmp_path: Path) -> None:
    """What these promise nobody else has; and no promise is enough for goods that nobody has flagged."""
    flags = [
        (f"strong brand{who // 2} lot{who}x{n} jar{who}x{n} box{who}x{n}", f"seller{who}")
        for who in range(8)
        for n in range(12)
    ]
    others = [f"garden chair{n} wood{n}" for n in range(60)]
    promises = []
    for sellers in (True, False):
        known = [KnownFlag(text=text, seller=seller if sellers else "") for text, seller in flags]
        train_triage(known, others, tmp_path / "t")
        promises.append(opened(tmp_path / "t").text_promise("strong brand0 brand1 brand2"))
    assert promises[0] > 10 * promises[1] > 50
    assert opened(tmp_path / "t").text_promise("lemon haze tonight") == math.inf


def test_contacts_that_two_flags_have_are_never_shown(tmp_path: Path) -> None:
    """Mail addresses and handles neither, whoever shares them; the words beside them are."""
    contact = "qrx mail bob.smith@mail.com or tg @snowman_42"
    texts = [" ".join(f"{word}{n}" for word in ("brand", "jar", "box", "bag", "lot", "tin", "can")) for n in range(24)]
    flags = [KnownFlag.of(a_listing(text, f"zaza {text} {contact}", seller=""), "") for text in texts]
    train_triage(flags, [f"garden chair{n} wood{n}" for n in range(60)], tmp_path / "t")
    spans = opened(tmp_path / "t").siblings("zaza tonight", 20)
    assert "qrx mail" in spans
    assert not [span for span in spans if {"bob", "smithamail", "snowman"} & set(span.split())]


def test_too_little_is_refused(tmp_path: Path) -> None:
    """With a handful of flags nothing is learned, and the error says how many are needed."""
    with pytest.raises(BadInputError, match="3 flags"):
        train_triage([KnownFlag(text=text) for text in "abc"], ["d"] * 50, tmp_path / "t")


SAME = ["zaza lean drip", "vape cart gas", "garden chair wood", "summer dress silk"]
GARDEN = [f"garden chair{n} wood{n} nail{n}" for n in range(40)]


@pytest.mark.parametrize(
    ("flags", "others"),
    [
        pytest.param([f"zaza lean drip jar box {n}" for n in range(40)], GARDEN, id="one campaign"),
        pytest.param(
            [f"zaza{n} lean{n} drip{n}" for n in range(40)], [f"zaza{n} lean{n} drip{n}" for n in range(40)],
            id="copies of flags",
        ),
        pytest.param([f"zaza{n} lean{n} drip{n}" for n in range(40)], GARDEN[:1] * 40, id="one listing"),
        pytest.param(SAME[:2] * 20, SAME[2:] * 20, id="two of each"),
    ],
)  # fmt: skip
def test_what_says_nearly_the_same_is_too_little(tmp_path: Path, flags: list[str], others: list[str]) -> None:
    """Nothing is learnt from a single campaign, or a single other listing, however often it stands there."""
    with pytest.raises(BadInputError, match="say nearly the same"):
        train_triage([KnownFlag(text=text) for text in flags], others, tmp_path / "t")


def test_two_campaigns_among_various_listings_are_enough(tmp_path: Path) -> None:
    """Each is judged by a model that knows the other one and most listings."""
    flags = [
        KnownFlag(text=f"{text} {n}") for n in range(20) for text in ("zaza lean drip jar box", "cart gas vape pen")
    ]
    train_triage(flags, GARDEN, tmp_path / "t")
    scores = opened(tmp_path / "t").score(["zaza lean", GARDEN[0]])
    assert scores[0] > scores[1]


def test_without_a_path_there_is_no_triage() -> None:
    """The step is skipped then."""
    assert open_triage(None) is None


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\x80\x04\x95pickle", b"\xff" * 100], ids=["empty", "junk", "pickle", "ones"]
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is named, and nothing in it is executed."""
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"t\.safetensors is no triage"):
        open_triage(path)


def test_one_of_an_earlier_release_is_refused_by_name(trained: Path, tmp_path: Path) -> None:
    """What it lacks is said, and how to get another."""
    tensors = load_file(trained)
    del tensors["spans"]
    save_file(tensors, tmp_path / "old.safetensors")
    with pytest.raises(ConfigError, match=r"old\.safetensors is no triage of this release: it has no 'spans'") as error:
        open_triage(tmp_path / "old.safetensors")
    assert "qexplorer triage train" in error.value.remedy


def test_nothing_to_score_is_nothing(trained: Path) -> None:
    """Empty in, empty out."""
    triage = opened(trained)
    assert triage.score([]) == []
    assert triage.weigh([]) == []
