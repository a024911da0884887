"""What list-and-watch relies on: consistent pages, versions that fit together, streams that say everything."""

from typing import Any

from iam4kube.sandbox.kubernetes import objects
from tests.contract.conftest import ApiServer

MERGE = "application/merge-patch+json"


def names(listed: dict[str, Any]) -> list[str]:
    """The names in a list, in its order."""
    return [item["metadata"]["name"] for item in listed["items"]]


def seen(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and name of each event that is no bookmark."""
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events if event["type"] != "BOOKMARK"]


async def create_accounts(server: ApiServer, *names: str, **labels: str) -> None:
    """Create ServiceAccounts, which are the smallest objects."""
    for name in names:
        account = objects.service_account(name)
        account["metadata"]["labels"] = labels
        await server.create(account)


async def present_version(server: ApiServer, plural: str = "serviceaccounts") -> str:
    """The version that a list made now carries."""
    listed = await server.get(server.path(plural))
    return str(listed["metadata"]["resourceVersion"])


async def test_pages_show_one_consistent_state(server: ApiServer) -> None:
    """What is created or deleted while a client pages through a list is not in the later pages, nor missing."""
    await create_accounts(server, "a", "b", "c", "d", "e")
    path = server.path("serviceaccounts")
    first = await server.get(path, limit="2")
    await create_accounts(server, "bb")
    await server.ask("DELETE", server.path("serviceaccounts", "d"))
    second = await server.get(path, limit="2", continue_=first["metadata"]["continue"])
    third = await server.get(path, limit="2", continue_=second["metadata"]["continue"])

    assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert first["metadata"]["remainingItemCount"] == 3
    assert "continue" not in third["metadata"]
    assert len({page["metadata"]["resourceVersion"] for page in (first, second, third)}) == 1


async def test_list_items_carry_no_type(server: ApiServer) -> None:
    """The list names the type, its items do not."""
    await create_accounts(server, "a")
    listed = await server.get(server.path("serviceaccounts"))
    assert (listed["kind"], listed["apiVersion"]) == ("ServiceAccountList", "v1")
    assert not {"kind", "apiVersion"} & set(listed["items"][0])


async def test_a_list_covers_one_namespace_or_all(server: ApiServer) -> None:
    """A list at the cluster's scope holds the objects of all namespaces, another one only its own."""
    await create_accounts(server, "a")
    everywhere = await server.get("/api/v1/serviceaccounts")
    assert server.namespace in {item["metadata"]["namespace"] for item in everywhere["items"]}
    assert names(await server.get("/api/v1/namespaces/another/serviceaccounts")) == []


async def test_a_list_of_the_future_is_refused(server: ApiServer) -> None:
    """A list "not older than" a version that nobody wrote yet: 504, with a cause and a time to wait."""
    answer = await server.ask("GET", server.path("pods"), resourceVersion="1000000000")
    assert answer.status == 504
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert answer.body["details"]["retryAfterSeconds"] == 1


async def test_a_watch_says_what_comes_after_its_version(server: ApiServer) -> None:
    """From a list's version on: creation, change, deletion, in order, each with a later version."""
    await create_accounts(server, "before")
    version = await present_version(server)
    await create_accounts(server, "later")
    path = server.path("serviceaccounts", "later")
    await server.ask("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    await server.ask("DELETE", path)

    events = await server.watch(server.path("serviceaccounts"), resourceVersion=version)

    assert seen(events) == [("ADDED", "later"), ("MODIFIED", "later"), ("DELETED", "later")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[0]["object"]["kind"] == "ServiceAccount"


async def test_a_watch_from_zero_begins_with_everything(server: ApiServer) -> None:
    """Version 0 is answered with the present state first, as creations."""
    await create_accounts(server, "a", "b")
    events = await server.watch(server.path("serviceaccounts"), resourceVersion="0")
    assert sorted(seen(events)) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_watch_with_a_selector_sees_objects_come_and_go(server: ApiServer) -> None:
    """What begins to match is a creation, what ceases to match a deletion."""
    await create_accounts(server, "a", team="blue")
    version = await present_version(server)
    for team in ("red", "blue"):
        patch = {"metadata": {"labels": {"team": team}}}
        await server.ask("PATCH", server.path("serviceaccounts", "a"), patch, content_type=MERGE)
    events = await server.watch(server.path("serviceaccounts"), resourceVersion=version, labelSelector="team=blue")
    assert seen(events) == [("DELETED", "a"), ("ADDED", "a")]


async def test_a_watch_of_one_object(server: ApiServer) -> None:
    """A field selector by name watches just that object."""
    version = await present_version(server)
    await create_accounts(server, "a", "b")
    path = server.path("serviceaccounts")
    events = await server.watch(path, resourceVersion=version, fieldSelector="metadata.name=b")
    assert seen(events) == [("ADDED", "b")]


async def test_a_watch_ends_in_time_and_with_a_bookmark(server: ApiServer) -> None:
    """`timeoutSeconds` ends a stream in good order; who asked for bookmarks gets one 2 s before."""
    version = await present_version(server, "pods")
    events = await server.watch(
        server.path("pods"),
        meanwhile=server.create(objects.pod("web")),  # the real one sends no bookmark that says nothing new
        resourceVersion=version,
        fieldSelector="metadata.name=another",
        allowWatchBookmarks="true",
        timeoutSeconds="4",
    )
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert events[-1]["object"]["kind"] == "Pod"
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_without_being_asked_no_bookmark_comes(server: ApiServer) -> None:
    """Bookmarks are only for those who ask for them."""
    version = await present_version(server, "pods")
    assert await server.watch(server.path("pods"), resourceVersion=version, timeoutSeconds="3") == []


async def test_history_that_is_forgotten_is_answered_with_410(server: ApiServer) -> None:
    """A watch gets an ERROR event, a continued list a status, and with that a token to go on inconsistently."""
    await create_accounts(server, "a", "b", "c")
    path = server.path("serviceaccounts")
    page = await server.get(path, limit="1")
    await server.forget_history()

    events = await server.watch(path, resourceVersion=page["metadata"]["resourceVersion"], timeoutSeconds="5")
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")

    answer = await server.ask("GET", path, limit="1", continue_=page["metadata"]["continue"])
    assert (answer.status, answer.body["reason"]) == (410, "Expired")
    rest = await server.get(path, continue_=answer.body["metadata"]["continue"])
    assert names(rest) == ["b", "c"]


async def test_label_selectors(server: ApiServer) -> None:
    """Equality, sets and existence; an absent label differs from every value."""
    await create_accounts(server, "blue", team="blue", tier="front")
    await create_accounts(server, "red", team="red")
    await create_accounts(server, "none")
    selected = {
        "team=blue": ["blue"],
        "team==blue,tier=front": ["blue"],
        "team!=blue": ["none", "red"],
        "team in (blue, red),tier": ["blue"],
        "team notin (blue)": ["none", "red"],
        "team": ["blue", "red"],
        "!team": ["none"],
    }
    for selector, expected in selected.items():
        listed = await server.get(server.path("serviceaccounts"), labelSelector=selector)
        assert (selector, names(listed)) == (selector, expected)


async def test_field_selectors(server: ApiServer) -> None:
    """The fields of pods that anybody selects by; an unknown one is a bad request."""
    await server.create(objects.pod("here", node="node-a"))
    await server.create(objects.pod("there", node="node-b", service_account="robot"))
    selected = {
        "spec.nodeName=node-a": ["here"],
        "spec.nodeName!=node-a,status.phase=Pending": ["there"],
        "spec.serviceAccountName=robot": ["there"],
        "metadata.name=here": ["here"],
        "status.phase=Running": [],
    }
    for selector, expected in selected.items():
        listed = await server.get(server.path("pods"), fieldSelector=selector)
        assert (selector, names(listed)) == (selector, expected)
    answer = await server.ask("GET", server.path("pods"), fieldSelector="spec.unknown=1")
    assert (answer.status, answer.body["message"]) == (400, "field label not supported: spec.unknown")
