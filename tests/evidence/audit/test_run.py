"""The audit as a whole: a clean experiment, the command, the fine-tuning, the report, real data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments import blocked, experiment, named, severe, split_at_random, split_by_run
from PIL import Image
from tiny import SIZE, finetune_config

from dreamdiffusion.cli.commands import main
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evidence.audit.findings import Finding
from dreamdiffusion.evidence.audit.run import audit_record, check_acknowledged, read_audit
from dreamdiffusion.files.schema import read_yaml, write_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.report.render import fill_template
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

CHECKS = {
    "block_design", "time_across_split", "fixed_order", "class_by_run", "event_timing", "drift",
    "prestimulus_signal", "early_signal", "duplicate_trials", "shared_stimuli", "units", "rates",
    "class_balance", "few_trials", "alternating_order", "class_in_channel",
}  # fmt: skip


def test_a_well_made_experiment_passes_every_check_with_its_figures():
    trials = experiment(2)
    found = named(trials, split_by_run(trials))
    assert set(found) == CHECKS
    assert "3 samples lie before 40 ms" in found.pop("early_signal").what  # at 64 Hz
    assert {finding.severity for finding in found.values()} == {"passed"}
    for name in (
        "block_design", "alternating_order", "fixed_order", "class_by_run", "event_timing", "drift",
    ):  # fmt: skip
        assert 0.006 <= found[name].evidence["p"] <= 1
        assert found[name].remedy == ""
    assert found["block_design"].evidence["n_trials"] == len(trials)
    assert found["few_trials"].evidence["fewest_training_trials"] > 50
    json.dumps(audit_record(list(found.values()), trials, split_by_run(trials)))


def test_random_experiments_are_rarely_severe():
    """The rate of a large run is in docs/audit.md; here a small one with fixed seeds."""
    wrong = []
    for seed in range(45):
        shape = [{}, {"n_classes": 4}, {"n_runs": 2, "n_trials": 60}][seed % 3]
        trials = experiment(100 + seed, **({"n_runs": 4, "n_trials": 24} | shape))
        wrong += [(seed, name) for name in severe(named(trials, split_at_random(trials)))]
    assert len({seed for seed, _ in wrong}) < 0.05 * 45, wrong


def test_the_command_writes_text_json_and_a_picture(tmp_path, capsys):
    blocked(experiment(2)).save(tmp_path / "trials")
    arguments = ["audit", "--data", str(tmp_path / "trials"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "severe\n  block_design\n    what " in shown
    assert shown.index("passed\n") < shown.index("severe\n")
    last = shown.splitlines()[-1]
    assert last.startswith("sum") and f"{len(CHECKS)} findings: " in last
    content = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))
    assert content["severe"][0] == "block_design"
    assert f" {len(content['severe'])} severe ({', '.join(content['severe'])}), " in last
    assert content["split"] is None
    assert {finding["name"] for finding in content["findings"]} == CHECKS
    with Image.open(tmp_path / "out" / "audit.png") as picture:
        assert picture.size[0] > 800
    assert main([*arguments, "--split.test", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["split"].startswith("test run 1")
    assert "block_design" in printed["severe"]
    assert printed["passed"]["time_across_split"]["evidence"]["n_shared_runs"] == 0


@pytest.mark.global_rng
def test_finetune_stops_at_a_severe_finding_until_it_is_acknowledged(tmp_path, capsys, caplog):
    """Then the finding goes from the training to scores.json and to the report."""
    config = finetune_config(tmp_path, steps=2)
    trials = Trials.load(config.data)
    assert not severe(named(trials, split_by_run(trials)))  # the tests' own data are well made
    n = len(trials)
    metadata = trials.metadata.assign(category=np.where(np.arange(n) % 8 < 4, "disc", "square"))
    replace(trials, data=np.array(trials.data), metadata=metadata).save(tmp_path / "harmed")
    harmed = config.model_copy(update={"data": tmp_path / "harmed"})
    write_yaml(harmed, tmp_path / "finetune.yaml")
    arguments = ["finetune", "--config", str(tmp_path / "finetune.yaml")]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "error: the audit found block_design: Trials that are near in time" in printed
    assert "--acknowledge block_design;" in printed
    stopped = read_audit(config.output)
    assert stopped is not None and stopped["severe"] == ["block_design"]
    assert not (config.output / "log.jsonl").exists()
    assert not (config.output / "model").exists()
    acknowledge = ["block_design", "units"]
    assert main([*arguments, "--acknowledge", *acknowledge]) == 0
    assert "units is acknowledged, and was not found" in caplog.text
    beside = read_audit(config.output / "model")
    assert beside == read_audit(config.output)
    assert beside["acknowledged"] == acknowledge

    Judge(["disc", "square"], image_size=SIZE, channels=[8]).save_pretrained(tmp_path / "judge")
    evaluate(
        EvaluateConfig(
            model=config.output / "model", data=tmp_path / "harmed", judge=tmp_path / "judge",
            output=tmp_path / "scores", n_permutations=99, n_bootstrap=99,
            sample={"num_inference_steps": 1, "num_images_per_prompt": 1},
            runtime={"device": "cpu", "precision": "fp32"},
        )
    )  # fmt: skip
    output = tmp_path / "scores"
    assert json.loads((output / "scores.json").read_text("utf-8"))["audit"] == beside
    page = (output / "report.html").read_text("utf-8")
    assert page.count("Trials that are near in time show the same class") == 2  # banner, audit
    assert "Acknowledged to go on: block_design, units" in page


def test_check_acknowledged_names_what_is_open():
    findings = [
        Finding("a", "severe", "A."),
        Finding("b", "severe", "B."),
        Finding("c", "note", "C."),
    ]
    with pytest.raises(ValueError, match="--acknowledge b;"):
        check_acknowledged(findings, ["a"])
    check_acknowledged(findings, ["a", "b"])


def test_an_audit_file_that_is_none_is_named(tmp_path):
    assert read_audit(tmp_path) is None
    (tmp_path / "audit.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"audit\.json is not an audit"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(ValueError, match="lacks severe"):
        read_audit(tmp_path)


def test_the_report_shows_severe_findings_first_and_escapes_them():
    bad = {"name": "block_design", "severity": "severe", "what": "A < B.", "evidence": {"p": 0.01},
           "consequence": "Worse.", "remedy": "Mend."}  # fmt: skip
    good = bad | {"name": "units", "severity": "passed", "what": "Fine.", "evidence": {"n": None}}
    nothing = {"findings": [good], "acknowledged": []}

    def banner(audit):
        return fill_template("severe", audit=audit, reasons=[]).strip()

    def part(audit):
        return fill_template("audit", audit=audit)

    assert banner(nothing) == banner(None) == ""
    both = {"findings": [bad, good], "acknowledged": ["block_design"]}
    shown = banner(both)
    assert "<b>block_design</b>A &lt; B. Worse." in shown
    assert "units" not in shown
    listed = part(both)
    assert listed.index("block_design") < listed.index("1 checks passed") < listed.index("units")
    assert "p 0.01" in listed
    assert "None" not in listed
    assert "Acknowledged to go on: block_design." in listed
    assert "Acknowledged" not in part(nothing)
    assert "not audited" in part(None)


def prepared(name: str, folder: Path, data: Path, **changes: object) -> Trials:
    """Prepare real recordings as a shipped configuration says."""
    content = read_yaml(CONFIGS / f"{name}.yaml") | {"output": folder} | changes
    for key in ("input", "stimuli"):
        value = content.get(key)
        if isinstance(value, str):
            content[key] = data / Path(value).relative_to("../shared/data")
        elif value is not None:
            content[key] = [data / Path(path).relative_to("../shared/data") for path in value]
    return Trials.load(prepare(PrepareConfig(**content)))


def test_gratings_repeat_one_order(tmp_path, shared_data):
    trials = prepared("prepare-gratings", tmp_path / "trials", shared_data)
    found = named(trials)
    assert "fixed_order" in severe(found)
    assert found["fixed_order"].evidence["p"] == 1 / 400
    assert found["fixed_order"].evidence["excess"] > 0.9


@pytest.mark.parametrize("subject", ["subject1", "subject2"])
def test_faces_and_houses_have_nothing_severe(tmp_path, shared_data, subject):
    folder = f"../shared/data/muse_n170/{subject}"
    trials = prepared("prepare-n170", tmp_path / "trials", shared_data, input=[folder])
    found = named(trials)
    assert not severe(found)
    for name in ("block_design", "fixed_order", "class_by_run", "event_timing"):
        assert found[name].severity == "passed", found[name]
        assert found[name].evidence["p"] > 0.006
    assert found["duplicate_trials"].evidence["largest_correlation"] < 0.99
    assert found["shared_stimuli"].what.startswith("Not checked: which picture was shown is not")
