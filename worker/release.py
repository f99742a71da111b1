"""What answers flags at a time: policies, engines and triage together, and their replacement without a restart."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from qexplorer.explore import Explorer
from qexplorer.llm.engine import EngineSettings
from qexplorer.policies import Policies, Policy, load_policies
from qexplorer.registry import CURRENT, Registry
from qexplorer.settings import Settings
from qexplorer.triage import Triage, open_triage

log = structlog.get_logger()

# The engine that a version of the registry stands for.
ENGINE = "default"
Explorers = Callable[[Triage | None], Explorer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One state of everything that can change while a worker runs; a batch keeps the one it began with.

    `name` is the registry's version, or empty without a registry; `policies_hash` tells two policy files apart.
    """

    name: str
    policies: Policies
    policies_hash: str
    engines: Mapping[str, EngineSettings]
    explorer: Explorer
    triage: str = ""

    def engine(self, policy: Policy) -> EngineSettings:
        """Return the engine of a policy, with the policy's own adapter where it has one."""
        engine = self.engines[policy.engine]
        return engine.model_copy(update={"adapter": policy.adapter}) if policy.adapter else engine

    @property
    def used(self) -> list[EngineSettings]:
        """The engines that its policies use, each once."""
        return list(dict.fromkeys(self.engine(policy) for policy in self.policies.policies))

    @property
    def indices(self) -> list[str]:
        """The indices of listings that its policies search."""
        return sorted({policy.index for policy in self.policies.policies})


class Releases:
    """Reads the policies file and the registry's current version, and tells when one of them has changed."""

    def __init__(self, settings: Settings, explorers: Explorers, prompt: str = "") -> None:
        """Watch the files that the settings name; `prompt` takes the place of the current version's."""
        self._settings = settings
        self._prompt = prompt
        self._explorers = explorers
        self._read: tuple[bytes, bytes] | None = None
        self._seen = self._contents()

    def changed(self) -> bool:
        """Whether a file differs from what was last settled."""
        self._seen = self._contents()
        return self._seen != self._read

    def settle(self) -> None:
        """Let what `changed` has seen be the state to compare with: it was taken, or refused for good."""
        self._read = self._seen

    def read(self) -> Release:
        """Return the release that the files describe.

        Raises ConfigError, ModelError or StorageError when they describe none that can work.
        """
        settings = self._settings
        engines, triage, name, prompt = dict(settings.engines), settings.triage, "", ""
        if settings.models is not None:
            registry = Registry(settings.models)
            if current := registry.history().current:
                version = registry.read(current)
                name, prompt = version.name, version.prompt
                adapter = str(registry.path(version, version.adapter)) if version.adapter else ""
                engines[ENGINE] = engines[ENGINE].model_copy(update={"model": version.model, "adapter": adapter})
                triage = registry.path(version, version.triage) if version.triage else triage
        policies = _prompted(load_policies(settings.policies), self._prompt or prompt).for_engines(engines)
        opened = open_triage(triage)
        return Release(
            name=name,
            policies=policies,
            policies_hash=hashlib.sha256(policies.model_dump_json().encode()).hexdigest()[:12],
            engines=engines,
            explorer=self._explorers(opened),
            triage=opened.version if opened is not None else "",
        )

    def _contents(self) -> tuple[bytes, bytes]:
        models = self._settings.models
        return _content(self._settings.policies), _content(models / CURRENT if models else None)


def _content(path: Path | None) -> bytes:
    """Return a file's content: a mounted volume may swap a link without a newer time on the file."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""


def _prompted(policies: Policies, prompt: str) -> Policies:
    """Return the policies with the version's prompt wherever its engine is used and no other prompt is named."""
    if not prompt:
        return policies
    changed: Sequence[Policy] = [
        policy.model_copy(update={"prompt": prompt}) if policy.engine == ENGINE and policy.prompt == "auto" else policy
        for policy in policies.policies
    ]
    return policies.model_copy(update={"policies": tuple(changed)})
