"""What every refusal has in common."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ssm_backends import Operator, validate


def refused(error: type[Exception], name: str, operator: Operator, inputs: dict[str, Any]) -> str:
    """The message, which names the argument first, then the rule, then what was given."""
    with pytest.raises(error) as caught:
        validate(operator, **inputs)
    message = str(caught.value)
    assert message.startswith(f"`{name}`"), message
    assert re.search(r"; got |; it takes ", message), message
    return message
