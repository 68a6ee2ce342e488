"""A stage that takes its configuration, or the fields of it as keywords."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from dreamdiffusion.files.schema import Schema

Result = TypeVar("Result")


def with_keywords(
    schema: type[Schema], parameter: str = "config"
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a function that takes a configuration be called with the fields of it as well.

    ``pretrain(PretrainConfig(steps=10))`` and ``pretrain(steps=10)`` are then the same.

    Parameters
    ----------
    schema
        The configuration.
    parameter
        The name of the parameter that takes it. A field that another parameter is named after can
        only be given inside the configuration.

    Returns
    -------
    callable
        A decorator. The function that it gives raises a TypeError for a keyword that is neither a
        parameter nor a field (the nearest is named), and for keywords beside a configuration.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*positional: Any, **keywords: Any) -> Result:
            own = {key: value for key, value in keywords.items() if key in signature.parameters}
            fields = {key: value for key, value in keywords.items() if key not in own}
            for key in fields:
                if key not in schema.model_fields:
                    known = [*signature.parameters, *schema.model_fields]
                    near = difflib.get_close_matches(key, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise TypeError(f"{function.__name__} has no setting {key!r}{hint}")
            bound = signature.bind_partial(*positional, **own)
            if parameter not in bound.arguments:
                bound.arguments[parameter] = schema(**fields)
            elif fields:
                raise TypeError(
                    f"{function.__name__} got a configuration and {', '.join(fields)} beside it; "
                    "give one or the other"
                )
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate
