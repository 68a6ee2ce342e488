"""A stage called with its configuration, and with the fields of it."""

from __future__ import annotations

import pytest

from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.schema import Schema


class Sizes(Schema):
    width: int = 3
    height: int = 4


@with_keywords(Sizes)
def area(config: Sizes, depth: int = 1) -> int:
    """Return the area, or the volume."""
    return config.width * config.height * depth


@with_keywords(Sizes, "sizes")
def scaled(factor: float, sizes: Sizes) -> float:
    return factor * sizes.width


def test_fields_are_keywords_and_the_configuration_still_goes():
    assert area() == 12
    assert area(width=5) == 20
    assert area(width=5, depth=2) == 40
    assert area(Sizes(height=1)) == area(config=Sizes(height=1)) == 3
    assert scaled(2.0, width=10) == scaled(2.0, Sizes(width=10)) == 20.0
    assert area.__doc__ == "Return the area, or the volume."


def test_wrong_keywords_are_named():
    with pytest.raises(TypeError, match=r"area has no setting 'widht'; did you mean width\?"):
        area(widht=5)
    with pytest.raises(TypeError, match="got a configuration and width beside it"):
        area(Sizes(), width=5)
    with pytest.raises(ValueError, match="width"):
        area(width="wide")
    with pytest.raises(TypeError, match="factor"):
        scaled(width=1)
