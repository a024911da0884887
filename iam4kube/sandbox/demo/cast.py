"""Who plays: the pods, their ServiceAccounts and the roles that these name."""

from dataclasses import dataclass, replace

SHOP_ACCOUNT = "111122223333"
FINANCE_ACCOUNT = "444455556666"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A pod and a ServiceAccount of the same name."""

    namespace: str
    name: str
    address: str
    role_arn: str | None = None
    external_id: str | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def session_name(self) -> str:
        """What the server calls its sessions, and what trust policies ask for."""
        return f"{self.namespace}@{self.name}"

    @property
    def session_arn(self) -> str:
        """Who the pod is to AWS, with the credentials of its role."""
        if self.role_arn is None:
            raise ValueError(f"{self} has no role")
        _, _, _, _, account, role = self.role_arn.split(":")
        return f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{self.session_name}"


NODE_ROLE = "worker-node"
NODE_ROLE_ARN = f"arn:aws:iam::{SHOP_ACCOUNT}:role/{NODE_ROLE}"
NODE_INSTANCE = "i-0fedcba9876543210"
NODE_SESSION_ARN = f"arn:aws:sts::{SHOP_ACCOUNT}:assumed-role/{NODE_ROLE}/{NODE_INSTANCE}"
"""Who the worker node is to AWS: the instance's role, and what EC2 calls its sessions."""


def _role(account: str, name: str) -> str:
    return f"arn:aws:iam::{account}:role/pods/{name}"


ORDERS = Workload(namespace="shop", name="orders", address="127.64.0.1", role_arn=_role(SHOP_ACCOUNT, "orders"))
CART = Workload(namespace="shop", name="cart", address="127.64.0.2", role_arn=_role(SHOP_ACCOUNT, "cart"))
FINANCE_ORDERS = Workload(
    namespace="finance",
    name="orders",
    address="127.64.1.1",
    role_arn=_role(FINANCE_ACCOUNT, "orders"),
    external_id="invoice-4711",
)
CHECKOUT = Workload(namespace="shop", name="checkout", address="127.64.0.3", role_arn=_role(SHOP_ACCOUNT, "checkout"))
SEARCH = Workload(namespace="shop", name="search", address="127.64.0.4", role_arn=_role(SHOP_ACCOUNT, "search"))
WEBSITE = Workload(namespace="shop", name="website", address="127.64.0.5")
REPORTS = Workload(namespace="finance", name="reports", address="127.64.1.2", role_arn=_role(SHOP_ACCOUNT, "orders"))
"""Names a role of the shop, whose trust policy asks for the session name of `ORDERS`."""

NODE_AGENT = Workload(namespace="kube-system", name="node-agent", address="10.0.0.2")
"""A process of the node, such as a hostNetwork pod's: it has the node's address, and is to get the node's role."""

ANNOTATED_WEBSITE = replace(WEBSITE, role_arn=_role(SHOP_ACCOUNT, "website"))
"""What a person may make of `WEBSITE` afterwards."""

TRUSTED = (ORDERS, CART, FINANCE_ORDERS, CHECKOUT, SEARCH, ANNOTATED_WEBSITE)
"""Those whose roles have a trust policy that lets them in, under their own session name only."""
