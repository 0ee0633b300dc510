"""One piece of such work for each person at a time."""

from __future__ import annotations

import pytest

from infra.errors import Conflict
from services.one_at_a_time import OneAtATime


def test_a_second_one_is_refused_until_the_first_has_ended() -> None:
    """Somebody else is not kept waiting; after a failure the place is free again."""
    imports = OneAtATime()
    with pytest.raises(ValueError, match="broken"), imports.held_by("user:ada"):
        with pytest.raises(Conflict), imports.held_by("user:ada"):
            pass
        with imports.held_by("user:ben"):
            pass
        raise ValueError("broken")
    with imports.held_by("user:ada"):
        pass
