"""The examples fit a fold once, however often they are run."""

from __future__ import annotations

import pytest
from script import load_script
from tiny import write_trials

from dreamdiffusion.decoders.config import LdaConfig
from dreamdiffusion.trials.trials import Trials

n170 = load_script("examples/n170.py")
gratings = load_script("examples/gratings.py")


def test_a_fold_is_fitted_again_only_where_settings_or_trials_changed(tmp_path, monkeypatch):
    assert gratings.fit_once is n170.fit_once
    fitted = []

    def fit(config):
        if config.width_s == 0.05:
            raise KeyboardInterrupt
        fitted.append(config.width_s)
        config.output.mkdir(exist_ok=True)
        return config.output / n170.MODEL

    monkeypatch.setattr(n170, "fit_decoder", fit)
    trials = Trials.load(write_trials(tmp_path / "trials"))
    config = LdaConfig(data=tmp_path / "trials", output=tmp_path / "fold")
    for _ in range(2):
        assert n170.fit_once(config, trials) == tmp_path / "fold" / n170.MODEL
    assert fitted == [0.03]
    n170.fit_once(config, trials.select(range(20)))
    assert fitted == [0.03, 0.03]
    with pytest.raises(KeyboardInterrupt):  # what was interrupted counts as not fitted
        n170.fit_once(config.model_copy(update={"width_s": 0.05}), trials)
    n170.fit_once(config, trials.select(range(20)))
    assert fitted == [0.03] * 3
