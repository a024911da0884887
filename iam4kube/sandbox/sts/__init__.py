"""AWS STS on a loopback socket: sessions by moto, and in front of it everything that moto does not do.

moto never refuses a role, compares no external ID and believes every caller. So `server` stands in front of it:
it goes wrong on demand (`faults`) and passes calls to `service`, which knows whom it gave which session
(`sessions`) and checks requests and trust policies (`requests`, `trust`). Only then `backend` (moto, in a thread
of its own) issues credentials.
"""

from iam4kube.sandbox.sts.server import Sts
from iam4kube.sandbox.sts.service import SERVER_ROLE

__all__ = ["SERVER_ROLE", "Sts"]
