"""The first thing that happens to a request, before its path means anything: its token."""

from collections.abc import Callable
from enum import StrEnum

from iam4kube.metadata.requests import Authentication, Request, parse_ttl
from iam4kube.metadata.responses import BAD_REQUEST, FORBIDDEN, UNAUTHORIZED, Response
from iam4kube.metadata.routes import TOKEN_ROUTES, Route
from iam4kube.metadata.tokens import InvalidToken, Tokens


class TokenPolicy(StrEnum):
    """Whether requests without a token are served, like EC2's `HttpTokens`."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class Authenticator:
    """Issues tokens and lets requests pass, or not. `refused` hears the reasons."""

    def __init__(self, tokens: Tokens, *, policy: TokenPolicy, refused: Callable[[str], None]) -> None:
        self._tokens = tokens
        self._required = policy is TokenPolicy.REQUIRED
        self._refused = refused

    def answer(self, request: Request) -> Response | None:
        """The answer to a request that goes no further, or None. Fills in what the token says."""
        if request.method == "PUT" and request.route in TOKEN_ROUTES:
            return self._issue(request)
        if request.token is None:
            return self._without_token(request)
        try:
            request.echoed_ttl = self._tokens.verify(request.token, request.address)
        except InvalidToken as invalid:
            # 401 and nothing else: the only status after which SDKs that fell back to v1 ask for a token again.
            return self._refuse(request, invalid.flaw, UNAUTHORIZED)
        request.authentication = Authentication.V2
        return None

    def _issue(self, request: Request) -> Response:
        request.authentication = Authentication.ISSUE
        if request.forwarded:
            return self._refuse(request, "forwarded", FORBIDDEN)
        if request.route is Route.OTHER_TOKEN:
            return self._refuse(request, "token_path", FORBIDDEN)
        ttl = parse_ttl(request.ttl)
        if ttl is None:
            return self._refuse(request, "token_ttl", BAD_REQUEST)
        request.echoed_ttl = b"%d" % ttl
        return Response(200, self._tokens.issue(request.address, ttl=ttl))

    def _without_token(self, request: Request) -> Response | None:
        request.authentication = Authentication.V1
        if self._required:
            return self._refuse(request, "token_missing", UNAUTHORIZED)
        if request.forwarded:  # a proxying pod gives its own role away
            return self._refuse(request, "forwarded", FORBIDDEN)
        return None

    def _refuse(self, request: Request, reason: str, response: Response) -> Response:
        if response is UNAUTHORIZED:
            request.authentication = Authentication.INVALID
        self._refused(reason)
        return response
