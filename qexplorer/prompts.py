"""The prompt of a flag under its policy."""

from collections.abc import Sequence

from qexplorer.llm.engine import Prompt
from qexplorer.llm.prompt import PromptTemplate, load_template, render
from qexplorer.policies import Policy
from qexplorer.triage import Triage
from schemas import FlaggedListing


def prompt_of(
    flag: FlaggedListing, policy: Policy, normalised: str, *, most_text: int, triage: Triage | None
) -> Prompt:
    """Return the prompt: the listing fenced, personal data removed, cut to `most_text` characters.

    Spans of known flags near the `normalised` text come from the `triage`, where the policy's template wants any.
    """
    template = load_template(policy.prompt)
    listing = flag.listing
    return render(
        template,
        title=listing.title[:most_text],
        description=listing.description[:most_text],
        kind=flag.kind,
        locale=listing.locale,
        known=known_spans(template, normalised, triage, policy.id),
    )


def known_spans(template: PromptTemplate, normalised: str, triage: Triage | None, policy: str) -> Sequence[str]:
    """Return the spans of known flags that a template wants beside a normalised text; none without a triage."""
    if triage is None or not template.known_spans:
        return ()
    return triage.siblings(normalised, template.known_spans, policy)
