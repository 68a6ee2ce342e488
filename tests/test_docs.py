"""README and pages: links lead to files, every page is reached, the words fit one screen."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dreamdiffusion.cli import commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if not {"_build", "results", "gallery", "generated"} & set(path.relative_to(DOCS).parts)
)
TYPED = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "weights" / "README.md", *PAGES]


@pytest.mark.parametrize(
    "page",
    TYPED,
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
    missing = [
        target
        for target in targets
        if not target.startswith(("http", "mailto:")) and not (page.parent / target).exists()
    ]
    assert not missing


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.S):
            lines = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {page.parent / f"{line}.md" for line in lines}
    assert [path.name for path in PAGES if path not in listed] == []


def test_the_readme_is_short_and_shows_a_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert re.search(r"!\[[^]]+\]\([\w/]+\.png\)", text)


def command_lines(page: Path) -> list[str]:
    """Return what a page tells to type, one line each, comments and prompts left out."""
    blocks = re.findall(r"```(?:bash|console|sh|)\n(.*?)```", page.read_text("utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#.*", "", line).strip().removeprefix("$ ") for line in lines]
    return [line for line in lines if line.startswith("dreamdiffusion ") and "..." not in line]


@pytest.mark.parametrize(
    "page",
    [page for page in TYPED if command_lines(page)],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_what_a_page_tells_to_type_is_understood(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands, options and shipped configurations; nothing is run, in a folder of a user."""
    monkeypatch.setattr(commands, "_run", lambda command, config: "understood")
    monkeypatch.chdir(tmp_path)
    refused = {}
    for line in command_lines(page):
        typed = shlex.split(line.split(" > ")[0].split(" | ")[0].rstrip("&"))[1:]
        for word in typed:
            if word.endswith(".yaml"):  # a file of the reader's own
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        try:
            code = commands.main(typed)
        except SystemExit as ended:
            code = ended.code
        if code:
            refused[line] = capsys.readouterr().err.strip().splitlines()[-5:]
    assert not refused
