"""How far foresight keeps its promises, told from flags that it has not seen."""

from qexplorer.promises import text_worth

OTHERS = [f"garden chair{n} wood{n}" for n in range(20)]


def worth(flags: list[str], posters: list[int]) -> float:
    count = len(flags)
    return text_worth(flags, list(range(count)), OTHERS, 20, policies=[""] * count, posters=posters)


def test_what_two_people_share_is_promised_to_others_in_vain() -> None:
    """Twenty-four flags have each brand. Where they are of two people, who are known both, nobody unknown has it."""
    flags = [f"strong brand{who // 2} lot{who}x{n}" for who in range(8) for n in range(12)]
    assert worth(flags, list(range(96))) < 2.0
    assert worth(flags, [who for who in range(8) for _ in range(12)]) > 10.0


def test_to_find_the_flag_that_is_asked_for_keeps_no_promise() -> None:
    """Where nobody else was flagged under its policy, a text finds itself alone, and so nothing."""
    flags = [f"strong brand{n % 2} lot{n} jar{n}" for n in range(40)]
    found = text_worth(
        flags, list(range(40)), OTHERS, 20, policies=[f"policy{n}" for n in range(40)], posters=list(range(40))
    )
    assert found < 2.0


def test_nothing_to_ask_is_no_opinion() -> None:
    """One poster cannot be halved, and flags that share nothing promise nothing."""
    assert worth([f"strong brand lot{n}" for n in range(6)], [1] * 6) == 1.0
    assert worth([f"lot{n} box{n}" for n in range(6)], list(range(6))) == 1.0
