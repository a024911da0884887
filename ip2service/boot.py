"""The boot rules: what a node refuses before any pod starts, and before there is a router.

The kubelet starts a rebooted node's pods before any DaemonSet's, and a taint does not stop pods that tolerate
everything. So the guard and the policy rules are part of the node's own boot: a file for nft, and a systemd unit
that loads it. The router finds the guard in place, and from then on changes only the elements of its sets.

Loading them on a live node changes nothing: `create` fails as a whole where the table is there.
"""

from collections.abc import Iterator
from typing import Final

from ip2service.layout import Contents, Family, Layout
from ip2service.policy_rules import PolicyRule, wanted_rules
from ip2service.ruleset import GUARD_TABLE, GUARD_VERSION, guard_table, owner_comment

RULES_FILE: Final = "/etc/ip2service/boot-rules.nft"

_RULES = """\
#!/usr/sbin/nft -f
# Written by `ip2service boot-rules`. Nothing in a pod reaches the instance metadata service past these rules;
# the router ip2service makes exceptions and sends the rest to the credential server.
# Once the table is there, this file fails with "File exists" and changes nothing.
"""

# Ordered before everything that gives the node a network, and so before every kubelet. What loads a whole ruleset
# at boot begins with "flush ruleset": it has to be done by then.
_UNIT = """\
# Written by `ip2service boot-rules --systemd-unit`. Stopping this unit removes no rule: `ip2service uninstall` does.
[Unit]
Description=Refuse the instance metadata service to pods until ip2service routes it
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service nftables.service firewalld.service iptables.service ip6tables.service
Wants=network-pre.target
Before=network-pre.target kubelet.service k3s.service k3s-agent.service rke2-server.service rke2-agent.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
{commands}

[Install]
WantedBy=multi-user.target
# With this line in place of the one above, no pod starts at all where the rules cannot be loaded:
# RequiredBy=kubelet.service
"""


def boot_rules(layout: Layout) -> str:
    """The guard, as a file for `nft -f` that is loaded once a boot."""
    comment = f"{owner_comment(GUARD_TABLE)}{GUARD_VERSION} boot"
    # nft 1.0.6 creates a table with its comment only, and leaves out what else such a block contains.
    creation = f'create table inet {GUARD_TABLE} {{\n\tcomment "{comment}"\n}}\n'
    return _RULES + creation + guard_table(layout, origin="boot")


def systemd_unit(layout: Layout, *, rule_priority: int) -> str:
    """The unit that loads the file and adds the policy rules, each only where it is not there."""
    commands = "\n".join(
        f"ExecStart=/bin/sh -c '{command}'" for command in boot_commands(layout, rule_priority=rule_priority)
    )
    return _UNIT.format(commands=commands)


def boot_commands(layout: Layout, *, rule_priority: int) -> Iterator[str]:
    """What the unit runs, in this order, each for a shell, and each as often as one likes.

    systemd stops at the first that fails: the policy rules, which hardly can, refuse even where there is no nft.
    """
    rules = wanted_rules(layout, Contents(), priority=rule_priority)
    for rule in sorted(rules, key=lambda rule: (rule.family.value, rule.priority)):
        yield _added_once(rule)
    yield f"nft list table inet {GUARD_TABLE} >/dev/null 2>&1 || exec nft -f {RULES_FILE}"


def _added_once(rule: PolicyRule) -> str:
    ip = f"ip -{rule.family.value} rule"
    # systemd-networkd starts later, and deletes rules of any other origin than the kernel.
    addition = f"{ip} add {rule} protocol kernel"
    command = f"{ip} show pref {rule.priority} to {rule.destination} | grep -q . || {addition}"
    # A kernel without IPv6 has nothing to refuse there.
    return f"test ! -e /proc/sys/net/ipv6 || {command}" if rule.family is Family.IPV6 else command
