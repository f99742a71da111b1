"""The prompt of a flag under its policy."""

from qexplorer.llm.engine import Prompt
from qexplorer.llm.prompt import load_template, render
from qexplorer.policies import Policy
from schemas import FlaggedListing


def prompt_of(flag: FlaggedListing, policy: Policy, *, most_text: int) -> Prompt:
    """Return the prompt: the listing fenced, personal data removed, cut to `most_text` characters."""
    return render(
        load_template(policy.prompt),
        title=flag.listing.title[:most_text],
        description=flag.listing.description[:most_text],
        kind=flag.kind,
        locale=flag.listing.locale,
    )
