"""The compose file names services, files, settings and commands that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from qexplorer.cli.app import app as qexplorer_app
from qexplorer.settings import Settings
from tests.k8s.manifests import K8S, documents, load, of_kind
from tests.k8s.test_names import answers, is_setting, options

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = load(DOCKER / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("qexplorer-worker")]


def qexplorer(*arguments: str) -> None:
    """Parse arguments as `qexplorer` does, without running the command. Raises a click error."""
    command: Any = typer.main.get_command(qexplorer_app)
    rest = list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("qexplorer", rest)


def test_images_are_pinned() -> None:
    """Another day brings the same versions."""
    for name, service in SERVICES.items():
        _, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), name


def test_what_is_waited_for_is_there() -> None:
    """Dependencies are services; one that must be healthy has a health check, one that must end is no server."""
    for service in SERVICES.values():
        needs = service.get("depends_on", {})
        conditions = needs if isinstance(needs, dict) else {name: {} for name in needs}
        assert set(conditions) <= set(SERVICES)
        for needed, how in conditions.items():
            if how.get("condition") == "service_healthy":
                assert SERVICES[needed]["healthcheck"]["test"]
            if how.get("condition") == "service_completed_successfully":
                assert "restart" not in SERVICES[needed]


def test_mounted_files_are_there() -> None:
    """A missing file would be mounted as an empty folder."""
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert mounted
    for volume in mounted:
        assert (DOCKER / volume.split(":")[0]).is_file(), volume
    for service in SERVICES.values():
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_ports_are_open_to_this_machine_alone() -> None:
    """Neither Kafka nor OpenSearch has a login here."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_set_up_as_the_settings_want(name: str) -> None:
    """Their variables are settings, and name the services beside them."""
    environment = SERVICES[name]["environment"]
    assert all(is_setting(variable) for variable in environment)
    host, _, port = environment["QEXPLORER_KAFKA__BROKERS"].partition(":")
    assert f"//{host}:{port}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert environment["QEXPLORER_SEARCH__URL"].split("/")[2].split(":")[0] in SERVICES


def test_commands_are_those_of_the_command_lines() -> None:
    """Each service's arguments are parsed by the very command line that will get them."""
    for name in OURS:
        service = SERVICES[name]
        if "entrypoint" not in service:
            options(*service["command"])
            continue
        assert service["entrypoint"] == ["sh", "-c"]
        for command in service["command"][0].split("&&"):
            program, *rest = shlex.split(command)
            assert program == "qexplorer"
            qexplorer(*rest)


def test_the_worker_has_time_to_drain() -> None:
    """As in Kubernetes: half a minute longer than it waits for the work in hand."""
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) >= Settings().worker.drain_timeout_s + 30


async def test_prometheus_scrapes_what_is_served() -> None:
    """The scraped page and port are the worker's, the rules are mounted where they are looked for."""
    config = load(DOCKER / "prometheus.yaml")
    (scrape,) = config["scrape_configs"]
    (target,) = scrape["dns_sd_configs"]
    assert set(target["names"]) <= set(SERVICES)
    assert target["port"] == Settings().worker.health_port
    assert (await answers(scrape["metrics_path"])) == {scrape["metrics_path"]: 200}
    inside = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert set(config["rule_files"]) <= inside


def test_alerts_are_those_of_kubernetes() -> None:
    """One set of rules in two wrappings. When this fails, copy `groups` from one file to the other."""
    (rule,) = of_kind("PrometheusRule", documents(K8S / "components/monitoring"))
    assert load(DOCKER / "alerts.yaml") == rule["spec"]


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    """The data source is the service `prometheus`, the folder of dashboards is the one that is mounted."""
    (source,) = load(DOCKER / "grafana/datasource.yaml")["datasources"]
    assert source["url"].removeprefix("http://").split(":")[0] in SERVICES
    (provider,) = load(DOCKER / "grafana/dashboards.yaml")["providers"]
    inside = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert any(path.startswith(provider["options"]["path"]) for path in inside)
