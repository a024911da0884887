"""What each outcome looks like to the client: the table of statuses, in one place.

No error has a body, and a listed role's credentials are never answered with an error status: awscrt takes an
error's body for a role name, and aborts its process on an error status for credentials. It survives a closed
connection, so that is the answer there whenever we are not certain.
"""

import asyncio
from collections.abc import Callable

from iam4kube.identity.outcomes import Located, Unavailable
from iam4kube.kube.objects import Node
from iam4kube.metadata.documents import CredentialDocuments, identity_document, info_document, plain_value
from iam4kube.metadata.lookup import Answer, Place, RoleAnswer
from iam4kube.metadata.metrics import MetadataMetrics
from iam4kube.metadata.requests import Request
from iam4kube.metadata.responses import CLOSE, NOT_FOUND, UNAVAILABLE, Response
from iam4kube.metadata.routes import Route
from iam4kube.roles import Role


class Answers:
    """Makes responses of outcomes, and counts what it made."""

    def __init__(self, metrics: MetadataMetrics) -> None:
        self._metrics = metrics
        self._documents = CredentialDocuments()
        self._time: Callable[[], float] = asyncio.get_running_loop().time

    def of_role(self, request: Request, answer: Answer) -> Response:
        """The response to a request for something of the asker's role."""
        if isinstance(answer, RoleAnswer):
            return self._of_granted_role(request, answer)
        if isinstance(answer, Unavailable):
            return self._of_missing_role(request, answer)
        self._metrics.refused(answer.reason)
        return NOT_FOUND

    def of_place(self, request: Request, place: Place, *, role: Role | None) -> Response:
        """The response to a request for where the asker runs. `role` if it is known already."""
        if isinstance(place, Located):
            return _of_node(request.route, place.node, role) or NOT_FOUND
        if isinstance(place, Unavailable):
            return self.unavailable(request, place.reason)
        self._metrics.refused(place.reason)
        return NOT_FOUND

    def unavailable(self, request: Request, reason: str) -> Response:
        """The response when we are not certain."""
        self._metrics.refused(reason)
        return CLOSE if request.route is Route.CREDENTIALS else UNAVAILABLE

    def _of_missing_role(self, request: Request, answer: Unavailable) -> Response:
        if request.route is Route.CREDENTIALS and answer.role is not None and request.role != answer.role.name:
            return self._of_other_role()
        return self.unavailable(request, answer.reason)

    def _of_granted_role(self, request: Request, answer: RoleAnswer) -> Response:
        role, fetched = answer.identified.role, answer.fetched
        if request.route is Route.ROLE_LIST:
            return plain_value(role.name)
        if request.route is Route.IAM_INFO:
            return info_document(fetched, role)
        if request.role != role.name:
            return self._of_other_role()
        self._metrics.served(fetched.expires_at - self._time())
        return self._documents.of(fetched, role)

    def _of_other_role(self) -> Response:
        """A name that is not the asker's own: whether it exists is nobody's business."""
        self._metrics.refused("other_role")
        return NOT_FOUND


def _of_node(route: Route, node: Node, role: Role | None) -> Response | None:
    if route is Route.IDENTITY_DOCUMENT:
        return identity_document(node, role)
    value = node.region if route is Route.REGION else node.zone
    return plain_value(value) if value else None
