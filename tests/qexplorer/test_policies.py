"""The policies file."""

import json
from pathlib import Path

import pytest

from qexplorer.errors import ConfigError
from qexplorer.llm.engine import EngineSettings
from qexplorer.llm.prompt import load_template
from qexplorer.policies import load_policies, parse_policies

ONE = "version: 1\npolicies:\n  - {id: drugs, kinds: [drugs, 'drugs/*']}\n"


def test_the_packaged_policies_are_valid() -> None:
    """They cover the kinds that the project names."""
    policies = load_policies(None)
    for kind in ("drugs", "weapons", "counterfeit", "wildlife", "scam", "escort"):
        assert policies.of_kind(kind) == kind


def test_a_flag_needs_its_policy_to_take_its_kind() -> None:
    """A pattern takes all below it; another kind is nobody's."""
    policies = parse_policies(ONE)
    assert policies.find("drugs", "drugs/edibles") is not None
    assert policies.find("drugs", "weapons") is None
    assert policies.find("other", "drugs") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("policies: [", "is not YAML", id="not YAML"),
        pytest.param("", "valid dictionary", id="empty"),
        pytest.param("policies: []", "policies: Tuple should have at least 1", id="none"),
        pytest.param("policies: [{id: A b}]", "policies.0.id", id="a bad id"),
        pytest.param("policies: [{id: a, treshold: 1}]", "policies.0.treshold", id="a typo"),
        pytest.param("policies: [{id: a, triage_threshold: 2}]", "policies.0.triage_threshold", id="out of range"),
        pytest.param("policies: [{id: a}, {id: a}]", "two policies have the id a", id="twice"),
    ],
)
def test_a_bad_file_names_the_field(text: str, says: str) -> None:
    """The error says file, field and cause."""
    with pytest.raises(ConfigError, match=r"policies\.yaml") as caught:
        parse_policies(text)
    assert says in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Its path stands in the error."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_policies(tmp_path / "nowhere.yaml")


def test_text_does_not_leave_the_machine_unasked() -> None:
    """An engine elsewhere needs `text_may_leave`; one on this machine does not."""
    remote = {"default": EngineSettings(kind="openai", base_url="https://llm.example.com/v1")}
    with pytest.raises(ConfigError, match=r"would send text to https://llm\.example\.com"):
        parse_policies(ONE).for_engines(remote)
    parse_policies(ONE.replace("id: drugs,", "id: drugs, text_may_leave: true,")).for_engines(remote)
    local = {"default": EngineSettings(kind="openai", base_url="http://127.0.0.1:8000/v1")}
    parse_policies(ONE).for_engines(local)


def test_an_engine_that_is_not_there_is_named() -> None:
    """The remedy lists those that are."""
    with pytest.raises(ConfigError, match="Use one of: other"):
        parse_policies(ONE).for_engines({"other": EngineSettings(kind="scripted")})


def test_a_policy_has_the_prompt_that_its_adapter_was_trained_with(tmp_path: Path) -> None:
    """Left out it is filled in; another one is refused, for the model would answer badly without a word."""
    (tmp_path / "adapter_config.json").write_text("{}")
    version = load_template("short").version
    (tmp_path / "training.json").write_text(json.dumps({"prompt": version, "base": "b@1"}))
    engines = {"default": EngineSettings(adapter=str(tmp_path))}
    assert parse_policies(ONE).for_engines(engines).policies[0].prompt == "short"
    assert parse_policies(ONE).for_engines({"default": EngineSettings()}).policies[0].prompt == "default"
    with pytest.raises(ConfigError, match=f"its adapter was trained with {version}"):
        parse_policies(ONE.replace("id: drugs,", "id: drugs, prompt: default,")).for_engines(engines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policies: [{id: drugs}]\npolicies: [{id: weapons}]", "policies stands twice"),
        ("policies: [{id: drugs, cap_per_hour: 5, cap_per_hour: 500}]", "cap_per_hour stands twice"),
        ("policies: [{id: drugs, max_flag_age: 30}]", "write P30D for days"),
        ("policies: [{id: drugs, max_flag_age: -P1D}]", "max_flag_age"),
        ("policies: [{id: drugs, max_flag_age: PT0S}]", "max_flag_age"),
        ("policies: [{id: drugs, kinds: []}]", "kinds"),
        ("policies: [{id: drugs, index: ''}]", "index"),
    ],
)
def test_what_can_only_be_a_slip_is_refused(text: str, says: str) -> None:
    """Taken as it stands it would cost flags without a word: a policy that is gone, an age in seconds, no kind."""
    with pytest.raises(ConfigError, match=says):
        parse_policies(text)
