"""Settings, one class a concern. They are read once, in wiring, and passed down.

Sources, the first wins: arguments, environment (`QEXPLORER_SEARCH__URL=…`), the YAML file that
`QEXPLORER_CONFIG` or `--config` names, the defaults below.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from qexplorer.errors import ConfigError
from qexplorer.llm.engine import EngineSettings


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML's last one would win, and what the first ones say be gone."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for at, key in enumerate(keys) if key in keys[:at]]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, name: str) -> Any:
    """Return what the YAML says. Raises ConfigError that names the file and the line, but not what it holds."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        # Its own text quotes the line, which may be that of a password.
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{name} is not YAML: {error.problem}{line}", remedy="Mend that line") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date that there is not
        raise ConfigError(f"{name} is not YAML: {error}", remedy="Mend what it names") from None


def read_text(path: Path, what: str, setting: str) -> str:
    """Return a file's text. Raises ConfigError that says `what` it is, and how it is named."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the {what} file {path} cannot be read: {error.strerror}", remedy=f"Give its path as {setting}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8", remedy="Save it as UTF-8") from None


Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A frozen group of settings that knows no other names than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IndexFields(Section):
    """Where an index keeps what QExplorer needs: dotted paths into `_source`; empty when it has none.

    `text` are the analysed fields that are searched; `normalised` and `contacts` are filled by
    `qexplorer index load` and are usually absent from a platform's own index.
    """

    id: str = "id"
    version: str = "version"
    title: str = "title"
    description: str = "description"
    text: tuple[str, ...] = ("title", "description")
    normalised: str = "normalised"
    contacts: str = "contacts"
    seller: str = "seller"
    locale: str = "locale"
    updated_at: str = "updated_at"


class IndexSettings(Section):
    """An index of listings: ours, or one that the platform already has."""

    fields: IndexFields = IndexFields()
    filters: tuple[dict[str, Any], ...] = ({"term": {"status": "active"}},)


# Made once: it is asked for with every search, and frozen.
_OUR_INDEX = IndexSettings()


def _address(url: str) -> str:
    # Addresses stand in errors and logs.
    if "@" in url.rsplit("://", maxsplit=1)[-1].split("/", maxsplit=1)[0]:
        raise ValueError("it holds a login; set user and password beside it")
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        known = bool(parts.hostname) and parts.scheme in {"", "http", "https"} and parts.port != 0
    except ValueError:  # of a port that is no number
        known = False
    if not known:
        raise ValueError("it is no address such as http://127.0.0.1:9200")
    return url


class SearchSettings(Section):
    """The OpenSearch cluster and how much of it may be used.

    `max_qps` is the fleet's allowance in searches a second; each replica takes its share by partitions.
    `slow_ms` is the `took` of a search above which the allowance is halved, as it is on 429.
    """

    url: Annotated[str, AfterValidator(_address)] = "http://127.0.0.1:9200"
    user: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    verify: bool = True
    timeout_s: Seconds = 10.0
    max_per_seed: Positive = 12
    max_qps: Annotated[float, Field(gt=0)] = 200.0
    slow_ms: Positive = 1000
    hits: Annotated[int, Field(gt=0, le=1000)] = 60
    max_share: Share = 0.02
    min_share_hits: Positive = 500
    indices: dict[str, IndexSettings] = Field(default_factory=dict)
    discoveries: str = "qexplorer-discoveries"
    bank: str = "qexplorer-queries"

    def index(self, name: str) -> IndexSettings:
        """Return the settings of an index; one that is not named here is taken for one of ours."""
        return self.indices.get(name, _OUR_INDEX)


class ExploreSettings(Section):
    """How candidates become suspects.

    `near_duplicate` is the token Jaccard above which two listings count as one; `few_hits` is the number
    of new hits below which a further page is read, `pages` how many at most; `bank_interval_s` is how long
    a query rests before it runs again over what is new; `overlap_s` is how far back such a run reaches
    beyond the last one, for listings that were still on their way into the index.
    `generate_timeout_s` is how long a worker's model may take for a batch; on files nobody waits.
    """

    near_duplicate: Share = 0.7
    few_hits: Annotated[int, Field(ge=0)] = 5
    pages: Annotated[int, Field(ge=0, le=2)] = 2
    bank_interval_s: Seconds = 3600.0
    overlap_s: Seconds = 120.0
    claim_timeout_s: Seconds = 600.0
    max_depth: Positive = 3
    generate_timeout_s: Seconds = 120.0
    contact_key: SecretStr = SecretStr("")
    max_text: Positive = 20_000


def _names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return json.loads(value) if value.startswith("[") else tuple(name.strip() for name in value.split(","))


class Topics(Section):
    """The names of the topics.

    `flags` may be several, with commas or as a list, the most urgent first: a flood in one delays none before it.
    """

    flags: Annotated[tuple[str, ...], NoDecode, Field(min_length=1), BeforeValidator(_names)] = ("flagged-listings",)
    suspects: str = "suspect-items"
    audit: str = "query-audit"
    dead_letters: str = "flagged-listings-dead-letters"
    control: str = "qexplorer-control"


class KafkaSettings(Section):
    """The Kafka cluster."""

    brokers: str = "127.0.0.1:9092"
    group: str = "qexplorer"
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    topics: Topics = Topics()

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if self.security.startswith("SASL") and not (self.user and self.password.get_secret_value()):
            raise ValueError("kafka.user and kafka.password are needed with SASL")
        return self


class WorkerSettings(Section):
    """One worker process.

    A micro-batch closes at `batch_size` flags or `batch_wait_s` after its first. `event_map` maps a
    platform's own event to a flag: our field → dotted path in the event, or `=text` for a constant.
    The fleet pauses, until `python -m worker resume`, after `dead_letters_in_a_row`, or when of the last 200 messages
    more than `dead_letter_share` were set aside: a bad deployment must not drain the topic into the dead letters.
    """

    batch_size: Annotated[int, Field(gt=0, le=512)] = 16
    batch_wait_s: Seconds = 0.2
    drain_timeout_s: Seconds = 30.0
    heartbeat_timeout_s: Seconds = 30.0
    max_message_bytes: Positive = 1_048_576
    dead_letters_in_a_row: Positive = 50
    dead_letter_share: Share = 0.5
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    dry_run_topic: str = ""
    run_id: str = "production"
    arm: str = ""
    event_map: dict[str, str] = Field(default_factory=dict)


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="QEXPLORER_", env_nested_delimiter="__")

    search: SearchSettings = SearchSettings()
    kafka: KafkaSettings = KafkaSettings()
    explore: ExploreSettings = ExploreSettings()
    worker: WorkerSettings = WorkerSettings()
    engines: dict[str, EngineSettings] = Field(default_factory=lambda: {"default": EngineSettings(adapter="packaged")})
    policies: Path | None = None
    triage: Path | None = None
    models: Path | None = None
    """A registry (`qexplorer models`): its current version stands for the default engine, and is followed."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the YAML file behind arguments and environment. Raises ConfigError where it holds no settings."""
        del dotenv_settings, file_secret_settings
        config = os.environ.get("QEXPLORER_CONFIG")
        files = (InitSettingsSource(settings_cls, _read_file(Path(config))),) if config else ()
        return (init_settings, env_settings, *files)


