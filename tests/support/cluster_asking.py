"""What the chain says of whoever asks, in a cluster as the watches deliver it."""

from iam4kube.identity.outcomes import ConfirmAccount, ConfirmPods, Identified
from iam4kube.kube.objects import Address
from tests.support.cluster import Cluster

ASKER = Address("10.0.0.7")


def who(cluster: Cluster, address: str = ASKER) -> object:
    """The chain's outcome: the name of the identified pod, or the outcome itself."""
    outcome = cluster.chain.evaluate(Address(address))
    return outcome.pod.name if isinstance(outcome, Identified) else outcome


async def confirmed(cluster: Cluster, address: str = ASKER) -> object:
    """The outcome once what the chain wants confirmed has been read."""
    outcome = cluster.chain.evaluate(Address(address))
    while isinstance(outcome, ConfirmPods | ConfirmAccount):
        assert await cluster.directory.confirmations.confirm(outcome)
        outcome = cluster.chain.evaluate(Address(address))
    return who(cluster, address)
