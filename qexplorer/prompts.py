"""The prompt of a flag under its policy."""

from collections.abc import Sequence

from qexplorer.llm.engine import Prompt
from qexplorer.llm.prompt import PromptTemplate, load_template, render
from qexplorer.normalise import normalise
from qexplorer.policies import Policy
from qexplorer.triage import Triage
from schemas import FlaggedListing


def prompt_of(flag: FlaggedListing, policy: Policy, *, most_text: int, triage: Triage | None) -> Prompt:
    """Return the prompt: the listing fenced, personal data removed, cut to `most_text` characters."""
    template = load_template(policy.prompt)
    return render(
        template,
        title=flag.listing.title[:most_text],
        description=flag.listing.description[:most_text],
        kind=flag.kind,
        locale=flag.listing.locale,
        known=known_spans(template, normalise(flag.listing.text[:most_text]), triage, policy.id),
    )


def known_spans(template: PromptTemplate, normalised: str, triage: Triage | None, policy: str) -> Sequence[str]:
    """Return the spans of known flags that a template wants beside a normalised text; none without a triage."""
    if triage is None or not template.known_spans:
        return ()
    return triage.siblings(normalised, template.known_spans, policy)
