"""Random numbers of a step and of a sample, and the order of the samples."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamdiffusion.training.random_numbers import Draw, batch_indices


@given(
    n=st.integers(1, 30), size=st.integers(1, 40), step=st.integers(0, 50), seed=st.integers(0, 9)
)
def test_data_order_visits_every_sample_equally(n: int, size: int, step: int, seed: int) -> None:
    stream = torch.cat([batch_indices(n, size, s, seed) for s in range(step + 1)])
    whole = stream[: len(stream) // n * n].reshape(-1, n)
    assert (whole.sort(dim=1).values == torch.arange(n)).all()
    assert torch.equal(stream[-size:], batch_indices(n, size, step, seed))


def test_random_numbers_of_a_step_are_its_own() -> None:
    def draw(seed: int, step: int, stream: int = 0) -> list[float]:
        return Draw(seed, step, 3, stream=stream).rand().tolist()

    assert draw(0, 5) == draw(0, 5)
    assert len({tuple(draw(*key)) for key in [(0, 5), (0, 6), (1, 5), (5, 0), (0, 5, 1)]}) == 5


def test_a_sample_gets_the_same_numbers_in_any_part() -> None:
    def numbers(part: slice) -> list[torch.Tensor]:
        draw = Draw(3, 7, 6, part)
        return [draw.rand(), draw.randn(2, 4), draw.randint(-2, 3, 5), draw.rand(1)]

    whole = numbers(slice(None))
    parts = [numbers(slice(0, 2)), numbers(slice(2, 6))]
    for one, *pieces in zip(whole, *parts, strict=True):
        assert torch.equal(one, torch.cat(pieces))
    assert set(whole[2].unique().tolist()) <= {-2, -1, 0, 1, 2}
