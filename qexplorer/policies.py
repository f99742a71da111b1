"""Policies: what is looked for, where, and how far the system may go."""

from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from qexplorer.errors import ConfigError
from qexplorer.llm.adapters import resolve_adapter, trained_with
from qexplorer.llm.engine import EngineSettings, leaves_machine
from qexplorer.llm.prompt import load_template
from qexplorer.settings import Section, parse_yaml, read_text

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_-]*$")]


def _with_unit(value: Any) -> Any:
    if isinstance(value, (int, float)):
        # Pydantic would take it for seconds, and nearly every flag for too old.
        raise ValueError(f"has no unit: write P{value}D for days, PT{value}H for hours")  # noqa: TRY004 - pydantic's way
    return value


class Policy(Section):
    """One policy.

    `kinds` are the kinds of flags it takes (`drugs/*` takes all below drugs); `candidates` is how many
    replies are sampled beside the greedy one; the prompt `auto` is that
    which the adapter was trained with, else the default one; `triage_threshold` is the least probability with which an
    item is shown; `cap_per_seed` bounds how many suspects one flag may publish, `cap_per_hour` how many the whole fleet
    may publish for the policy in an hour: what is above it waits, and the best of it comes first; a flag older than
    `max_flag_age` is not explored; `text_may_leave` allows an engine on another machine; `priority` 1 is
    the most urgent, and stands on each suspect for those who review.
    """

    id: Name
    kinds: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("*",)
    prompt: str = "auto"
    engine: str = "default"
    adapter: str = ""
    index: Annotated[str, Field(min_length=1)] = "listings"
    locales: tuple[str, ...] = ()
    priority: Annotated[int, Field(ge=1, le=9)] = 5
    candidates: Annotated[int, Field(ge=0, le=32)] = 4
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    triage_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    cap_per_seed: Annotated[int, Field(gt=0)] = 20
    cap_per_hour: Annotated[int, Field(gt=0)] | None = None
    max_flag_age: Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_with_unit)] = timedelta(days=30)
    text_may_leave: bool = False

    def require_may_read(self, engine: EngineSettings) -> None:
        """Raise ConfigError where the engine is on another machine and the policy's text may not leave this one."""
        if leaves_machine(engine) and not self.text_may_leave:
            raise ConfigError(
                f"policy {self.id} would send text to {engine.base_url}, but text_may_leave is false",
                remedy="Use an engine on this machine, or set text_may_leave: true",
            )


class Policies(Section):
    """All policies of an installation."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    policies: Annotated[tuple[Policy, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [policy.id for policy in self.policies]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"two policies have the id {twice[0]}")
        return self

    def find(self, policy: str, kind: str) -> Policy | None:
        """Return the policy of that id when it takes that kind, else None."""
        for found in self.policies:
            if found.id == policy and any(fnmatchcase(kind, pattern) for pattern in found.kinds):
                return found
        return None

    def of_kind(self, kind: str) -> str:
        """Return the id of the first policy that takes the kind; empty when none does."""
        takers = (p.id for p in self.policies if any(fnmatchcase(kind, pattern) for pattern in p.kinds))
        return next(takers, "")

    def for_engines(self, engines: dict[str, EngineSettings]) -> "Policies":
        """Return the policies with the prompts that `auto` stands for.

        Raises ConfigError when a policy names no known engine, one that its text may not go to, or another prompt than
        its adapter was trained with; ModelError when there is no such adapter.
        """
        for policy in self.policies:
            engine = engines.get(policy.engine)
            if engine is None:
                raise ConfigError(
                    f"policy {policy.id} names the engine {policy.engine}, which the settings do not have",
                    remedy=f"Use one of: {', '.join(sorted(engines))}; or add it under engines",
                )
            policy.require_may_read(engine)
        whole = [
            policy.model_copy(update={"prompt": _prompt(policy, engines[policy.engine])}) for policy in self.policies
        ]
        return self.model_copy(update={"policies": tuple(whole)})


def _prompt(policy: Policy, engine: EngineSettings) -> str:
    """Return the prompt that a policy's adapter was trained with, and refuse another: it would answer, but badly."""
    adapter = resolve_adapter(policy.adapter or engine.adapter) if engine.kind == "transformers" else None
    wanted = trained_with(adapter).get("prompt", "") if adapter else ""
    name = policy.prompt
    if name == "auto":
        name = wanted.partition("@")[0] or "default"
    found = load_template(name).version
    if wanted and wanted != found:
        raise ConfigError(
            f"policy {policy.id} uses the prompt {found}, but its adapter was trained with {wanted}",
            remedy="Leave its prompt out, or use that one",
        )
    return name


def parse_policies(text: str, name: str = "policies.yaml") -> Policies:
    """Read policies from YAML. Raises ConfigError that names the file and the field."""
    value = parse_yaml(text, name)
    try:
        return Policies.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise ConfigError(f"{name}: {where}: {first['msg']}", remedy="Mend that field") from None


def load_policies(path: Path | None) -> Policies:
    """Read the policies file, or the policies that come with the package when `path` is None."""
    path = path or Path(__file__).with_name("policies.yaml")
    return parse_policies(read_text(path, "policies", "`policies`"), str(path))
