"""Candidates: what could be searched for one flag, each with where it came from."""

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qexplorer.errors import ReplyError
from qexplorer.foresight import by_foresight
from qexplorer.grams import grams, rarity
from qexplorer.guard import refusal
from qexplorer.llm.engine import Generation, Reply
from qexplorer.llm.parse import parse_reply
from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise
from qexplorer.redact import Contact, contact_hash, contacts, redact
from qexplorer.search.backend import SearchKind
from qexplorer.triage import Triage
from schemas import Query, QuerySource

LEXICAL = 6
SIBLINGS = 30
SPAN_WORDS = 3
MOST_CONTACTS = 3
WHOLE_TEXT_LEAST = 4
VOTE_PLACE = 0.85
Weigh = Callable[[Sequence[str]], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A query with what is searched for it; `refused` says why the guard keeps it from being searched.

    `query` goes into records that people and logs see, so for a contact or a whole text it only says which
    it is, while `text` and `normalised` are what the search needs. `completion_tokens` is its share of the model's
    work: the tokens of the generation that proposed it first, over the queries in that.
    """

    query: Query
    kind: SearchKind
    text: str
    normalised: str
    refused: str = ""
    completion_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    text: str
    source: QuerySource
    score: float | None = None
    tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The candidates of one flag in the order in which they deserve a search, and the replies that failed."""

    candidates: tuple[Candidate, ...]
    unparseable: int


def propose(
    text: str,
    normalised: str,
    reply: Reply | None,
    *,
    contact_key: bytes,
    triage: Triage | None = None,
    policy: str = "",
) -> Proposal:
    """Return the guarded candidates of one listing.

    `text` is title and description as they are, `normalised` their normal form. Order: contacts first, for they
    are exact; then, where there is a triage, the model's queries, the text's own spans and spans of the nearest known
    flags by what they would find among known flags, and the whole text before the first that promises less than it;
    without one the whole text, the model's queries and the text's own.
    """
    queries, unparseable = _from_reply(reply) if reply else ([], 0)
    own = spans(redact(text), triage.weigh if triage is not None else None)
    near = triage.siblings(normalised, SIBLINGS, policy) if triage is not None else []
    queries += [_Said(text=span, source=QuerySource.LEXICAL) for span in (*own, *near)]
    if triage is not None and queries:
        order, weights = ranked([query.text for query in queries], triage, policy, normalised)
        queries = [replace(queries[place], score=weights[place]) for place in order]
    guarded = _guarded(queries)
    place = _place_of_whole(guarded, normalised, triage, policy)
    guarded[place:place] = _whole(text, normalised)
    return Proposal(candidates=(*_contact_candidates(text, contact_key), *guarded), unparseable=unparseable)


def _place_of_whole(candidates: Sequence[Candidate], normalised: str, triage: Triage | None, policy: str) -> int:
    """Return the place of the whole text: before the first query that promises less, or nothing.

    Without a triage it is the first: nothing says then that a query finds more, and a text always finds something.
    """
    if triage is None:
        return 0
    whole = triage.text_promise(normalised, policy)
    covered: frozenset[int] = frozenset()
    for place, candidate in enumerate(candidates):
        [seen] = triage.foresee([candidate.normalised], policy)
        gain = seen.gain(covered)
        if gain < whole or gain <= 0:
            return place
        covered |= seen.campaigns
    return len(candidates)


def ranked(queries: Sequence[str], triage: Triage, policy: str, listing: str) -> tuple[list[int], list[float]]:
    """Return the places of queries in the order in which they deserve a search, and the weight of a mean word of each.

    First those that add known campaigns of the policy to the ones before them, then the others by their weight, and
    last the guesses: what no known flag and no listing of the sample has, nor the normalised `listing` itself.
    """
    plain = [normalise(query) for query in queries]
    weights = _word_weights(plain, triage.weigh)
    foreseen = triage.foresee(plain, policy)
    own = set(terms(listing))
    guesses = [
        not each.flags and not each.others and not own.issuperset(terms(query))
        for each, query in zip(foreseen, plain, strict=True)
    ]
    return by_foresight(foreseen, weights, guesses), weights


def whole_text(text: str, normalised: str) -> Proposal:
    """Return a proposal of the whole text alone: what a plain text match would search."""
    return Proposal(candidates=tuple(_whole(text, normalised)), unparseable=0)


def spans(text: str, weigh: Weigh | None = None, most: int = LEXICAL) -> list[str]:
    """Return up to `most` short spans of a text, without common words at their ends and without overlap.

    With `weigh` (what its triage says) they are single words as well as longer spans, the highest weight of a mean word
    first; without it they have two words at least, the longest words first, for rare words are long.
    """
    found = grams(text, range(1 if weigh else 2, SPAN_WORDS + 1))
    texts = list(found)
    weights = _word_weights([normalise(span) for span in texts], weigh) if weigh else [rarity(span) for span in texts]
    ranked = sorted(range(len(texts)), key=lambda at: (-weights[at], at))
    chosen: list[str] = []
    taken: set[int] = set()
    for at in ranked:
        start, stop = found[texts[at]]
        places = set(range(start, stop)) if start >= 0 else set()
        if not places & taken and not any(texts[at] in other or other in texts[at] for other in chosen):
            chosen.append(texts[at])
            taken |= places
        if len(chosen) == most:
            break
    return chosen


def _word_weights(normalised: Sequence[str], weigh: Weigh) -> list[float]:
    """Return the weight of a mean word of each text: a sum over words would prefer what is long and finds little."""
    weights = weigh(normalised) if normalised else []
    return [weight / max(1, len(terms(text))) for weight, text in zip(weights, normalised, strict=True)]


def parse_all(reply: Reply) -> tuple[list[tuple[Generation, tuple[str, ...]]], int]:
    """Return the generations of a reply that can be read, each with its queries, and how many cannot."""
    parsed: list[tuple[Generation, tuple[str, ...]]] = []
    for generation in reply.generations:
        with contextlib.suppress(ReplyError):
            parsed.append((generation, parse_reply(generation.text, finished=generation.finished)))
    return parsed, len(reply.generations) - len(parsed)


def by_votes(generations: Sequence[Sequence[str]]) -> list[str]:
    """Return the queries of all n generations, those first that have most votes; equals stand by their first place.

    Samples agree on what the model is sure of, more often in words than in whole queries, so both count:

        votes(q) = Σ over generations that have q: 0.85^place  +  n · Π over words w of q: v(w) / n

    where v(w) is the same sum over the generations that have the word, each by the first place of it.
    """
    n = len(generations)
    votes: dict[str, float] = {}
    words: dict[str, float] = {}
    for queries in generations:
        said: set[str] = set()
        for place, query in enumerate(queries):
            votes[query] = votes.get(query, 0.0) + VOTE_PLACE**place
            for word in set(query.split()) - said:
                words[word] = words.get(word, 0.0) + VOTE_PLACE**place
                said.add(word)
    merits = {query: vote + n * math.prod(words[word] / n for word in query.split()) for query, vote in votes.items()}
    by_place = dict.fromkeys(query for row in itertools.zip_longest(*generations) for query in row if query is not None)
    return sorted(by_place, key=lambda query: -merits[query])


def _from_reply(reply: Reply) -> tuple[list[_Said], int]:
    """Return the queries of all generations, those with most votes first."""
    said: dict[str, _Said] = {}
    parsed, unparseable = parse_all(reply)
    for generation, queries in parsed:
        source, score = QuerySource(generation.source), _mean_logprob(generation)
        # A server that gives no log-probabilities counts the tokens of all generations together.
        tokens = len(generation.logprobs) or reply.completion_tokens / len(reply.generations)
        for query in queries:
            said.setdefault(query, _Said(text=query, source=source, score=score, tokens=tokens / len(queries)))
    return [said[query] for query in by_votes([queries for _, queries in parsed])], unparseable


def _mean_logprob(generation: Generation) -> float | None:
    logprobs = generation.logprobs
    return sum(logprobs) / len(logprobs) if logprobs else None


def _guarded(queries: Sequence[_Said]) -> list[Candidate]:
    accepted: list[frozenset[str]] = []
    seen: set[str] = set()
    candidates: list[Candidate] = []
    for said in queries:
        normalised = normalise(said.text)
        if normalised in seen:
            continue
        seen.add(normalised)
        reason = refusal(normalised, accepted)
        if not reason:
            accepted.append(frozenset(terms(normalised)))
        candidates.append(
            Candidate(
                query=_query(said.text, normalised, said.source, said.score),
                kind=SearchKind.WORDS,
                text=said.text,
                normalised=normalised,
                refused=reason,
                completion_tokens=said.tokens,
            )
        )
    return candidates


def _whole(text: str, normalised: str) -> list[Candidate]:
    if len(terms(normalised)) < WHOLE_TEXT_LEAST:
        return []
    query = _query("similar text", normalised, QuerySource.WHOLE_TEXT, None)
    return [Candidate(query=query, kind=SearchKind.WHOLE_TEXT, text=text, normalised=normalised)]


def _contact_candidates(text: str, key: bytes) -> list[Candidate]:
    if not key:
        return []
    found = dict.fromkeys(contacts(text))
    return [_contact(contact, key) for contact in itertools.islice(found, MOST_CONTACTS)]


def _contact(contact: Contact, key: bytes) -> Candidate:
    hashed = contact_hash(contact, key)
    query = _query(f"same {contact.kind}", hashed, QuerySource.CONTACT, None)
    return Candidate(query=query, kind=SearchKind.CONTACT, text=hashed, normalised=hashed)


def _query(text: str, normalised: str, source: QuerySource, score: float | None) -> Query:
    digest = hashlib.sha256(f"{source.value}\0{normalised}".encode()).hexdigest()[:24]
    shown = "" if source in {QuerySource.WHOLE_TEXT, QuerySource.CONTACT} else normalised
    return Query(id=digest, text=text, normalised=shown, source=source, score=score)
