"""The front door: one function an operator, served by the best backend that claims the call."""

from ssm_backends.front.choice import Choice, PassedOver, choose, explain, outlook
from ssm_backends.front.preference import FallbackError, FallbackWarning, Order, order_for, use

__all__ = [
    "Choice",
    "FallbackError",
    "FallbackWarning",
    "Order",
    "PassedOver",
    "choose",
    "explain",
    "order_for",
    "outlook",
    "use",
]
