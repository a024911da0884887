"""What STS says when it refuses: HTTP statuses with error codes in XML, as AWS's query protocol writes them.

Codes and statuses: "Common Error Types" and "AssumeRole" of the STS API reference.
"""

import uuid
from xml.sax.saxutils import escape

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def new_request_id() -> str:
    """A request ID as AWS writes them."""
    return str(uuid.uuid4())


class StsError(Exception):
    """A call that is refused."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def xml(self) -> str:
        """The body of the answer."""
        fault = "Receiver" if self.status >= 500 else "Sender"
        return (
            f'<ErrorResponse xmlns="{NAMESPACE}">\n  <Error>\n    <Type>{fault}</Type>\n'
            f"    <Code>{escape(self.code)}</Code>\n    <Message>{escape(self.message)}</Message>\n  </Error>\n"
            f"  <RequestId>{new_request_id()}</RequestId>\n</ErrorResponse>\n"
        )


def access_denied(*, caller: str, role_arn: str) -> StsError:
    """What every reason not to trust the caller looks like: AWS does not say which it was."""
    message = f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
    return StsError(403, "AccessDenied", message)


def invalid_value(value: str, *, member: str, constraint: str) -> StsError:
    """A parameter that breaks its form."""
    message = (
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
        f"Member must satisfy {constraint}"
    )
    return StsError(400, "ValidationError", message)


def invalid_token() -> StsError:
    """A caller whom STS does not know."""
    return StsError(403, "InvalidClientTokenId", "The security token included in the request is invalid.")


def expired_token() -> StsError:
    """A caller whose session is over."""
    return StsError(403, "ExpiredToken", "The security token included in the request is expired")


def throttled() -> StsError:
    """Too many calls. STS answers 400, not 429."""
    return StsError(400, "Throttling", "Rate exceeded")