def _read_file(path: Path) -> dict[str, Any]:
    value = parse_yaml(read_text(path, "settings", "--config or QEXPLORER_CONFIG"), str(path)) or {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{path} holds no settings by name", remedy="Write them as in README.md: `search:` and so on")
    return value


def _refuse_slips(names: Iterable[str]) -> None:
    """Raise ConfigError for a variable that is meant for a setting and would be passed over."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    meant = {
        f"QEXPLORER_{section}_{name}".upper(): f"QEXPLORER_{section}__{name}".upper()
        for section, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, Section)
        for name in kind.model_fields
    }
    for name in map(str.upper, names):
        section = name.removeprefix("QEXPLORER_").partition("__")[0].lower()
        if name in meant:
            raise ConfigError(f"the variable {name} names no setting", remedy=f"Write it {meant[name]}")
        if name.startswith("QEXPLORER_") and "__" in name and section not in sections:
            raise ConfigError(f"the variable {name} names no setting", remedy=f"There are {', '.join(sections)}")


@contextmanager
def _config_file(config: Path | None) -> Iterator[None]:
    before = os.environ.get("QEXPLORER_CONFIG")
    if config is not None:
        os.environ["QEXPLORER_CONFIG"] = str(config)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("QEXPLORER_CONFIG", None)
        else:
            os.environ["QEXPLORER_CONFIG"] = before


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings.

    Raises ConfigError that names the file or the field. Values are left out of the message, since some are
    secrets.
    """
    _refuse_slips(os.environ)
    named = config or (Path(path) if (path := os.environ.get("QEXPLORER_CONFIG")) else None)
    if named is not None and not named.is_file():
        raise ConfigError(f"the settings file {named} does not exist", remedy="Give the path of a YAML file")
    try:
        with _config_file(config):
            return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"the setting {where} is wrong: {first['msg']}",
            remedy=f"Mend it in {named or 'the QEXPLORER_… environment variables'}",
        ) from None
    except SettingsError as error:
        raise ConfigError(str(error), remedy="Lists and maps in QEXPLORER_… variables are JSON") from None
