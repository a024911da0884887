"""The real API server takes every manifest, as often as one likes, and judges the pods that they lead to."""

import copy
from collections.abc import Callable, Iterator

import pytest

from tests.support.installed_cluster import InstalledCluster, Refused
from tests.support.manifests import (
    BASE,
    EVERYTHING,
    MANIFESTS,
    OVERLAYS,
    POLICIES,
    Manifest,
    find,
    pod_templates,
    rendered,
    rendered_text,
)

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("folder", [*OVERLAYS, BASE])
def test_apply_is_accepted(installed: InstalledCluster, folder: str) -> None:
    """Unknown and misspelt fields are refused by the server itself, those of the operator's kinds too."""
    applied = installed.install(folder)
    assert applied.count("serverside-applied") == len(rendered(folder))


@pytest.mark.parametrize("folder", POLICIES)
def test_a_policy_by_itself_is_accepted(installed: InstalledCluster, folder: str) -> None:
    """Only tried: in force, it would judge what other tests do."""
    tried = installed.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(MANIFESTS / folder))
    assert tried.count("serverside-applied") == len(rendered(folder))


def test_everything_at_once_is_accepted(installed: InstalledCluster) -> None:
    """All components in one kustomization."""
    applied = installed.kubectl("apply", "--server-side", "-f", "-", stdin=rendered_text(EVERYTHING))
    assert applied.count("serverside-applied") == len(rendered(EVERYTHING))
    installed.install(BASE)


@pytest.mark.parametrize("how", ["--server-side=false", "--server-side"])
def test_apply_once_more_changes_nothing(installed: InstalledCluster, how: str) -> None:
    """Whichever way: objects have the versions that they had."""
    arguments = (how, "--force-conflicts") if how == "--server-side" else (how,)
    text, versions = rendered_text(BASE), []
    for _ in range(2):
        installed.kubectl("apply", *arguments, "-f", "-", stdin=text)
        found = installed.kubectl("get", "-f", "-", "-o=jsonpath={.items[*].metadata.resourceVersion}", stdin=text)
        versions.append(found.split())
    assert len(versions[0]) == len(rendered(BASE))
    assert versions[0] == versions[1]


def test_a_misspelt_field_would_be_refused(installed: InstalledCluster) -> None:
    """So the tests above say something."""
    wrong = rendered_text(BASE).replace("minReadySeconds:", "minReadySecond:")
    with pytest.raises(AssertionError, match="minReadySecond"):
        installed.kubectl("apply", "--server-side", "-f", "-", stdin=wrong)


def create(installed: InstalledCluster, namespace: str, template: Manifest) -> None:
    """Have a pod of this template judged, and not kept. Raises `Refused`."""
    metadata = {"generateName": "judged-", "labels": template["metadata"]["labels"]}
    pod = {"metadata": metadata, "spec": template["spec"]}
    installed.ask("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])
def test_every_pod_is_admitted(installed: InstalledCluster, folder: str) -> None:
    """Pod Security judges pods, not Deployments: each template is created as one, in its namespace."""
    templates = list(pod_templates(rendered(folder)))
    assert len(templates) == 3
    for namespace, template in templates:
        create(installed, namespace, template)


Change = Callable[[Manifest], object]


def worse() -> Iterator[tuple[str, Manifest]]:
    """The server's template, each time with something that it must not have."""
    template = find(rendered(BASE), "Deployment", "iam4kube")["spec"]["template"]
    changes: dict[str, Change] = {
        "hostNetwork=true": lambda spec: spec.update(hostNetwork=True),
        "runAsUser=0": lambda spec: spec["securityContext"].update(runAsUser=0),
        "runAsNonRoot": lambda spec: spec["securityContext"].update(runAsNonRoot=False),
        "seccompProfile": lambda spec: spec["securityContext"].pop("seccompProfile"),
        "unrestricted capabilities": lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"),
        "allowPrivilegeEscalation": lambda spec: spec["containers"][0]["securityContext"].pop(
            "allowPrivilegeEscalation"
        ),
    }
    for name, change in changes.items():
        changed = copy.deepcopy(template)
        change(changed["spec"])
        yield name, changed


def test_worse_pods_are_refused_beside_the_servers(installed: InstalledCluster) -> None:
    """Pod Security is in force there, at `restricted`; the router's pod would be refused, too."""
    refused = dict(worse()) | {"NET_ADMIN": find(rendered(BASE), "DaemonSet", "ip2service")["spec"]["template"]}
    for name, template in refused.items():
        with pytest.raises(Refused, match=name) as caught:
            create(installed, "iam4kube", template)
        assert caught.value.code == 403
        assert 'PodSecurity "restricted:v1.31"' in caught.value.message
