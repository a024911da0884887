"""What went wrong in a call to AWS, as far as the queue is concerned.

Three questions, in this order: does STS ask us to slow down, is it trouble of STS, the network or our own
credentials, or does STS refuse this role? The codes are those of "Common Error Types" and of AssumeRole in the
STS API reference, and those that the SDKs' standard retry mode knows. A refusal is the rest: an unknown code
in a 4xx answer says something of the request, and only the role is special about it.

What is said here goes to logs and to pods' events, so no error's text is passed on unless it is known what it
quotes. botocore's parser quotes a body that it cannot read, and does not see that one was cut short: a session's
secret key would be in the text. Others quote what a credential process printed, or a proxy's URL with its password.
"""

from http import HTTPStatus

from botocore import exceptions as aws

from iam4kube.credentials.call_threads import ThreadsStuckError
from iam4kube.credentials.values import FailureKind, FetchError
from iam4kube.runtime.userinfo import without_userinfo

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
_QUOTES_THE_REQUEST = frozenset({"IncompleteSignature", "SignatureDoesNotMatch"})
"""Messages with what was signed, or how: the server's own session token and access key are in it."""

_QUOTES_NO_ANSWER: frozenset[type[BaseException]] = frozenset(
    {
        # The endpoint called, and at most what OpenSSL says of it.
        aws.ConnectTimeoutError,
        aws.ConnectionClosedError,
        aws.EndpointConnectionError,
        aws.ProxyConnectionError,
        aws.ReadTimeoutError,
        aws.SSLError,
        # Configuration, by its names.
        aws.ConfigNotFound,
        aws.ConfigParseError,
        aws.InfiniteLoopConfigError,
        aws.InvalidRegionError,
        aws.NoCredentialsError,
        aws.NoRegionError,
        aws.ParamValidationError,
        aws.PartialCredentialsError,
        aws.ProfileNotFound,
        ThreadsStuckError,
    }
)
"""Exactly these, as a subclass may have another text (`fmt` in botocore.exceptions)."""

_CAUSES_AT_MOST = 5
_MESSAGE_LIMIT = 600  # an event's note may have 1024 characters


def classify(error: BaseException) -> FetchError:
    """What an exception of botocore (or a time-out) means. Raise it where `error` is not handled any more: as its
    cause or context, `error` would be in every traceback, with its text.
    """
    if isinstance(error, FetchError):
        return error
    if isinstance(error, aws.ClientError):
        return _classify_answer(error)
    # No answer, or not even a call: the network, a proxy's page, credentials that the chain does not find.
    kind = FailureKind.PERMANENT if isinstance(error, aws.ParamValidationError) else FailureKind.TRANSIENT
    if type(error) is TimeoutError:
        return FetchError(kind=kind, code="Timeout", message="no answer in time")
    return FetchError(kind=kind, code=_code(error), message=_one_line(_text(error)))


def _classify_answer(error: aws.ClientError) -> FetchError:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # A proxy's page has its status for a code.
    code = details.get("Code") or "Unknown"
    text = "(AWS quotes the request)" if code in _QUOTES_THE_REQUEST else details.get("Message") or "(no message)"
    return FetchError(kind=_kind(code, status), code=code, message=_one_line(text))


def _code(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "Timeout"
    return type(error).__name__ if type(error).__module__.startswith("botocore.") else "InternalError"


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
        # A token file that is not there, or not to be read; of a credential process it is the program alone.
        return f"{error.strerror}: {error.filename!r}"
    if type(error) not in _QUOTES_NO_ANSWER:
        return _names(error)
    text, quoted = str(error), getattr(error, "kwargs", {})
    for url in (str(quoted.get(name, "")) for name in ("endpoint_url", "proxy_url")):
        text = text.replace(url, without_userinfo(url)) if url else text
    return text


def _names(error: BaseException) -> str:
    """The names of an error's type and of its causes' types: what there is to say without a text."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < _CAUSES_AT_MOST:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return ", caused by ".join(names)


def _kind(code: str, status: int) -> FailureKind:
    if code in _THROTTLING or status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureKind.THROTTLED
    if code in _TRANSIENT or code in OWN_CREDENTIALS or status >= HTTPStatus.INTERNAL_SERVER_ERROR or not status:
        return FailureKind.TRANSIENT
    return FailureKind.PERMANENT


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_LIMIT else f"{line[:_MESSAGE_LIMIT]}…"
