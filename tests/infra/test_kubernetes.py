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

from dth.core.ports.queue import Outgoing
from dth.hub.client import HubClient, with_token
from dth.infra import debian, hub_image
from dth.platforms.local.supervisor import BACKLOG_A_WORKER
from dth.platforms.local.vault import Vault
from dth.platforms.postgres.database import open_database
from dth.platforms.postgres.machines import join
from dth.platforms.postgres.platform import open_platform
from tests.engine import MIB, Side, blob, wait_for
from tests.hub import Caller
from tests.servers.process import REPOSITORY, listening_socket
from tests.unit.test_docs import parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.podman import Podman
    from tests.servers.postgres import Postgres

DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm/data-transfer-hub"
NAME = "data-transfer-hub"
CLUSTER = {"postgresql": {"enabled": True}}
# The manifests of deploy/, with the values that give them.
MANIFESTS = {
    DEPLOY / "kubernetes/hub.yaml": {},
    DEPLOY / "kubernetes/postgresql/hubs-and-workers.yaml": CLUSTER,
}
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
# Kinds of the operator of Prometheus and of KEDA, of which there is no schema here.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
WITHOUT_SCHEMA = {*OPERATOR, "ScaledObject"}


def cluster(**workers: Any) -> dict[str, Any]:
    """The values for several hubs and workers, and everything else that can be chosen."""
    return {**EVERYTHING, "postgresql": {"enabled": True, "workers": workers}}


def scaled(by: str) -> dict[str, Any]:
    return cluster(processes=3, autoscaling={"by": by, "max": 7})


