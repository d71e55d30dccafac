"""The chart and the manifests of deploy/: Kubernetes takes them, they agree with the image, and
podman plays them."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from dth.infra import debian, hub_image
from dth.platforms.local.vault import Vault
from tests.servers.process import REPOSITORY, listening_socket
from tests.unit.test_docs import parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.podman import Podman

DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm/data-transfer-hub"
MANIFESTS = DEPLOY / "kubernetes/hub.yaml"
NAME = "data-transfer-hub"
EVERYTHING = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "ingress": {"className": "nginx", "annotations": {"a/b": "c"}},
    "image": {"pullSecrets": ["registry"]},
    "persistence": {"storageClassName": "fast"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
# Kinds of the operator of Prometheus, of which there is no schema here.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}


def rendered(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the chart makes, by kind."""
    made = helm.Chart.load(CHART).render(values, name=NAME, namespace="default")
    documents = [
        each
        for file, text in made.items()
        if not file.endswith(".txt")
        for each in yaml.safe_load_all(text)
        if each
    ]
    found = {each["kind"]: each for each in documents}
    assert len(found) == len(documents)
    return found


def hub_container(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize("version", ["1.25", "1.31", "1.37"])
def test_kubernetes_takes_what_the_chart_makes(values: dict[str, Any], version: str) -> None:
    found = rendered(values)
    assert {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy"} <= set(found)
    assert {"ConfigMap", "Ingress", "PodDisruptionBudget"} <= set(found)
    for kind, each in found.items():
        if kind not in OPERATOR:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_find_mistakes() -> None:
    mistaken = rendered({})["Deployment"]
    mistaken["spec"]["strategy"]["typ"] = "Recreate"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(mistaken, "1.31", strict=True)


def test_the_operator_of_prometheus_finds_hub_and_alerts() -> None:
    assert not OPERATOR & rendered({}).keys()
    found = rendered(EVERYTHING)
    labels = found["Service"]["metadata"]["labels"]
    [port] = found["Service"]["spec"]["ports"]
    assert found["ServiceMonitor"]["spec"] == {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchLabels": labels},
        "endpoints": [
            {
                "port": port["name"],
                "path": "/metrics",
                "authorization": {
                    "credentials": {"name": "data-transfer-hub-metrics", "key": "token"}
                },
            }
        ],
    }
    # The job that the alerts look for.
    assert labels["app.kubernetes.io/name"] == "data-transfer-hub"
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text("utf-8"))
    assert found["PrometheusRule"]["spec"] == rules


def test_helm_finds_nothing_to_complain_about() -> None:
    report = helm.lint(CHART, strict=True)
    told = [each["error"] for each in report["messages"] if each["error"] != "icon is recommended"]
    assert (told, report["errors"]) == ([], [])


@pytest.mark.parametrize(
    "mistake", [{"hosts": "a"}, {"host": "https://hub"}, {"networkPolicy": {"from": []}}]
)
def test_wrong_values_are_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered(mistake)


def test_the_manifests_are_the_chart_with_its_defaults() -> None:
    """Write them again: python -m tests.infra.test_kubernetes."""
    assert MANIFESTS.read_text("utf-8") == manifests()


def manifests() -> str:
    head = MANIFESTS.read_text("utf-8").partition("---\n")[0]
    found = rendered({})
    for each in found.values():
        each["metadata"].pop("namespace")
        each["metadata"]["labels"].pop("app.kubernetes.io/managed-by", None)
    return head + "".join(f"---\n{yaml.safe_dump(found[kind])}" for kind in sorted(found))


def test_there_is_one_hub_and_it_has_no_rights() -> None:
    found = rendered(EVERYTHING)
    deployment = found["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == debian.USER
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert pod["automountServiceAccountToken"] is False
    container = hub_container(found)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {f"/{path}" for path in (hub_image.DATA, "tmp")} <= mounts
    assert {each["name"] for each in pod["volumes"]} == {
        each["name"] for each in container["volumeMounts"]
    }
    parse([word for word in container["args"] if not word.startswith("--settings")])


def test_the_hub_of_compose_has_no_rights() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    hub = compose["services"]["hub"]
    assert (hub["read_only"], hub["cap_drop"]) == (True, ["ALL"])
    assert hub["security_opt"] == ["no-new-privileges:true"]
    assert (hub["volumes"], hub["tmpfs"]) == ([f"data:/{hub_image.DATA}"], ["/tmp"])
    assert "ports" not in hub, "only the proxy can reach it"
    parse([re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in hub["command"]])


@pytest.mark.xdist_group("podman")
def test_podman_plays_it(podman: Podman, image: str, tmp_path: Path) -> None:
    with listening_socket() as free:
        port = free.getsockname()[1]
    found = rendered({})
    key = Vault.new_key()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME},
        "data": {
            "key": base64.b64encode(key.encode()).decode(),
            "admin-password": base64.b64encode(b"a first password").decode(),
        },
    }
    container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": "localhost/hub:1", "imagePullPolicy": "Never"}
    container["args"].append(f"--port={port}")
    # podman 4 reads Secrets for volumes alone.
    referring, *others = container["env"]
    assert referring["valueFrom"] == {"secretKeyRef": {"name": NAME, "key": "key"}}
    container["env"] = [{"name": referring["name"], "value": key}, *others]
    # The pod is in the network of this machine.
    assert container.pop("ports") == [{"name": "http", "containerPort": 8780}]
    # It would ask with curl, which the image does not have.
    container.pop("resources")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container.pop(probe)["httpGet"]["path"]
        assert path in ("/readyz", "/healthz")
    kinds = ("ConfigMap", "PersistentVolumeClaim", "Deployment")
    file = tmp_path / "hub.yaml"
    file.write_text(yaml.safe_dump_all([secret, *(found[each] for each in kinds)]))
    podman.run("tag", image, "localhost/hub:1")
    podman.run("kube", "play", "--log-driver=k8s-file", "--network=host", str(file))
    [container] = podman.run("ps", "--format={{.Names}}", "--filter=name=-hub$").split()
    line = json.loads(podman.wait_for(container, "runs at").splitlines()[0])
    assert line["message"].startswith("Data Transfer Hub runs at https://hub.example.org ")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
        assert answer.read() == b"ready\n"
    podman.run("kube", "down", str(file))


if __name__ == "__main__":
    MANIFESTS.write_text(manifests(), "utf-8")
