"""What is cached, and for how long."""

import gc
import weakref

from iam4kube.metadata.documents import CredentialDocuments, credentials_document, info_document
from iam4kube.roles import parse_role_arn
from tests.support.metadata import fetched

ROLE = parse_role_arn("arn:aws-cn:iam::111122223333:role/team/orders")


async def test_a_document_is_rendered_once_for_each_fetch_and_dies_with_it() -> None:
    """A refreshed session is another object and gets another document."""
    documents = CredentialDocuments()
    first, second = fetched(access_key_id="ASIAFIRST"), fetched(access_key_id="ASIASECOND")

    assert documents.of(first, ROLE) is documents.of(first, ROLE)
    assert b"ASIASECOND" in documents.of(second, ROLE).body
    document = weakref.ref(first)
    del first
    gc.collect()
    assert document() is None


async def test_the_document_is_laid_out_as_ec2_lays_it_out() -> None:
    """One field a line: parsers that search lines find them, too."""
    body = credentials_document(fetched(), ROLE).body.decode()

    assert body.startswith('{\n  "Code" : "Success",\n')
    assert not body.endswith("\n")


async def test_the_instance_profile_is_in_the_roles_partition_and_has_a_stable_id() -> None:
    """The same on each replica."""
    body = info_document(fetched(), ROLE).body
    assert b'"arn:aws-cn:iam::111122223333:instance-profile/team/orders"' in body
    assert info_document(fetched(life=10), ROLE).body == body
