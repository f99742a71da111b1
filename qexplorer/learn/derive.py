"""From the store to rows to train on: what each query found, grouped into campaigns, and what that is worth."""

import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qexplorer.learn.build import queries_of, search_key
from qexplorer.learn.card import as_markdown, card
from qexplorer.learn.pairs import Pair, Valued, pairs
from qexplorer.learn.reward import HITS, Asked, best_reply, copies, first_to_ask, reply_value
from qexplorer.learn.store import (
    FlagRow,
    IndexRow,
    JudgedRow,
    ListingRow,
    ReplyRow,
    SearchRow,
    Store,
    write_table,
    write_whole,
)
from qexplorer.learn.targets import SeedCandidates, Target, targets
from qexplorer.learn.windows import windows
from qexplorer.near_duplicates import near_groups, terms

OTHERS = 12
LIKELY = 0.5
TOO_MANY = 500
MOST_SHARE = 0.02
KEPT_BACK = 0.4
DRAWS_ALONE = 1
DRAWS = 3
SHARE = "kept back from SFT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The searches of one index by their key, each as what it finds, and the campaign of every flag."""

    index: str
    asked: Mapping[str, Asked]
    campaigns: Mapping[str, str]
    flags: Sequence[FlagRow]

    def only(self, flag_ids: Collection[str]) -> "Found":
        """Return it with these flags alone, and without what is known of the others: their campaigns are not found."""
        known = {self.campaigns[flag.flag_id] for flag in self.flags if flag.flag_id not in flag_ids}
        asked = {
            key: replace(each, found={name: wanted for name, wanted in each.found.items() if name not in known})
            for key, each in self.asked.items()
        }
        flags = [flag for flag in self.flags if flag.flag_id in flag_ids]
        campaigns = {flag.flag_id: self.campaigns[flag.flag_id] for flag in flags}
        return replace(self, asked=asked, campaigns=campaigns, flags=flags)


def kept_back(flags: Sequence[FlagRow], share: float) -> set[str]:
    """Return the flags that SFT does not learn from, about a `share` of the campaigns, the same ones each time.

    What SFT has learnt it knows by heart: on the same flags nearly all its queries find something, on others two of
    five find nothing. Preferences are to teach it the difference, so they come from flags that it has not seen.
    """
    rows = sorted(flags, key=lambda flag: flag.flag_id)
    groups = near_groups([flag.normalised for flag in rows])
    firsts = (rows[first].flag_id for first in groups)
    return {flag.flag_id for flag, first in zip(rows, firsts, strict=True) if _share_of(first) < share}


def for_preferences(flags: Sequence[FlagRow], share: float) -> set[str]:
    """Return the flags whose replies make pairs: those kept back, or all where none are."""
    return kept_back(flags, share) if share else {flag.flag_id for flag in flags}


def kept_back_share(store: Store) -> float:
    """Return the share of campaigns that the store's sft.parquet was made without; 0 where there is none."""
    path = store.folder / "card.json"
    return float(json.loads(path.read_text())["inputs"].get(SHARE, 0.0)) if path.exists() else 0.0


