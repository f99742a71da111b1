"""Alerts and dashboard name metrics that the worker has, in PromQL that parses."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from qexplorer.metrics import Metrics
from qexplorer.testing import ManualClock
from tests.k8s.manifests import K8S, ROOT, documents, load, of_kind

# The contract with the runbook.
ALERTS = {
    "QExplorerDown",
    "QExplorerLagGrowing",
    "QExplorerPaused",
    "QExplorerTripped",
    "QExplorerWaiting",
    "QExplorerDeadLetters",
    "QExplorerInferenceRestarts",
    "QExplorerReloadRefused",
    "QExplorerUnparseableReplies",
    "QExplorerNoSuspects",
    "QExplorerSearchThrottled",
    "QExplorerHeldSuspects",
}
# What Prometheus itself adds to every series.
SCRAPED = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    (rule,) = of_kind("PrometheusRule", documents())
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield (where, PromQL) of alerts and panels."""
    for alert in rules():
        yield alert["alert"], alert["expr"]
    dashboard = json.loads((K8S / "components/monitoring/dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def labels() -> dict[str, set[str]]:
    """Return series → its labels, of everything that the worker can expose."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    metrics: list[Any] = list(Metrics(ManualClock()).registry._collector_to_names)
    return {m._name + ending: set(m._labelnames) for m in metrics for ending in endings[m._type]}


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*pair, id=pair[0]) for pair in expressions()])
def test_every_series_and_label_exists(where: str, expression: str) -> None:
    """A misspelt metric is no error for Prometheus: the alert would never fire."""
    known = labels()
    series = set(re.findall(r"\bqexplorer_[a-z_]+", expression))
    assert series <= set(known), where
    assert series or "up{" in expression
    allowed = SCRAPED | {label for name in series for label in known[name]}
    grouped = {
        name.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for name in group.split(",")
    }
    matched = set(re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)", expression))
    assert grouped | matched <= allowed, where


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*pair, id=pair[0]) for pair in expressions()])
def test_every_expression_is_promql(where: str, expression: str) -> None:
    """Prometheus' own grammar takes it; one bad rule keeps the whole file from loading."""
    parser = pytest.importorskip("promql_parser", reason="the package promql-parser is not installed")
    assert parser.parse(expression) is not None, where


def test_the_alerts_are_those_of_the_runbook() -> None:
    """Each has a severity, says what is the matter, and links to its paragraph."""
    found = rules()
    assert sorted(alert["alert"] for alert in found) == sorted(ALERTS)
    for alert in found:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert annotations["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_templates_name_labels_that_the_alert_keeps() -> None:
    """A label that the expression has summed away would leave a hole in the message."""
    for alert in rules():
        text = " ".join(alert["annotations"].values())
        kept = {name.strip() for group in re.findall(r"\bby \(([^)]*)\)", alert["expr"]) for name in group.split(",")}
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= kept, alert["alert"]


def test_an_annotation_in_plain_yaml_is_a_string() -> None:
    """A brace at the start of a plain scalar would make a mapping of it."""
    for alert in rules():
        assert all(isinstance(text, str) for text in alert["annotations"].values())


def test_the_job_is_the_one_that_is_scraped() -> None:
    """The Service's name is the job, here and in the compose file's scrape configuration."""
    (service,) = of_kind("Service", documents(K8S / "base"))
    jobs = {job for _, expression in expressions() for job in re.findall(r'job="([^"]+)"', expression)}
    assert jobs == {service["metadata"]["name"]}
    scraped = load(ROOT / "docker/prometheus.yaml")["scrape_configs"]
    assert {config["job_name"] for config in scraped} == jobs
