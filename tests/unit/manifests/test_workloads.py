"""How the programs run: what a rolling upgrade, an outage and an attacker find."""

import pytest

from iam4kube import __version__
from ip2service.cli import command as ip2service
from tests.support.manifests import (
    BASE,
    EVERYTHING,
    MANIFESTS,
    OVERLAYS,
    Manifest,
    container,
    find,
    pod_spec,
    pod_templates,
    rendered,
)

pytestmark = pytest.mark.cluster

SERVER, ROUTER = ("Deployment", "iam4kube"), ("DaemonSet", "ip2service")
VERSION = "app.kubernetes.io/version"

each_rendering = pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])


@each_rendering
def test_the_version_is_the_packages(folder: str) -> None:
    """In images and labels; images have no registry, which is everybody's own."""
    templates = [template for _, template in pod_templates(rendered(folder))]
    images = {each["image"] for template in templates for each in template["spec"]["containers"]}
    assert images == {f"iam4kube:{__version__}", f"ip2service:{__version__}"}
    assert {template["metadata"]["labels"][VERSION] for template in templates} == {__version__}


@each_rendering
def test_selectors_find_their_pods_and_hold_no_version(folder: str) -> None:
    """A selector can never be changed."""
    manifests = rendered(folder)
    for kind, name in (SERVER, ROUTER):
        workload = find(manifests, kind, name)
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/component"}
        assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    wanted = find(manifests, *SERVER)["spec"]["selector"]["matchLabels"]
    assert find(manifests, "Service", "iam4kube")["spec"]["selector"] == wanted
    assert find(manifests, "PodDisruptionBudget", "iam4kube")["spec"]["selector"]["matchLabels"] == wanted
    job = find(manifests, "Job", "iam4kube-token-keys")["spec"]["template"]["metadata"]["labels"]
    assert not wanted.items() <= job.items(), "the Service would send requests to the Job"


@each_rendering
def test_containers_may_do_as_little_as_they_can(folder: str) -> None:
    """The router alone has a capability, and only one. Pod Security judges the rest, on the real API server."""
    manifests = rendered(folder)
    for _, template in pod_templates(manifests):
        [only] = template["spec"]["containers"]
        context = only["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"]["drop"] == ["ALL"]
        is_router = only["name"] == "ip2service"
        assert context["capabilities"].get("add") == (["NET_ADMIN"] if is_router else None)
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["spec"]["securityContext"]["runAsUser"] == (0 if is_router else 65532)
        assert template["spec"].get("hostNetwork", False) is is_router
        assert not template["spec"]["enableServiceLinks"]


@each_rendering
def test_memory_is_bounded_and_time_is_not(folder: str) -> None:
    """A leak must not take a node; a throttled replica answers later than clients wait."""
    for _, template in pod_templates(rendered(folder)):
        resources = template["spec"]["containers"][0]["resources"]
        assert resources["limits"].keys() == {"memory"}
        assert resources["requests"].keys() == {"cpu", "memory"}


@each_rendering
def test_an_upgrade_takes_nothing_away_before_it_has_brought_something(folder: str) -> None:
    """And gives a replica the time to try all roles before it counts as failed."""
    spec = find(rendered(folder), *SERVER)["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 10
    assert spec["progressDeadlineSeconds"] >= 3600
    [term] = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["matchLabelKeys"] == ["pod-template-hash"]


@pytest.mark.parametrize("workload", [SERVER, ROUTER])
def test_a_busy_program_is_not_restarted(base: list[Manifest], workload: tuple[str, str]) -> None:
    """Overload is the same on all replicas, and a restart makes it worse: a whole minute without an answer."""
    probe = container(base, *workload)["livenessProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"], probe["timeoutSeconds"]) == (10, 6, 10)
    assert probe["httpGet"] == {"path": "/livez", "port": "admin"}
    assert container(base, *workload)["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}


def test_servers_are_alone_on_their_nodes_and_routers_everywhere(base: list[Manifest]) -> None:
    """The nodes' label is one that no kubelet can give to itself, and their taint keeps everybody else away."""
    for workload in (SERVER, ("Job", "iam4kube-token-keys")):
        spec = pod_spec(base, *workload)
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "node-role.kubernetes.io/iam4kube": ""}
        assert [each["key"] for each in spec["tolerations"]] == ["node-role.kubernetes.io/iam4kube"]
    router = pod_spec(base, *ROUTER)
    assert router["tolerations"] == [{"operator": "Exists"}]
    assert router["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert router["priorityClassName"] == "system-node-critical"


def test_high_availability_spreads_each_version_by_itself() -> None:
    """Over zones strictly, over nodes where it can."""
    spread = pod_spec(rendered("overlays/high-availability"), *SERVER)["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["whenUnsatisfiable"]) for each in spread] == [
        ("topology.kubernetes.io/zone", "DoNotSchedule"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in spread)


@pytest.mark.parametrize(
    ("file", "flags"), [("boot-rules.nft", ()), ("ip2service-boot-rules.service", ("--systemd-unit",))]
)
def test_boot_files_are_what_the_command_prints(
    file: str, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the settings of the manifests, which are the defaults."""
    assert ip2service(["boot-rules", *flags], {}) == 0
    assert (MANIFESTS / "boot" / file).read_text() == capsys.readouterr().out
