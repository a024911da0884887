"""What went wrong in a call to AWS, as far as the queue is concerned.

Three questions, in this order: does STS ask us to slow down, is it trouble of STS, the network or our own
credentials, or does STS refuse this role? The codes are those of "Common Error Types" and of AssumeRole in the
STS API reference, and those that the SDKs' standard retry mode knows. A refusal is the rest: an unknown code
in a 4xx answer says something of the request, and only the role is special about it.
"""

from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from iam4kube.credentials.values import FailureKind, FetchError

_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
OWN_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Refusals of the caller, whatever it asks for."""

_TRANSIENT = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "TransactionInProgressException",
    }
)
_MESSAGE_LIMIT = 600  # an event's note may have 1024 characters


def classify(error: BaseException) -> FetchError:
    """What an exception of botocore (or a time-out) means."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, ClientError):
        return _classify_answer(error)
    # No answer, or not even a call: the network, a proxy's page, credentials that the chain does not find.
    kind = FailureKind.PERMANENT if isinstance(error, ParamValidationError) else FailureKind.TRANSIENT
    if isinstance(error, TimeoutError):
        return FetchError(kind=kind, code="Timeout", message=str(error) or "no answer in time")
    code = type(error).__name__ if isinstance(error, BotoCoreError) else "InternalError"
    return FetchError(kind=kind, code=code, message=_one_line(str(error)))


def _classify_answer(error: ClientError) -> FetchError:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # A proxy's page has its status for a code.
    code = details.get("Code") or "Unknown"
    return FetchError(kind=_kind(code, status), code=code, message=_one_line(details.get("Message") or "(no message)"))


def _kind(code: str, status: int) -> FailureKind:
    if code in _THROTTLING or status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureKind.THROTTLED
    if code in _TRANSIENT or code in OWN_CREDENTIALS or status >= HTTPStatus.INTERNAL_SERVER_ERROR or not status:
        return FailureKind.TRANSIENT
    return FailureKind.PERMANENT


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_LIMIT else f"{line[:_MESSAGE_LIMIT]}…"
