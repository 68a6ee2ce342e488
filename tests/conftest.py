"""What every test gets: no display, no network, and a check that it leaks no global state."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("MNE_LOGGING_LEVEL", "WARNING")
os.environ.pop("DREAMDIFFUSION_TRACEBACK", None)
# Fixtures of a module and other processes; each test has a folder of its own.
os.environ["DREAMDIFFUSION_STATE"] = tempfile.mkdtemp(prefix="dreamdiffusion-state-")

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every machine, however busy it is; other ones with
# --hypothesis-profile=default.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

DATA = Path(__file__).parents[1] / "../shared/data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real recordings; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("../shared/data is not on this machine")
    return DATA


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_state_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the log of looks of each test from the user's, and from those of other tests."""
    monkeypatch.setenv("DREAMDIFFUSION_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def no_leaked_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which the global random numbers, folder or number format are others.

    The library draws from generators that are passed down, so two tests in another order give
    the same result. A test that must seed a library which knows global numbers only is marked
    ``global_rng``.
    """
    before = _global_state()
    yield
    after = _global_state()
    may_draw = request.node.get_closest_marker("global_rng") is not None
    changed = [
        name
        for name, value in before.items()
        if after.get(name, value) != value and not (may_draw and name.endswith("random numbers"))
    ]
    if changed:
        pytest.fail(f"the test changed the global {', '.join(changed)}", pytrace=False)


def _global_state() -> dict[str, object]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, object] = {
        "numpy random numbers": (name, keys.tobytes(), position, has_gauss, gauss),
        "working directory": os.getcwd(),
    }
    torch = sys.modules.get("torch")  # a test that does not need torch shall not load it
    if torch is not None:
        state["torch random numbers"] = torch.get_rng_state().numpy().tobytes()
        state["torch number format"] = str(torch.get_default_dtype())
        state["torch gradient mode"] = torch.is_grad_enabled()
    return state
