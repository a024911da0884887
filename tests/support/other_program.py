"""Another program that writes rules, kube-proxy say, in a network namespace."""

import subprocess

import pytest

from iam4kube.sandbox.network import Namespace


def write_rules(namespace: Namespace, text: str) -> None:
    """One transaction. Skips the test where the kernel does not take as much at once from a user namespace's root."""
    command = namespace.command("nft", "-f", "-")
    finished = subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=30)
    if "Message too long" in finished.stderr:
        pytest.skip("only the machine's root may write so much in one transaction")
    assert finished.returncode == 0, finished.stderr[:400]


def read_rules(namespace: Namespace, table: str) -> None:
    """List one table, such as `ip kube-proxy`, with all its elements."""
    command = namespace.command("nft", "list", "table", *table.split())
    subprocess.run(command, capture_output=True, check=True, timeout=30)


def big_table(*, elements: int, chains: int = 0) -> str:
    """A table with a map of that many elements, and that many chains of a rule each."""
    keys = ", ".join(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255} : drop" for number in range(elements))
    services = f"\tmap services {{\n\t\ttype ipv4_addr : verdict\n\t\telements = {{ {keys} }}\n\t}}\n"
    rules = "".join(f"\tchain service-{number} {{\n\t\tip daddr 10.0.0.1 counter\n\t}}\n" for number in range(chains))
    return f"table ip kube-proxy {{\n{services}{rules}}}\n"
