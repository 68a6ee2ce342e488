"""`dreamdiffusion datasets`: list, show, fetch, and what is said where something is missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from dreamdiffusion.cli import commands as cli
from dreamdiffusion.datasets.command import page
from dreamdiffusion.datasets.registry import DATASETS, get_dataset
from dreamdiffusion.files.download import RemoteFile

ROOT = Path(__file__).parents[2]


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "people", "channels", "Hz", "fetch", "title"]
    assert [line.split()[0] for line in lines[1:]] == list(DATASETS)
    assert cli.main(["datasets", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(DATASETS)
    assert cli.main(["datasets", "show", "things-eeg2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["doi"] == "10.17605/OSF.IO/3JK45"
    assert told["licence"] == "CC BY 4.0"
    assert (told["n_subjects"], told["n_chans"], told["sfreq"]) == (10, 63, 100.0)
    assert told["files"][0] == "sub-{subject}/preprocessed_eeg_training.npy"
    assert cli.main(["datasets", "show", "muse-gratings"]) == 0
    text = capsys.readouterr().out
    for word in ("BSD-3-Clause", "none: published as files", "https://github.com/alexandrebarach",
                 "InteraXon Muse", "Every run repeats the same pseudo-random order"):  # fmt: skip
        assert word in text
    assert cli.main(["datasets", "show", "things-eeg"]) == 2
    assert "did you mean things-eeg" in capsys.readouterr().err
    assert cli.main(["datasets", "show"]) == 2
    assert "datasets show needs a name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["imagenet-eeg", "things-eeg2", "eeg-imagenet", "bids"])
def test_what_needs_a_person_says_where_to_go(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["datasets", "fetch", name]) == 2
    told = capsys.readouterr()
    assert f"error: {name} has to be got by hand. Download" in told.err
    assert told.out == ""


def test_fetch_downloads_what_can_be_and_says_what_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    fetched: list[RemoteFile] = []
    monkeypatch.setattr(
        "dreamdiffusion.datasets.base.download", lambda file, folder: fetched.append(file)
    )
    caplog.set_level("INFO")
    folder = str(tmp_path / "x")
    assert cli.main(["datasets", "fetch", "muse-n170", "--output", folder]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert len(fetched) == 24 + 6
    assert all(file.sha256 for file in fetched)
    assert "Subject 2 is part of" in caplog.text
    assert "licence BSD-3-Clause" in caplog.text
    fetched.clear()
    assert cli.main(["datasets", "fetch", "things-eeg1", "--subjects", "07"]) == 0
    assert [file.path for file in fetched] == [
        "dataset_description.json",
        *(f"sub-07/eeg/sub-07_task-rsvp_{end}" for end in
          ("eeg.vhdr", "eeg.vmrk", "eeg.eeg", "events.tsv")),
    ]  # fmt: skip
    assert cli.main(["datasets", "fetch", "things-eeg1", "--subjects", "7"]) == 2
    assert "things-eeg1 has no subject 7; it has 01, 02" in capsys.readouterr().err


def test_fetch_of_alljoined_unpacks_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **more: Any) -> None:
        asked.update(more, repository=repository)
        tmp_path.joinpath("x").mkdir()
        with zipfile.ZipFile(tmp_path / "x" / "stimuli.zip", "w") as file:
            file.writestr("images/00007.jpg", b"jpeg")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    get_dataset("alljoined-1.6m").fetch(tmp_path / "x", ["03"])
    assert (tmp_path / "x" / "images" / "00007.jpg").read_bytes() == b"jpeg"
    assert asked["repository"] == "Alljoined/Alljoined-1.6M"
    assert asked["allow_patterns"] == [
        "stimuli.zip", "raw_eeg/sub-03/*", "preprocessed_eeg/sub-03/*.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [ConnectionError("no route"), RuntimeError("broke off")])
def test_fetch_of_alljoined_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:  # fmt: skip
    def snapshot(repository: str, **more: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    arguments = ["--subjects", "03", "--output", str(tmp_path)]
    assert cli.main(["datasets", "fetch", "alljoined-1.6m", *arguments]) == 2
    told = capsys.readouterr().err
    assert f"cannot be downloaded: {error}" in told
    assert f"get stimuli.zip, raw_eeg/sub-03/*, preprocessed_eeg/sub-03/*.parquet from there to " \
        f"{tmp_path} and unpack stimuli.zip in it" in told  # fmt: skip


def test_prepare_without_the_files_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> str:
        output = ["--output", str(tmp_path / "out")]
        assert cli.main(["prepare", *arguments, *output]) == 2
        return capsys.readouterr().err

    assert "unknown data set 'muse-n17'; did you mean muse-n170?" in told("--dataset", "muse-n17")
    assert "needs --input with the one folder" in told("--dataset", "muse-n170")
    away = ["--input", str(tmp_path / "away")]
    assert "datasets fetch muse-n170 downloads a part of it. " in told(
        "--dataset", "muse-n170", *away
    )
    assert "https://osf.io/anp5v/" in told("--dataset", "things-eeg2", *away)
    only = told("--dataset", "kaneshiro2015", *away, "--subjects", "11")
    assert "kaneshiro2015 has no subject 11; it has 1, 2" in only
    assert "--subjects 2 chooses people of a public data set" in told("--subjects", "2", *away)
    assert not (tmp_path / "out").exists()


def test_the_page_is_current() -> None:
    written = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    assert written == page(), "docs/datasets.md is not current; run make docs"