def _share_of(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def open_found(store: Store, index: str) -> Found:
    """Read the searches of an index; a query that matches more than a fiftieth of it is refused.

    What is not judged yet, where a build was cut off, counts as not found.
    """
    sizes = [row.size for row in store.read(IndexRow) if row.index == index]
    flags = [row for row in store.read(FlagRow) if row.index == index]
    wanted = {row.listing_id: row.wanted for row in store.read(JudgedRow) if row.index == index}
    texts = {row.listing_id: row.normalised for row in store.read(ListingRow) if row.index == index}
    texts |= {flag.listing_id: flag.normalised for flag in flags}
    # Only what may be wanted is grouped: comparing all listings with each other would take hours.
    likely = [name for name in texts if wanted.get(name, 1.0) >= LIKELY]
    groups = near_groups([texts[name] for name in likely])
    campaign = {name: likely[first] for name, first in zip(likely, groups, strict=True)}
    most = max(TOO_MANY, MOST_SHARE * sizes[-1])
    asked: dict[str, Asked] = {}
    for row in store.read(SearchRow):
        if row.index != index:
            continue
        found: dict[str, float] = {}
        for name in filter(wanted.__contains__, row.ids[:HITS]):
            group = campaign.get(name, name)
            found[group] = max(found.get(group, 0.0), wanted[name])
        refused = f"matches {row.total} listings: too broad" if row.total >= most else ""
        asked[row.key] = Asked(query=row.query, found=found, refused=refused)
    own = {flag.flag_id: campaign.get(flag.listing_id, flag.listing_id) for flag in flags}
    return Found(index=index, asked=asked, campaigns=own, flags=flags)


def sft_targets(found: Found, *, seed: int, alone: bool) -> list[Target]:
    """Return replies to learn for the flags of an index: runs of words of each seed and of others, and known spans.

    SFT `alone` has to teach the order too, by greedy sets; where preferences teach it, draws leave more breadth.

    The spans stand in the prompt: to choose among them and the seed's own words is a skill that words which nobody has
    trained on need as well. Runs of random flags of its kind and language teach the vocabulary of the platform.
    """
    chance = random.Random(seed)
    runs = {flag.flag_id: windows(f"{flag.title}\n{flag.description}") for flag in found.flags}
    kinds: dict[tuple[str, str], list[str]] = {}
    places: dict[str, int] = {}
    for flag in found.flags:
        same = kinds.setdefault((flag.kind, flag.locale), [])
        places[flag.flag_id] = len(same)
        same.append(flag.flag_id)
    seeds: list[SeedCandidates] = []
    for flag in found.flags:
        same, own = kinds[flag.kind, flag.locale], places[flag.flag_id]
        # By places among the others: a list of them for each flag would take a square of time.
        drawn = chance.sample(range(len(same) - 1), min(OTHERS, len(same) - 1))
        others = [same[place + (place >= own)] for place in drawn]
        spans = itertools.chain(runs[flag.flag_id], flag.known, *(runs[name] for name in others))
        asked = (found.asked.get(search_key(found.index, span)) for span in spans)
        candidates = {each.query: each for each in asked if each is not None and not each.refused and _telling(each)}
        seeds.append(
            SeedCandidates(
                flag_id=flag.flag_id,
                own=found.campaigns[flag.flag_id],
                words=frozenset(terms(flag.normalised)),
                known=frozenset(flag.known),
                candidates=tuple(candidates.values()),
            )
        )
    return targets(seeds, seed=seed, greedy=alone, draws=DRAWS_ALONE if alone else DRAWS)


def _telling(asked: Asked) -> bool:
    return len(asked.found) > 1 and sum(asked.found.values()) >= LIKELY * len(asked.found)


def preference_pairs(found: Found, replies: Sequence[ReplyRow], dropped: Counter[str]) -> list[Pair]:
    """Return pairs for the flags of an index, of the replies that one model wrote and the best that their queries make.

    While half of a model's queries find nothing, none of its replies is good throughout; that one is, in its own words.
    """
    texts = {flag.flag_id: flag.normalised for flag in found.flags}
    by_flag: dict[str, list[tuple[ReplyRow, list[Asked]]]] = {}
    for reply in replies:
        queries = [_asked(found, query, texts[reply.flag_id]) for query in queries_of(reply)]
        by_flag.setdefault(reply.flag_id, []).append((reply, queries))
    first = first_to_ask([[asked.query for asked in queries] for row in by_flag.values() for _, queries in row])
    made: list[Pair] = []
    for flag_id, written in by_flag.items():
        own = found.campaigns[flag_id]
        said = [(reply.text, queries) for reply, queries in written]
        if best := best_reply(itertools.chain.from_iterable(queries for _, queries in written), own, first):
            said.append(("", best))
        valued = [
            Valued(
                text="; ".join(asked.query for asked in queries) if queries else text,
                value=reply_value(queries, own, first),
                queries=tuple(asked.query for asked in queries),
            )
            for text, queries in said
        ]
        made += pairs(flag_id, valued, dropped)
    return made


def _asked(found: Found, query: str, text: str) -> Asked:
    asked = found.asked.get(search_key(found.index, query), Asked(query=query, found={}))
    return Asked(query=query, found={}, refused="copies the listing") if copies(query, text) else asked


def write_sets(store: Store, *, inputs: Mapping[str, Any], seed: int, share: float) -> dict[str, Any]:
    """Write sft.parquet, pairs.parquet and the data card of all indices of a store; return the card.

    About a `share` of the campaigns is kept back from SFT, and pairs come from these alone; with 0 both come from all.
    """
    sft: list[dict[str, Any]] = []
    preferences: list[dict[str, Any]] = []
    all_asked: list[Asked] = []
    all_targets: list[Target] = []
    all_pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for index in dict.fromkeys(row.index for row in store.read(IndexRow)):
        found = open_found(store, index)
        all_asked += found.asked.values()
        flags = {flag.flag_id: _shared(flag, found) for flag in found.flags}
        preferring = found.only(for_preferences(found.flags, share))
        learning = found.only(flags.keys() - preferring.campaigns.keys()) if share else found
        made = sft_targets(learning, seed=seed, alone=not share)
        all_targets += made
        sft += [
            {**flags[target.flag_id], "how": target.how, "reply": "; ".join(target.queries), "value": target.value}
            for target in made
        ]
        by_asker: dict[str, list[ReplyRow]] = {}
        for reply in store.read(ReplyRow):
            if reply.index == index and reply.flag_id in preferring.campaigns:
                by_asker.setdefault(reply.asker, []).append(reply)
        for asker, replies in by_asker.items():
            preferred = preference_pairs(preferring, replies, dropped)
            all_pairs += preferred
            preferences += [
                {
                    **flags[pair.flag_id],
                    "asker": asker,
                    "chosen": pair.chosen.text,
                    "rejected": pair.rejected.text,
                    "chosen_value": pair.chosen.value,
                    "rejected_value": pair.rejected.value,
                }
                for pair in preferred
            ]
    judged = {(row.index, row.listing_id): row.judge for row in store.read(JudgedRow)}
    judges = Counter(judged.values())
    if waiting := {(row.index, row.listing_id) for row in store.read(ListingRow)} - judged.keys():
        judges["none yet"] = len(waiting)
    values = card(
        inputs={**inputs, SHARE: share},
        asked=all_asked,
        judges=judges,
        targets=all_targets,
        target_flags=len({(row["index"], row["flag_id"]) for row in sft}),
        pairs=all_pairs,
        pair_flags=len({(row["index"], row["flag_id"]) for row in preferences}),
        dropped=dropped,
    )
    write_table(store.folder / "sft.parquet", sft)
    write_table(store.folder / "pairs.parquet", preferences)
    write_whole(store.folder / "card.json", json.dumps(values, indent=1, ensure_ascii=False).encode())
    write_whole(store.folder / "card.md", as_markdown(values).encode())
    return values


def _shared(flag: FlagRow, found: Found) -> dict[str, Any]:
    return {
        "index": flag.index,
        "flag_id": flag.flag_id,
        "campaign": found.campaigns[flag.flag_id],
        "kind": flag.kind,
        "locale": flag.locale,
        "title": flag.title,
        "description": flag.description,
        "known": flag.known,
    }
