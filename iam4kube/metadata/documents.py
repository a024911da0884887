"""What is written into the answers: the two role documents, the identity document, and the plain values.

The shape of the credentials document is the one that every client was found to parse: these fields and no
other (a `RoleArn` breaks s3fs), seconds without fractions, `Z`, `text/plain`, no newline at the end.
"""

import base64
import hashlib
import json
from datetime import datetime
from functools import lru_cache
from weakref import WeakKeyDictionary

from iam4kube.credentials.values import Fetched
from iam4kube.kube.objects import Node
from iam4kube.metadata.responses import Response
from iam4kube.roles import Role

_IDENTITY_DOCUMENT_VERSION = "2017-09-30"  # the format EC2 has served since then


class CredentialDocuments:
    """Credentials documents, each rendered once and kept as long as its credentials are."""

    def __init__(self) -> None:
        self._rendered: WeakKeyDictionary[Fetched, Response] = WeakKeyDictionary()

    def of(self, fetched: Fetched, role: Role) -> Response:
        """The document of credentials that were fetched for `role`."""
        rendered = self._rendered.get(fetched)
        if rendered is None:
            rendered = self._rendered[fetched] = credentials_document(fetched, role)
        return rendered


def credentials_document(fetched: Fetched, role: Role) -> Response:
    """`iam/security-credentials/{role}`."""
    credentials = fetched.credentials
    return _document(
        Code="Success",
        LastUpdated=_seconds(credentials.issued),
        Type="AWS-HMAC",
        AccessKeyId=credentials.access_key_id,
        SecretAccessKey=credentials.secret_access_key,
        Token=credentials.session_token,
        Expiration=_seconds(credentials.expiration),
        AccountId=role.account,
    )


def info_document(fetched: Fetched, role: Role) -> Response:
    """`iam/info`: Terraform takes account and partition from the ARN, .NET asks for it before the role list."""
    digest = base64.b32encode(hashlib.sha256(role.arn.encode()).digest()).decode()
    return _document(
        Code="Success",
        LastUpdated=_seconds(fetched.credentials.issued),
        InstanceProfileArn=f"arn:{role.partition}:iam::{role.account}:instance-profile{role.path}{role.name}",
        InstanceProfileId=f"AIPA{digest[:17]}",  # IAM's form of the id of an instance profile: AIPA and 17 of A-Z 2-7
    )


def identity_document(node: Node, role: Role | None) -> Response | None:
    """`instance-identity/document`: where clients look for the region. None when the node names no region."""
    if not node.region:
        return None
    fields = {"region": node.region, "version": _IDENTITY_DOCUMENT_VERSION}
    if node.zone:
        fields["availabilityZone"] = node.zone
    if role is not None:
        fields["accountId"] = role.account
    return _document(**fields)


@lru_cache(maxsize=8192)  # role names, regions and zones: from the cluster's objects, never from a request
def plain_value(text: str) -> Response:
    """A value alone, without a newline: CRT and Rust take it for a part of the name."""
    return Response(200, text.encode())


def _document(**fields: str) -> Response:
    return Response(200, json.dumps(fields, indent=2, separators=(",", " : ")).encode())


def _seconds(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
