"""What a backend may change behind the suite's back: noticed, and put back."""

from ssm_conformance.manners.keeping import manners_kept, noticed

__all__ = ["manners_kept", "noticed"]
