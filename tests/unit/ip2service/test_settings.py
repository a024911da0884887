"""The router's settings: defaults, mistakes, and what the commands without a cluster share."""

import pytest

from iam4kube.runtime.settings import SettingsError, load, unknown_variables
from ip2service.layout import Family, Layout, Mode
from ip2service.settings import PREFIX, CheckSettings, InterceptionSettings, RouterSettings, RoutingSettings

NODE = "--node-name=node-a"


def settings(*arguments: str, **environ: str) -> RouterSettings:
    """What `ip2service run` would get."""
    return load(RouterSettings, arguments, environ, prog="ip2service run", prefix=PREFIX)


def mistakes(*arguments: str, **environ: str) -> tuple[str, ...]:
    """What `ip2service run` would object to."""
    with pytest.raises(SettingsError) as raised:
        settings(*arguments, **environ)
    return raised.value.mistakes


def test_the_nodes_name_is_all_that_has_to_be_said() -> None:
    """Everything else has the default of a cluster with kube-proxy."""
    given = settings(IP2SERVICE_NODE_NAME="node-a")
    assert given.node.node_name == "node-a"
    assert (given.service.service_namespace, given.service.service_name) == ("iam4kube", "iam4kube")
    assert given.service.router_port_name == "router"
    assert given.routing.layout == Layout()
    assert given.routing.rule_priority == 5
    assert (given.node.exempt_servers, given.bypass.accept_bypass) == (False, False)
    assert given.node.remove_startup_taint is None
    assert given.operation.verify_interval == 30


def test_the_admin_port_is_not_the_servers() -> None:
    """Both may be in the network of one node."""
    assert str(settings(NODE).operation.admin_listen) == ":9169"


def test_a_missing_node_name_names_the_downward_api() -> None:
    """The commonest mistake of a first manifest."""
    [line] = mistakes()
    assert "--node-name is required" in line
    assert "spec.nodeName" in line
    assert "IP2SERVICE_NODE_NAME" in line


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--mode=proxy", ["'proxy'", "service, endpoints"]),
        ("--router-port=0", ["'0'", "port number"]),
        ("--intercept-address=", []),
        ("--intercept-address=,", ["an IPv4 address, an IPv6 address, or one of each"]),
        ("--intercept-address=metadata", ["'metadata'", "169.254.169.254,fd00:ec2::254"]),
        ("--intercept-address=169.254.169.254,169.254.170.2", ["at most one IPv4 and one IPv6"]),
        ("--intercept-address=fd00:ec2::254,::1", ["of a single other machine"]),
        ("--intercept-address=::ffff:169.254.169.254,169.254.169.254", ["at most one IPv4"]),
        ("--intercept-address=127.0.0.1", ["of a single other machine"]),
        ("--intercept-address=0.0.0.0", ["of a single other machine"]),
        ("--rule-priority=0", ["'0'", "one or more"]),
        ("--rule-priority=32764", ["'32764'", "at most 32763"]),
        ("--verify-interval=10ms", ["at least 1s and at most 5m"]),
        ("--verify-interval=1h", ["at least 1s and at most 5m"]),
        ("--remove-startup-taint=iam4kube/unrouted=true:NoSchedule", ["the key of a taint alone"]),
        ("--service-port-name=router", ["'--service-port-name' is not known"]),
    ],
)
def test_a_mistake_is_one_line_that_names_setting_value_and_remedy(flag: str, words: list[str]) -> None:
    """Whoever reads the line needs nothing else."""
    [line] = mistakes(NODE, flag)
    assert [word for word in [flag.partition("=")[0], *words] if word not in line] == []
    assert "\n" not in line


def test_a_family_that_is_left_out_is_not_in_the_layout() -> None:
    """Neither routed nor guarded."""
    layout = settings(NODE, "--intercept-address=169.254.169.254").routing.layout
    assert list(layout.intercepted) == [Family.IPV4]


def test_the_layout_does_not_depend_on_the_order_of_addresses() -> None:
    """A table is compared with its text."""
    swapped = settings(NODE, "--intercept-address=fd00:ec2::254,169.254.169.254").routing.layout
    assert list(swapped.intercepted) == list(Layout().intercepted)


def test_guards_do_not_depend_on_how_packets_are_routed() -> None:
    """Boot rules stay right when the mode changes."""
    guard = load(InterceptionSettings, ["--intercept-port=8080"], {}, prog="x", prefix=PREFIX)
    routed = load(RoutingSettings, ["--intercept-port=8080", "--mode=endpoints"], {}, prog="x", prefix=PREFIX)
    assert (guard.layout.intercepted, guard.layout.intercepted_port) == (
        routed.layout.intercepted,
        routed.layout.intercepted_port,
    )
    assert routed.layout.mode is Mode.ENDPOINTS


def test_a_check_in_the_routers_container_finds_the_routers_settings() -> None:
    """By the same variables, and those that it does not know are no mistake."""
    environ = {"IP2SERVICE_NODE_NAME": "node-a", "IP2SERVICE_MODE": "endpoints", "IP2SERVICE_ROUTER_PORT": "8170"}
    given = load(CheckSettings, [], environ, prog="ip2service check", prefix=PREFIX)
    assert given.routing.layout == settings(**environ).routing.layout


@pytest.mark.parametrize("service", ["IP2SERVICE", "IP2SERVICE_ADMIN"])
def test_variables_of_a_service_called_like_the_program_are_no_settings(service: str) -> None:
    """Kubernetes gives them to every container of the namespace (`enableServiceLinks`)."""
    links = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_ROUTER", "PORT", "PORT_9169_TCP", "PORT_9169_TCP_ADDR"]
    environ = {f"{service}_{link}": "tcp://10.96.0.7:9169" for link in links}
    assert settings(NODE, **environ) == settings(NODE)
    assert unknown_variables(RouterSettings, environ, PREFIX) == ()
