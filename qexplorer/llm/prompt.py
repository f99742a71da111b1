"""Prompt templates as data, and the one place where a listing's text becomes part of a prompt."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qexplorer.errors import ConfigError
from qexplorer.llm.engine import Prompt
from qexplorer.redact import redact

_CHARS_PER_TOKEN = 8
MOST_KNOWN = 12
_DANGEROUS = str.maketrans(dict.fromkeys("<>|[]{}`\\", " "))
# What the general way of `safe_text` does to ASCII text, as one table.
_ASCII = str.maketrans(
    {chr(code): " " if chr(code).isspace() else None for code in (*range(32), 127)} | dict.fromkeys("<>|[]{}`\\", " ")
)
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


class Example(BaseModel):
    """A listing and the reply that it should get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listing: str
    reply: str


class PromptTemplate(BaseModel):
    """A prompt template: an instruction with the slots {kind} and {locale}, and examples that come as earlier turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    instruction: Annotated[str, Field(min_length=1)]
    examples: tuple[Example, ...] = ()
    fence_open: str = "<listing>"
    fence_close: str = "</listing>"
    max_listing_tokens: Annotated[int, Field(ge=16, le=4096)] = 160
    known_spans: Annotated[int, Field(ge=0, le=MOST_KNOWN)] = 0

    @model_validator(mode="after")
    def _fences_hold(self) -> Self:
        """Refuse fences that a listing could write: `render` takes angle brackets out of every listing."""
        for fence in (self.fence_open, self.fence_close):
            if not re.fullmatch(r"</?[a-z_]+>", fence) or fence in {"<phone>", "<email>", "<handle>"}:
                raise ValueError(f"the fence {fence!r} is not of the form <name> or </name>, or is a placeholder")
        return self

    @cached_property
    def version(self) -> str:
        """Name the template by its id and 12 hex digits of its content's hash."""
        unused = {"known_spans"} if not self.known_spans else set()
        digest = hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()
        return f"{self.id}@{digest[:12]}"

    @cached_property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """The examples as they are sent: the same for every prompt, so made once."""
        return tuple((_fenced(self, safe_text(each.listing)), each.reply) for each in self.examples)


@cache
def load_template(name: str = "default") -> PromptTemplate:
    """Load a shipped template by its name, or one of your own by the path of its YAML file.

    `auto` is the default one; a policy whose adapter wants another has it filled in by `Policies.for_engines`.

    Raises ConfigError when there is none, or when it is not a template.
    """
    name = "default" if name == "auto" else name
    source = (
        Path(name) if name.endswith((".yaml", ".yml")) else resources.files("qexplorer.llm") / f"prompts/{name}.yaml"
    )
    try:
        return PromptTemplate.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"There is no prompt template {name!r}",
            remedy="Name one in qexplorer/llm/prompts, or give the path of a YAML file",
        ) from error
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"{name} is not a prompt template: {error}", remedy="Compare it with the default one"
        ) from error


def render(
    template: PromptTemplate, *, title: str, description: str, kind: str, locale: str, known: Sequence[str] = ()
) -> Prompt:
    """Make the prompt of one listing: redacted, in one line, with nothing that could end the fence or the chat turn.

    Of `known`, spans of known flags, as many as the template wants stand before it, behind them a bar.
    """
    limit = template.max_listing_tokens * _CHARS_PER_TOKEN
    listing = safe_text(f"{title[:limit]}\n{description[:limit]}")[:limit]
    if template.known_spans:
        listing = f"{'; '.join(safe_text(span) for span in known[: template.known_spans])} | {listing}"
    known_locale = locale if _LOCALE.fullmatch(locale) else "unknown"
    return Prompt(
        instruction=_instruction(template.instruction, kind, known_locale),
        examples=template.turns,
        listing=_fenced(template, listing),
        max_listing_tokens=template.max_listing_tokens,
    )


@lru_cache(maxsize=256)
def _instruction(template: str, kind: str, locale: str) -> str:
    return template.replace("{kind}", safe_text(kind)[:64] or "unknown").replace("{locale}", locale)


def safe_text(text: str) -> str:
    """Fold (NFKC), drop invisible and control characters, brackets and bars, redact, and collapse white space.

    No chat token or fence can be left: all that are known need one of the characters that are taken out. The
    only angle brackets in the result are those of the placeholders <phone>, <email> and <handle>.
    """
    plain = text.translate(_ASCII) if text.isascii() else _visible(text)
    return " ".join(redact(plain).split())


def _visible(text: str) -> str:
    """Fold text of any script, and take out what is not seen and what is dangerous."""
    return "".join(map(_seen, unicodedata.normalize("NFKC", text))).translate(_DANGEROUS)


@lru_cache(maxsize=8192)
def _seen(char: str) -> str:
    if char.isspace():
        return " "
    return "" if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn"} else char


def _fenced(template: PromptTemplate, line: str) -> str:
    return f"{template.fence_open}\n{line}\n{template.fence_close}"