def rendered(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the chart makes, by kind; for workers, by "worker " and the kind."""
    made = helm.Chart.load(CHART).render(values, name=NAME, namespace="default")
    documents = [
        each
        for file, text in made.items()
        if not file.endswith(".txt")
        for each in yaml.safe_load_all(text)
        if each
    ]
    named = {NAME: "", f"{NAME}-worker": "worker "}
    found = {named[each["metadata"]["name"]] + each["kind"]: each for each in documents}
    assert len(found) == len(documents)
    return found


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def variables(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in container_of(deployment)["env"]}


@pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, cluster(), scaled("cpu"), scaled("queue")],
    ids=["defaults", "everything", "cluster", "by cpu", "by queue"],
)
@pytest.mark.parametrize("version", ["1.25", "1.31", "1.37"])
def test_kubernetes_takes_what_the_chart_makes(values: dict[str, Any], version: str) -> None:
    found = rendered(values)
    assert {"Deployment", "Service", "NetworkPolicy"} <= set(found)
    assert {"ConfigMap", "Ingress", "PodDisruptionBudget"} <= set(found)
    of_workers = {"worker Deployment", "worker NetworkPolicy", "worker PodDisruptionBudget"}
    assert of_workers & set(found) == (of_workers if "postgresql" in values else set())
    assert ("PersistentVolumeClaim" in found) == ("postgresql" not in values)
    for each in found.values():
        if each["kind"] not in WITHOUT_SCHEMA:
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


def test_prometheus_asks_several_hubs_at_one_address() -> None:
    """Each of them has the numbers of all."""
    [endpoint] = rendered(cluster())["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["relabelings"] == [
        {"targetLabel": "__address__", "replacement": f"{NAME}.default.svc:80"},
        {"action": "labeldrop", "regex": "pod|container"},
    ]


def test_helm_finds_nothing_to_complain_about() -> None:
    report = helm.lint(CHART, strict=True)
    told = [each["error"] for each in report["messages"] if each["error"] != "icon is recommended"]
    assert (told, report["errors"]) == ([], [])


@pytest.mark.parametrize(
    "mistake",
    [
        {"hosts": "a"},
        {"host": "https://hub"},
        {"networkPolicy": {"from": []}},
        {"postgresql": {"enabled": True, "hubs": 0}},
        {"postgresql": {"workers": {"autoscaling": {"by": "keda"}}}},
    ],
)
def test_wrong_values_are_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered(mistake)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.parent.name)
def test_the_manifests_are_what_the_chart_makes(file: Path) -> None:
    """Write them again: python -m tests.infra.test_kubernetes."""
    assert file.read_text("utf-8") == manifests(file)
    [named] = yaml.safe_load((file.parent / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert named == file.name


def manifests(file: Path) -> str:
    head = file.read_text("utf-8").partition("---\n")[0]
    found = rendered(MANIFESTS[file])
    for each in found.values():
        each["metadata"].pop("namespace")
        each["metadata"]["labels"].pop("app.kubernetes.io/managed-by", None)
    return head + "".join(f"---\n{yaml.safe_dump(found[kind])}" for kind in sorted(found))


def test_there_is_one_hub_unless_there_is_a_database() -> None:
    found = rendered(EVERYTHING)
    deployment = found["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert not {"DTH_DATABASE", "DTH_ADVERTISE"} & variables(found["Deployment"]).keys()


def test_hubs_and_workers_share_a_database() -> None:
    found = rendered(cluster(processes=3))
    hub, worker = found["Deployment"], found["worker Deployment"]
    assert (hub["spec"]["replicas"], worker["spec"]["replicas"]) == (2, 2)
    for each in (hub, worker):
        # Two versions must not work on one database.
        assert each["spec"]["strategy"] == {"type": "Recreate"}
        for name, entry in (("DTH_DATABASE", "database"), ("DTH_KEY", "key")):
            reference = {"secretKeyRef": {"name": NAME, "key": entry}}
            assert variables(each)[name]["valueFrom"] == reference
    assert variables(hub)["DTH_ADVERTISE"]["value"] == "http://$(POD_IP):8780"
    assert variables(hub)["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    [data] = [each for each in hub["spec"]["template"]["spec"]["volumes"] if each["name"] == "data"]
    assert data == {"name": "data", "emptyDir": {}}


def test_each_thing_of_the_cluster_is_about_the_right_pods() -> None:
    found = rendered(cluster())
    for prefix in ("", "worker "):
        spec = found[f"{prefix}Deployment"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert found[f"{prefix}PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
        assert found[f"{prefix}NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    hubs = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == hubs
    [ingress] = found["NetworkPolicy"]["spec"]["ingress"]
    assert {"podSelector": {"matchLabels": hubs}} in ingress["from"]
    assert found["worker NetworkPolicy"]["spec"]["ingress"] == []


def test_the_number_of_workers_follows_the_load() -> None:
    for by, kind in (("cpu", "HorizontalPodAutoscaler"), ("queue", "ScaledObject")):
        found = rendered(scaled(by))
        target = found[f"worker {kind}"]["spec"]
        assert target["scaleTargetRef"]["name"] == f"{NAME}-worker"
        assert 7 in (target.get("maxReplicas"), target.get("maxReplicaCount"))
        assert "replicas" not in found["worker Deployment"]["spec"]


async def test_the_query_counts_what_workers_may_help_with(postgres: Postgres) -> None:
    [trigger] = rendered(scaled("queue"))["worker ScaledObject"]["spec"]["triggers"]
    assert trigger["metadata"]["connectionFromEnv"] in variables(
        rendered(scaled("queue"))["worker Deployment"]
    )
    assert trigger["metadata"]["targetQueryValue"] == str(3 * BACKLOG_A_WORKER)
    address = postgres.database()
    async with join(address, "hub") as machine:
        for name, kind in (("offered", "hub:S3EC2"), ("not offered", ""), ("paused", "hub:S3EC2")):
            async with open_platform(address, name, "hub/hub") as platform:
                await machine.claim(platform.database, kind)
                await platform.queue.send([Outgoing(f"{n}", "") for n in range(5)])
                await platform.queue.receive(2, 60.0, 0.0)
                if name == "paused":
                    await platform.records.pause("why")
        async with open_database(address, "", "keda") as database:
            [[found]] = await database.rows(trigger["metadata"]["query"])
    postgres.drop(address)
    # Those in progress count, too.
    assert found == 5


@pytest.mark.parametrize("kind", ["Deployment", "worker Deployment"])
def test_a_pod_has_no_rights(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rendered(cluster())
    pod = found[kind]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == debian.USER
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert pod["automountServiceAccountToken"] is False
    container = container_of(found[kind])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {"/tmp", "/etc/dth"} <= mounts
    assert (f"/{hub_image.DATA}" in mounts) == (kind == "Deployment")
    assert {each["name"] for each in pod["volumes"]} == {
        each["name"] for each in container["volumeMounts"]
    }
    monkeypatch.setenv("DTH_DATABASE", "postgresql://dth@db/dth")
    parse([word for word in container["args"] if not word.startswith("--settings")])


@pytest.mark.parametrize(
    ("file", "name", "volume"),
    [
        ("compose.yaml", "hub", "data"),
        ("compose.postgresql.yaml", "hub-1", "hub-1"),
        ("compose.postgresql.yaml", "hub-2", "hub-2"),
        ("compose.postgresql.yaml", "worker", ""),
    ],
)
def test_a_service_of_compose_has_no_rights(
    file: str, name: str, volume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = yaml.safe_load((DEPLOY / file).read_text("utf-8"))
    service = compose["services"][name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert service.get("volumes", []) == ([f"{volume}:/{hub_image.DATA}"] if volume else [])
    assert not volume or volume in compose["volumes"]
    assert "ports" not in service, "only the proxy can reach it"
    monkeypatch.setenv("DTH_DATABASE", "postgresql://dth@db/dth")
    parse([re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in service["command"]])


def test_the_services_of_compose_find_each_other() -> None:
    services = yaml.safe_load((DEPLOY / "compose.postgresql.yaml").read_text("utf-8"))["services"]
    proxied = (DEPLOY / "caddy/several-hubs.Caddyfile").read_text("utf-8")
    for name in ("hub-1", "hub-2"):
        assert services[name]["environment"]["DTH_ADVERTISE"] == f"http://{name}:8780"
        assert f" {name}:8780" in proxied
    database = services["hub-1"]["environment"]["DTH_DATABASE"]
    assert database == services["worker"]["environment"]["DTH_DATABASE"]
    assert "@postgres/" in database
    assert (
        services["hub-1"]["environment"]["DTH_KEY"] == services["worker"]["environment"]["DTH_KEY"]
    )
    [mounted, _] = services["proxy"]["volumes"]
    assert (DEPLOY / mounted.partition(":")[0]).is_file()


def for_podman(deployment: dict[str, Any], name: str, **env: str) -> dict[str, Any]:
    """What podman 4 plays of it, in the network of this machine. `env`: what it should read from
    elsewhere."""
    made = json.loads(json.dumps(deployment))
    made["metadata"]["name"] = name
    made["spec"]["replicas"] = 1
    [container] = made["spec"]["template"]["spec"]["containers"]
    # Folders of the same name are one, in whatever pod.
    for each in (*made["spec"]["template"]["spec"]["volumes"], *container["volumeMounts"]):
        each["name"] = f"{name}-{each['name']}"
    container |= {"image": "localhost/hub:1", "imagePullPolicy": "Never"}
    # It reads Secrets for volumes alone, and no fields.
    assert {each["name"] for each in container["env"] if "valueFrom" in each} <= env.keys()
    given = {each["name"]: each.get("value") for each in container["env"]} | env
    container["env"] = [{"name": each, "value": value} for each, value in given.items()]
    assert container.pop("ports", None) in ([{"name": "http", "containerPort": 8780}], None)
    container.pop("resources")
    # It would ask with curl, which the image does not have.
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in container:
            assert container.pop(probe)["httpGet"]["path"] in ("/readyz", "/healthz")
    return dict(made)


def at_port(deployment: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The hub at a free port, and its address."""
    with listening_socket() as free:
        port = free.getsockname()[1]
    made = json.loads(json.dumps(deployment))
    made["spec"]["template"]["spec"]["containers"][0]["args"].append(f"--port={port}")
    return made, f"http://127.0.0.1:{port}"


def secret(key: str) -> dict[str, Any]:
    values = {"key": key.encode(), "admin-password": b"a first password"}
    data = {name: base64.b64encode(value).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "data": data}


def play(podman: Podman, image: str, file: Path, *documents: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump_all(documents))
    podman.run("tag", image, "localhost/hub:1")
    podman.run("kube", "play", "--log-driver=k8s-file", "--network=host", str(file))


@pytest.mark.xdist_group("podman")
def test_podman_plays_it(podman: Podman, image: str, tmp_path: Path) -> None:
    found, key = rendered({}), Vault.new_key()
    hub, address = at_port(found["Deployment"])
    others = (found["ConfigMap"], found["PersistentVolumeClaim"])
    file = tmp_path / "hub.yaml"
    play(podman, image, file, secret(key), *others, for_podman(hub, NAME, DTH_KEY=key))
    [container] = podman.run("ps", "--format={{.Names}}", "--filter=name=-hub$").split()
    line = json.loads(podman.wait_for(container, "runs at").splitlines()[0])
    assert line["message"].startswith("Data Transfer Hub runs at https://hub.example.org ")
    with urllib.request.urlopen(f"{address}/readyz", timeout=30) as answer:
        assert answer.read() == b"ready\n"
    podman.run("kube", "down", str(file))


@pytest.mark.xdist_group("podman")
def test_podman_plays_two_hubs_and_a_worker(
    podman: Podman,
    image: str,
    postgres: Postgres,
    s3_a: MiniStack,
    s3_b: MiniStack,
    tmp_path: Path,
) -> None:
    """A client calls the hub that stands by, and the worker moves objects, too."""
    network = {"settings": {"network": {"allow": ["loopback"]}}}
    found, key, database = rendered({**CLUSTER, **network}), Vault.new_key(), postgres.database()
    env = {"DTH_KEY": key, "DTH_DATABASE": database}
    pods, addresses = [for_podman(found["worker Deployment"], "worker", **env)], []
    for number in (1, 2):
        hub, address = at_port(found["Deployment"])
        own = {**env, "POD_IP": "127.0.0.1", "DTH_ADVERTISE": address}
        pods.append(for_podman(hub, f"hub-{number}", **own))
        addresses.append(address)
    file = tmp_path / "cluster.yaml"
    play(podman, image, file, secret(key), found["ConfigMap"], *pods)
    hubs = podman.run("ps", "--format={{.Names}}", "--filter=name=-hub$").split()
    [worker] = podman.run("ps", "--format={{.Names}}", "--filter=name=-worker$").split()

    for each in hubs:
        podman.wait_for(each, "Data Transfer Hub ")
    wait_for(lambda: any("runs at" in podman.run("logs", each, errors=True) for each in hubs))
    [standing_by] = [
        each for each in hubs if "runs at" not in podman.run("logs", each, errors=True)
    ]
    [number] = re.findall(r"^hub-([12])-", standing_by)
    address = addresses[int(number) - 1]
    [*_, token] = podman.run(
        "exec", hubs[0], "dth", "token", "create", "--role=admin", "--name=test"
    ).split()
    source, dest = Side(s3_a, s3_a.bucket("pods")), Side(s3_b, s3_b.bucket("pods"))
    objects = {f"{n:02}": blob(MIB, n) for n in range(40)}
    source.put(objects)
    client = Caller(HubClient(address, with_token(lambda: token)))
    # As slow as this, the worker has work.
    task = client.create(
        source, dest, maxCapacity="3", requestsInFlight="4", maxBytesPerSecond="8M"
    )
    wait_for(lambda: client.task(task)["progress"] == "DONE")
    assert dest.contents() == objects
    assert f"helps with task {task} of the hub (" in podman.run("logs", worker, errors=True)
    podman.run("kube", "down", str(file))
    postgres.drop(database)


if __name__ == "__main__":
    for each in MANIFESTS:
        each.write_text(manifests(each), "utf-8")
