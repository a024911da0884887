"""What the manifests tell the programs: commands, settings and ports that exist and fit together."""

import re
from dataclasses import fields
from typing import Any, cast

import msgspec
import pytest

from iam4kube.cli.arguments import command_parser as server_commands
from iam4kube.kube.decoding import decode_service
from iam4kube.runtime.settings import SettingsParser, load
from iam4kube.server.settings import PREFIX as SERVER_PREFIX
from iam4kube.server.settings import ServerSettings
from iam4kube.server.shutdown import stop_steps
from ip2service.cli.arguments import command_parser as router_commands
from ip2service.layout import Family, Mode
from ip2service.problems import ServiceReference, problem_of, warnings
from ip2service.settings import PREFIX as ROUTER_PREFIX
from ip2service.settings import RouterSettings
from tests.support.manifests import (
    BASE,
    EVERYTHING,
    OVERLAYS,
    POLICIES,
    Manifest,
    container,
    find,
    pod_spec,
    rendered,
    rendered_text,
)

pytestmark = pytest.mark.cluster

_DOWNWARD = {"spec.nodeName": "worker-1", "status.hostIP": "10.0.0.1"}
SERVER, JOB, ROUTER = ("Deployment", "iam4kube"), ("Job", "iam4kube-token-keys"), ("DaemonSet", "ip2service")


def environment(manifests: list[Manifest], kind: str, name: str, *, host: str = "10.0.0.1") -> dict[str, str]:
    """The environment that the kubelet gives to a workload's container."""
    known: dict[str, str] = {}
    for each in container(manifests, kind, name).get("env", []):
        if "valueFrom" in each:
            path = each["valueFrom"]["fieldRef"]["fieldPath"]
            known[each["name"]] = host if path == "status.hostIP" else _DOWNWARD[path]
        else:
            known[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], each["value"])
    return known


def server_settings(manifests: list[Manifest]) -> ServerSettings:
    """The settings with which a replica runs."""
    return load(ServerSettings, [], environment(manifests, *SERVER), prog="iam4kube", prefix=SERVER_PREFIX)


def router_settings(manifests: list[Manifest], *, host: str = "10.0.0.1") -> RouterSettings:
    """The settings with which a router runs on a node with this address."""
    environ = environment(manifests, *ROUTER, host=host)
    return load(RouterSettings, [], environ, prog="ip2service", prefix=ROUTER_PREFIX)


def variables(settings: type[Any], prefix: str) -> set[str]:
    """The variables of all settings."""
    return {
        f"{prefix}{each.name.upper()}"
        for section in fields(settings)
        for each in fields(cast("Any", section.default_factory))
    }


def ports(manifests: list[Manifest], kind: str, name: str) -> dict[str, int]:
    """A container's ports by name."""
    return {each["name"]: each["containerPort"] for each in container(manifests, kind, name)["ports"]}


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])
@pytest.mark.parametrize(
    ("workload", "parser"), [(SERVER, server_commands()), (JOB, server_commands()), (ROUTER, router_commands())]
)
def test_every_command_is_one_of_the_program(folder: str, workload: tuple[str, str], parser: SettingsParser) -> None:
    """With flags that it has."""
    command = container(rendered(folder), *workload)["command"]
    assert command[0] == parser.prog
    assert parser.parse_args(command[1:]).run


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])
def test_every_variable_is_a_setting_and_its_value_is_taken(folder: str) -> None:
    """A misspelt one would be ignored, and a wrong value ends the program."""
    manifests = rendered(folder)
    server_settings(manifests)
    router_settings(manifests)
    assert environment(manifests, *SERVER).keys() <= variables(ServerSettings, SERVER_PREFIX)
    assert environment(manifests, *ROUTER).keys() - {"NODE_ADDRESS"} <= variables(RouterSettings, ROUTER_PREFIX)


@pytest.mark.parametrize(("host", "listens"), [("10.0.0.1", "10.0.0.1:9169"), ("fd00::1", "[fd00::1]:9169")])
def test_the_routers_admin_port_is_on_the_nodes_address_alone(base: list[Manifest], host: str, listens: str) -> None:
    """Whatever its family is."""
    assert str(router_settings(base, host=host).operation.admin_listen) == listens


def test_overlays_set_what_they_are_called_after() -> None:
    """The router's mode and taint; everything at once, too."""
    assert router_settings(rendered("overlays/endpoints-mode")).routing.mode == Mode.ENDPOINTS.value
    taint = router_settings(rendered("overlays/startup-taint")).node.remove_startup_taint
    policy = find(rendered("overlays/startup-taint"), "ValidatingAdmissionPolicy", "ip2service-startup-taint")
    assert {"name": "key", "expression": f'"{taint}"'} in policy["spec"]["variables"]
    everything = router_settings(rendered(EVERYTHING))
    assert (everything.routing.mode, everything.node.remove_startup_taint) == (Mode.ENDPOINTS.value, taint)
    assert everything.node.exempt_servers


