"""Every setting, port, path, topic, group and argument that the manifests name exists in the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin
from urllib.parse import urlsplit

import aiohttp
import pytest
import typer
from pydantic import BaseModel

from qexplorer.metrics import Metrics
from qexplorer.policies import load_policies
from qexplorer.settings import Settings, WorkerSettings, load_settings
from qexplorer.testing import ManualClock
from tests.k8s.manifests import K8S, OVERLAYS, ROOT, Document, config_file, documents, of_kind
from tests.k8s.test_manifests import ports, selected
from worker.__main__ import app
from worker.health import Pulse, health_server

# Read from the environment before there are settings.
OTHER_VARIABLES = {"QEXPLORER_CONFIG", "QEXPLORER_CACHE"}


def is_setting(name: str) -> bool:
    """Whether an environment variable stands for a field of the settings."""
    at: Any = Settings
    for part in name.removeprefix("QEXPLORER_").lower().split("__"):
        if get_origin(at) is dict:
            at = get_args(at)[1]
        elif isinstance(at, type) and issubclass(at, BaseModel) and part in at.model_fields:
            at = at.model_fields[part].annotation
        else:
            return False
    return True


def variables(folder: Path) -> set[str]:
    """Return the names of our environment variables in all files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and "access" not in path.parts]
    return {name for path in files for name in re.findall(r"QEXPLORER_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8"))}


