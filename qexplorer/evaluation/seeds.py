"""What a method may know: the seed's own text, the known flags, the triage. No label of the judged index is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise
from qexplorer.policies import Policies, load_policies
from qexplorer.triage import Triage
from schemas import Listing


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A flagged listing as a method sees it: its text, kind and locale."""

    title: str
    description: str
    kind: str
    locale: str

    @classmethod
    def of(cls, listing: Listing, kind: str) -> "Seed":
        """Return what a listing shows to a method."""
        return cls(title=listing.title, description=listing.description, kind=kind, locale=listing.locale)

    @cached_property
    def policy(self) -> str:
        """The policy that takes its kind, of those that come with the project."""
        return _policies().of_kind(self.kind)

    @cached_property
    def text(self) -> str:
        """Title and description as one text."""
        return f"{self.title}\n{self.description}".strip()

    @cached_property
    def normalised(self) -> str:
        """The text in normal form."""
        return normalise(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """The distinct words of the normal form."""
        return frozenset(terms(self.normalised))


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What is known before the first seed: flags of the training part (as seeds) and a triage trained on them.

    `sample` are the normalised texts of random listings of the judged index, of which nothing is known.
    """

    flags: tuple[Seed, ...]
    triage: Triage | None
    sample: tuple[str, ...] = ()

    def weigh(self, queries: Sequence[str]) -> list[float] | None:
        """Return what triage says of each query's words; None without a triage."""
        if self.triage is None:
            return None
        return self.triage.weigh([normalise(query) for query in queries])


@cache
def _policies() -> Policies:
    """Read them once: a corpus has tens of thousands of known flags."""
    return load_policies(None)
