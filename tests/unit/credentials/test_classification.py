"""What errors of botocore mean: whether to slow down, to retry soon, or that STS refuses the role."""

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from iam4kube.credentials.classification import classify
from iam4kube.credentials.values import FailureKind, FetchError

TRANSIENT, THROTTLED, PERMANENT = FailureKind.TRANSIENT, FailureKind.THROTTLED, FailureKind.PERMANENT
URL = "https://sts.eu-central-1.amazonaws.com"


def _answer(status: int, code: str, message: str = "text") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "AssumeRole",
    )


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", PERMANENT),
        (400, "ValidationError", PERMANENT),
        (403, "RegionDisabledException", PERMANENT),
        (400, "PackedPolicyTooLarge", PERMANENT),
        (400, "SomethingNew", PERMANENT),
        (400, "Throttling", THROTTLED),
        (400, "ThrottlingException", THROTTLED),
        (400, "RequestLimitExceeded", THROTTLED),
        (503, "SlowDown", THROTTLED),
        (429, "429", THROTTLED),
        (403, "ExpiredToken", TRANSIENT),
        (400, "ExpiredTokenException", TRANSIENT),
        (403, "InvalidClientTokenId", TRANSIENT),
        (403, "SignatureDoesNotMatch", TRANSIENT),
        (400, "RequestExpired", TRANSIENT),
        (400, "IDPCommunicationError", TRANSIENT),
        (500, "InternalFailure", TRANSIENT),
        (503, "ServiceUnavailable", TRANSIENT),
        (502, "502", TRANSIENT),
        (504, "", TRANSIENT),
    ],
)
def test_answers_of_sts(status: int, code: str, kind: FailureKind) -> None:
    """By AWS's code, and by the status where a proxy answered."""
    assert classify(_answer(status, code)).kind is kind


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialsError(),
        PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        CredentialRetrievalError(provider="iam-role", error_msg="no answer"),
        ConnectTimeoutError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        SSLError(endpoint_url=URL, error=OSError("certificate")),
        NoRegionError(),
        TimeoutError(),
        RuntimeError("a bug"),
    ],
)
def test_no_answer_says_nothing_of_the_role(error: Exception) -> None:
    """The network and the server's own credentials are transient trouble, named by their class."""
    failure = classify(error)
    assert failure.kind is TRANSIENT
    assert failure.code in {type(error).__name__, "Timeout", "InternalError"}
    assert failure.message


@pytest.mark.parametrize(
    "error",
    [
        ResponseParserError("Unable to parse response, invalid XML received. Further retries may succeed:\nhunter2"),
        ResponseParserError("hunter2"),
        CredentialRetrievalError(provider="custom-process", error_msg="hunter2"),
        HTTPClientError(error=ValueError("hunter2")),
        ProxyConnectionError(proxy_url="http://bob:hunter2@proxy:3128"),
        EndpointConnectionError(endpoint_url="https://bob:hunter2@sts.example"),
        ConnectionClosedError(endpoint_url="https://bob:hunt#@hunter2@sts.example"),
        SSLError(endpoint_url="https://bob:hunter2@sts.example", error=OSError("certificate")),
        ValueError("Invalid header value b'hunter2'"),
        KeyError("hunter2"),
        TimeoutError("hunter2"),
        type("NewError", (ReadTimeoutError,), {"fmt": "{error}"})(error="hunter2", endpoint_url=URL),
        _answer(403, "SignatureDoesNotMatch", "The Canonical String should have been 'x-amz-security-token:hunter2'"),
        _answer(403, "IncompleteSignature", "missing equal-sign in Authorization header: 'Credential=hunter2'"),
    ],
)
def test_text_is_passed_on_only_if_it_is_known_what_it_quotes(error: Exception) -> None:
    """An answer, a credential process's output and a password in a URL are in no log and no event."""
    failure = classify(error)
    assert "hunt" not in f"{failure!r} {failure} {failure.message}"
    assert failure.message
    assert failure.kind is TRANSIENT


def test_error_without_text_is_named_with_its_causes() -> None:
    """The types say whether it was the parser, the proxy or a process."""
    error = ResponseParserError("hunter2")
    error.__cause__ = SyntaxError("hunter2")
    failure = classify(error)
    assert (failure.code, failure.message) == (
        "ResponseParserError",
        "ResponseParserError, caused by SyntaxError",
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "/var/run/secrets/token"),
            "directory: '/var/run/secrets/token'",
        ),
        (PermissionError(13, "Permission denied", "/var/run/secrets/token"), "denied: '/var/run/secrets/token'"),
        (ProxyConnectionError(proxy_url="http://bob:hunter2@proxy:3128"), '"http://proxy:3128"'),
    ],
)
def test_what_is_to_be_mended_is_told(error: Exception, told: str) -> None:
    """The file that cannot be read, and the proxy that does not answer."""
    assert told in classify(error).message


@pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url=URL), ReadTimeoutError(endpoint_url=URL)])
def test_endpoint_is_told(error: Exception) -> None:
    """Which one cannot be reached is what an operator needs."""
    assert URL in classify(error).message


def test_call_that_botocore_refuses_to_send_is_permanent() -> None:
    """Its parameters will not get better."""
    assert classify(ParamValidationError(report="RoleSessionName: too short")).kind is PERMANENT


def test_text_is_one_bounded_line() -> None:
    """It goes into an event of the pod."""
    failure = classify(_answer(403, "AccessDenied", "User: a\n  is not\tauthorized " + "x" * 5000))
    assert failure.message.startswith("User: a is not authorized x")
    assert len(failure.message) <= 601


def test_failure_passes_as_it_is() -> None:
    """What is classified already is not classified again."""
    failure = FetchError(kind=THROTTLED, code="Throttling", message="slow down")
    assert classify(failure) is failure