def test_containers_have_the_ports_that_the_programs_listen_on(base: list[Manifest]) -> None:
    """Probes and the Service name them."""
    server, router = server_settings(base), router_settings(base)
    assert ports(base, *SERVER) == {
        "metadata": server.metadata.listen.port,
        "admin": server.operators.admin_listen.port,
    }
    assert server.operators.debug_listen.host == "127.0.0.1"
    assert ports(base, *ROUTER) == {"admin": router.operation.admin_listen.port}


def test_policies_let_through_what_the_programs_use() -> None:
    """Pods reach the metadata port, Prometheus the other one, and the server its node's metadata service."""
    manifests = rendered(EVERYTHING)
    server = server_settings(manifests)
    policy = find(manifests, "NetworkPolicy", "iam4kube-server")["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": server.metadata.listen.port}]}]
    addresses = [to["ipBlock"]["cidr"].partition("/")[0] for to in policy["egress"][0]["to"]]
    assert addresses == list(router_settings(manifests).routing.intercept_address)
    [metrics] = find(manifests, "NetworkPolicy", "iam4kube-metrics")["spec"]["ingress"]
    assert metrics["ports"] == [{"protocol": "TCP", "port": server.operators.admin_listen.port}]


@pytest.mark.parametrize(("namespace", "program"), [("iam4kube", SERVER), ("ip2service", ROUTER)])
def test_pods_are_found_by_their_monitor(namespace: str, program: tuple[str, str]) -> None:
    """By labels, port and path that they have; alerts know the program by the label `job`."""
    manifests = rendered("overlays/prometheus-operator")
    monitor = find(manifests, "PodMonitor", program[1], namespace=namespace)["spec"]
    labels = find(manifests, *program)["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == program[1]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert (endpoint["port"] in ports(manifests, *program), endpoint["path"]) == (True, "/metrics")
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["node"]


def test_the_router_has_nothing_to_say_against_the_service(base: list[Manifest]) -> None:
    """It is where the router looks, with its port, and without what would be wrong or uneven."""
    settings = router_settings(base)
    manifest = find(base, "Service", settings.service.service_name, namespace=settings.service.service_namespace)
    manifest["metadata"] |= {"uid": "1", "resourceVersion": "1"}
    manifest["spec"]["clusterIPs"] = ["10.96.0.50"]
    service = decode_service(_json(manifest))
    reference = ServiceReference(
        namespace=service.namespace, name=service.name, port_name=settings.service.router_port_name
    )
    assert problem_of(service, reference, settings.routing.layout, Family.IPV4) is None
    assert list(warnings(service, reference)) == []
    assert [port["targetPort"] for port in manifest["spec"]["ports"]] == ["metadata"]


def _json(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def test_the_keys_are_where_the_job_puts_them_and_the_server_reads_them(base: list[Manifest]) -> None:
    """One Secret, one key of its data, one path; and pods wait for it."""
    command = container(base, *JOB)["command"]
    secret, key = command[3].removeprefix("iam4kube/"), command[4].removeprefix("--data-key=")
    [volume] = pod_spec(base, *SERVER)["volumes"]
    [mount] = container(base, *SERVER)["volumeMounts"]
    assert volume["secret"]["secretName"] == secret
    assert volume["secret"]["items"] == [{"key": key, "path": key}]
    assert "optional" not in volume["secret"]
    assert f"{mount['mountPath']}/{key}" == str(server_settings(base).metadata.token_key_file)
    assert (mount["name"], mount["readOnly"]) == (volume["name"], True)


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, *POLICIES, EVERYTHING])
def test_no_manifest_holds_a_key(folder: str) -> None:
    """The one Secret has no data, so that an apply leaves alone what the Job has put there."""
    for each in rendered(folder):
        assert each["kind"] != "Secret" or not {"data", "stringData"} & each.keys()
    assert "PRIVATE" not in rendered_text(folder)


def test_a_replica_has_the_time_to_end_in_order(base: list[Manifest]) -> None:
    """All bounds of the stop fit into the grace period, and no preStop takes any of it."""
    settings = server_settings(base)
    steps = stop_steps(
        drain=cast("Any", None),
        drain_time=settings.operators.drain_time,
        request_deadline=settings.metadata.request_deadline,
        metadata=cast("Any", None),
        operators=cast("Any", (None, None)),
        waits=cast("Any", None),
    )
    assert sum(step.bound for step in steps) < pod_spec(base, *SERVER)["terminationGracePeriodSeconds"] == 60
    assert "lifecycle" not in container(base, *SERVER)
