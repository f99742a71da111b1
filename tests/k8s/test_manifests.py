"""The manifests are whole, valid and hardened."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from qexplorer.settings import Settings
from tests.k8s.manifests import (
    K8S,
    KUSTOMIZATIONS,
    OVERLAYS,
    ROOT,
    Document,
    config_file,
    documents,
    load,
    of_kind,
    rendered,
)
from worker.topics import wanted

DEPLOYABLE = (K8S / "base", K8S / "topics", *(K8S / "overlays" / name for name in OVERLAYS))
CORE = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1")


def names(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix()


def pods(overlay: str) -> list[Document]:
    return of_kind("Deployment", rendered(K8S / "overlays" / overlay))


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=names)
def test_every_file_that_a_kustomization_names_is_there(folder: Path) -> None:
    """Nothing is named that is missing, and no manifest lies about that nobody names."""
    kustomization = load(folder / "kustomization.yaml")
    generators = kustomization.get("configMapGenerator", [])
    named = [
        *kustomization.get("resources", []),
        *kustomization.get("components", []),
        *(patch["path"] for patch in kustomization.get("patches", [])),
        *(file.rpartition("=")[2] for generator in generators for file in generator["files"]),
    ]
    assert not [name for name in named if not (folder / name).exists()]
    assert {path.name for path in folder.iterdir() if path.is_file()} - {"kustomization.yaml"} <= set(named)


@pytest.mark.parametrize("folder", DEPLOYABLE, ids=names)
def test_kustomize_merges_each_folder(folder: Path) -> None:
    """Everything that a pod refers to is made beside it, but the Secrets, which are not kept in files."""
    made = rendered(folder)
    assert made
    config_maps, claims, accounts = (
        {one["metadata"]["name"] for one in of_kind(kind, made)}
        for kind in ("ConfigMap", "PersistentVolumeClaim", "ServiceAccount")
    )
    for deployment in of_kind("Deployment", made):
        pod = deployment["spec"]["template"]["spec"]
        volumes = pod["volumes"]
        assert {v["configMap"]["name"] for v in volumes if "configMap" in v} <= config_maps
        assert {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v} <= claims
        assert pod["serviceAccountName"] in accounts
        mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in volumes}


def test_the_registry_can_be_added(tmp_path: Path) -> None:
    """The optional component gives the worker a volume, and the setting that names it."""
    used = {
        "resources": [os.path.relpath(K8S / "base", tmp_path)],
        "components": [os.path.relpath(K8S / "components/registry", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(used))
    (worker,) = of_kind("Deployment", rendered(tmp_path))
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "registry"]
    assert {"name": "QEXPLORER_MODELS", "value": mount["mountPath"]} in container["env"]
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "config", "ca", "registry"}


@pytest.mark.parametrize("folder", DEPLOYABLE, ids=names)
def test_core_resources_are_valid(folder: Path) -> None:
    """Kubernetes' own schema takes them, and knows every field."""
    validator = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate is not installed")
    for document in rendered(folder):
        if document["apiVersion"] in CORE:
            validator.validate(document, validator.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_no_more_rights_than_they_need(overlay: str) -> None:
    """Non-root, read-only root, no capabilities, no token, bounded memory, pinned images."""
    for deployment in pods(overlay):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            _, _, tag = container["image"].partition(":")
            assert tag not in {"", "latest"}
            assert {probe for probe in container if probe.endswith("Probe")} == {
                "startupProbe",
                "livenessProbe",
                "readinessProbe",
            }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_gpu_is_never_waited_for(overlay: str) -> None:
    """Who needs a GPU is replaced without a surge; the worker of the overlay `gpu` asks for one."""
    for deployment in pods(overlay):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        wants = container["resources"]["limits"].get("nvidia.com/gpu", 0)
        if wants:
            assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
        if container["name"] == "worker":
            assert wants == (1 if overlay == "gpu" else 0)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_time_to_drain(overlay: str) -> None:
    """The pod lives half a minute longer than the worker waits for the work in hand."""
    (worker,) = [one for one in pods(overlay) if one["metadata"]["name"] == "qexplorer-worker"]
    drain = load(config_file(overlay, "settings.yaml"))["worker"]["drain_timeout_s"]
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + 30


def test_policies_are_mounted_as_a_folder() -> None:
    """A subPath, or a name that changes with the content, would keep an edit from the running workers."""
    (worker,) = of_kind("Deployment", documents(K8S / "base"))
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
    assert "subPath" not in mount
    for folder in KUSTOMIZATIONS:
        for generator in load(folder / "kustomization.yaml").get("configMapGenerator", []):
            assert generator["options"]["disableNameSuffixHash"] is True
    for overlay in OVERLAYS:
        policies = load(config_file(overlay, "settings.yaml"))["policies"]
        assert policies == f"{mount['mountPath']}/policies.yaml"


def test_one_pod_at_a_time_is_disrupted() -> None:
    """A drained node takes no more than one worker away at once."""
    (budget,) = of_kind("PodDisruptionBudget", documents(K8S / "base"))
    assert budget["spec"]["maxUnavailable"] == 1


def test_topics_are_those_that_the_worker_wants() -> None:
    """Names and settings are those of `wanted`; the broker's own choice of min.insync.replicas is ours to add."""
    topics = {topic["metadata"]["name"]: topic["spec"] for topic in of_kind("KafkaTopic", documents(K8S / "topics"))}
    extra = {"min.insync.replicas": "2"}
    written = {name: spec["config"] for name, spec in topics.items()}
    assert written == {name: {**config, **extra} for name, config in wanted(Settings()).items()}
    control = topics.pop(Settings().kafka.topics.control)
    assert control["partitions"] == 1
    assert len({spec["partitions"] for spec in topics.values()}) == 1


def selected(policy: Document) -> str:
    return str(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"])


def ports(rules: list[dict[str, Any]]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_traffic_is_closed_but_for_what_is_needed() -> None:
    """Out to Kafka, OpenSearch and names, in to the health port from monitoring; every rule says who and which port."""
    policies = of_kind("NetworkPolicy", documents())
    assert policies
    for policy in policies:
        for direction, peer in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, []):
                assert rule[peer]
                assert rule["ports"]
    (worker,) = of_kind("NetworkPolicy", documents(K8S / "base"))
    assert set(worker["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    (health,) = worker["spec"]["ingress"]
    assert health["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    vllm = [
        policy for policy in of_kind("NetworkPolicy", documents(K8S / "overlays/vllm")) if selected(policy) == "vllm"
    ]
    assert [policy["spec"]["egress"] for policy in vllm] == [[]]