def settings_of(overlay: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read an overlay's settings as the worker does, with the passwords that its Secret has."""
    monkeypatch.setenv("QEXPLORER_KAFKA__PASSWORD", "secret")
    return load_settings(config_file(overlay, "settings.yaml"))


def containers(kind: str = "Deployment") -> Iterator[Document]:
    for deployment in of_kind(kind, documents()):
        yield from deployment["spec"]["template"]["spec"]["containers"]


async def answers(*pages: str) -> dict[str, int]:
    """Return page → status, of a worker's health server."""
    async with (
        health_server(WorkerSettings(health_port=0), Pulse(1.0), Metrics(ManualClock())) as port,
        aiohttp.ClientSession() as http,
    ):
        found = {}
        for page in pages:
            async with http.get(f"http://127.0.0.1:{port}{page}") as answer:
                found[page] = answer.status
        return found


def options(*arguments: str) -> None:
    """Parse arguments as the worker's command line does, without running the command. Raises a click error."""
    group = typer.main.get_command(app)
    name, *rest = arguments
    command = group.commands[name]  # type: ignore[attr-defined]  # a group, since the app has several commands
    command.make_context(name, list(rest))


@pytest.mark.parametrize("folder", ["k8s", "docker"])
def test_variables_are_settings(folder: str) -> None:
    """A misspelt variable would be passed over in silence, so each is looked up."""
    found = variables(ROOT / folder)
    assert found
    assert not sorted(name for name in found - OTHER_VARIABLES if not is_setting(name))


def test_a_misspelt_variable_is_found() -> None:
    """The check itself tells right from wrong."""
    assert is_setting("QEXPLORER_ENGINES__DEFAULT__API_KEY")
    assert not is_setting("QEXPLORER_KAFKA__BROKER")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_and_policies_can_be_read(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an overlay mounts would start: the text of its policies may go where its engine is."""
    settings = settings_of(overlay, monkeypatch)
    policies = load_policies(config_file(overlay, "policies.yaml"))
    policies.for_engines(settings.engines)
    leaves = overlay == "vllm"
    assert {policy.text_may_leave for policy in policies.policies} == {leaves}
    assert settings.engines["default"].kind == ("openai" if leaves else "transformers")


def test_the_policies_are_those_of_the_package() -> None:
    """Who deploys the base as it is looks for the same as who runs the package."""
    without = {"text_may_leave"}
    packaged = [policy.model_dump(exclude=without) for policy in load_policies(None).policies]
    for overlay in OVERLAYS:
        mounted = load_policies(config_file(overlay, "policies.yaml")).policies
        assert [policy.model_dump(exclude=without) for policy in mounted] == packaged


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_those_of_the_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Container, service and network policy name the health port; traffic goes out where the settings point."""
    settings = settings_of(overlay, monkeypatch)
    assert settings.worker.health_host == "0.0.0.0"  # noqa: S104 - within the pod
    health = settings.worker.health_port
    (container,) = [one for one in containers() if one["name"] == "worker" and "ports" in one]
    assert container["ports"] == [{"name": "health", "containerPort": health}]
    (service,) = of_kind("Service", documents(K8S / "base"))
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(health, "health")]
    policies = [policy["spec"] for policy in of_kind("NetworkPolicy", documents()) if selected(policy) != "vllm"]
    assert {port for spec in policies for port in ports(spec.get("ingress", []))} == {health}
    urls = [settings.search.url, *(engine.base_url for engine in settings.engines.values() if engine.base_url)]
    needed = {int(broker.rpartition(":")[2]) for broker in settings.kafka.brokers.split(",")}
    needed |= {port for url in urls if (port := urlsplit(url).port)}
    here = [*documents(K8S / "base"), *documents(K8S / "overlays" / overlay)]
    opened = {
        port
        for policy in of_kind("NetworkPolicy", here)
        if selected(policy) != "vllm"
        for port in ports(policy["spec"].get("egress", []))
    }
    assert opened == needed | {53}


@pytest.mark.parametrize("overlay", ["vllm"])
def test_the_server_is_the_one_that_the_settings_name(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and port are the Service's, the model is the name under which it is served."""
    engine = settings_of(overlay, monkeypatch).engines["default"]
    resources = documents(K8S / "overlays" / overlay)
    (service,) = of_kind("Service", resources)
    url = urlsplit(engine.base_url)
    assert url.hostname == service["metadata"]["name"]
    assert [port["port"] for port in service["spec"]["ports"]] == [url.port]
    (vllm,) = [one for one in containers() if one["name"] == "vllm"]
    assert f"--served-model-name={engine.model}" in vllm["args"]
    assert f"--port={url.port}" in vllm["args"]


async def test_probes_and_scrapes_ask_for_pages_that_exist() -> None:
    """Each path is a page of the worker, each port one of the container's or service's names."""
    (container,) = [one for one in containers() if one["name"] == "worker" and "ports" in one]
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} <= {port["name"] for port in container["ports"]}
    (monitor,) = of_kind("ServiceMonitor", documents())
    (service,) = of_kind("Service", documents(K8S / "base"))
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    pages = await answers(endpoint["path"], *(probe["path"] for probe in probes))
    assert not [page for page, status in pages.items() if status == 404]


def test_arguments_are_those_of_the_command_line() -> None:
    """The container's arguments are a command that the worker has."""
    (container,) = [one for one in containers() if one["name"] == "worker" and "args" in one]
    options(*container["args"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_looks_where_the_worker_reads(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same brokers, group, topic and login as the settings."""
    kafka = settings_of(overlay, monkeypatch).kafka
    (scaled,) = of_kind("ScaledObject", documents(K8S / "components"))
    (trigger,) = scaled["spec"]["triggers"]
    asked = trigger["metadata"]
    assert (asked["bootstrapServers"], asked["consumerGroup"]) == (kafka.brokers, kafka.group)
    assert (asked["topic"],) == kafka.topics.flags
    assert asked["sasl"] == kafka.sasl_mechanism.lower().replace("-", "_").replace("sha_", "sha")
    assert (asked["tls"] == "enable") is kafka.security.endswith("SSL")
    (account,) = of_kind("TriggerAuthentication", documents(K8S / "components"))
    assert trigger["authenticationRef"]["name"] == account["metadata"]["name"]
    assert kafka.ca_file is not None
    assert kafka.ca_file.name in {one["key"] for one in account["spec"]["secretTargetRef"]}


@pytest.mark.parametrize("overlay", ["cpu"])
def test_the_model_has_as_many_threads_as_processors(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads beyond the pod's share spin and stall each other."""
    (container,) = [one for one in containers() if one["name"] == "worker" and "image" in one]
    asked = container["resources"]["requests"]["cpu"]
    assert settings_of(overlay, monkeypatch).engines["default"].threads == int(asked)
