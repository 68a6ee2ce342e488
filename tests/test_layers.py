"""The rules that hold for every source file: the order of the packages, its length, no pickle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "dreamdiffusion"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 500

# The packages in the order of the flow; README.md and docs name the same twelve. A package imports
# from itself and from those above it in this list, never from one below.
PACKAGES = (
    "files",
    "training",
    "recordings",
    "trials",
    "datasets",
    "evidence",
    "models",
    "decoders",
    "report",
    "evaluation",
    "studies",
    "cli",
)
ORDER = {package: number for number, package in enumerate(PACKAGES)}
# Loaders that can execute what a file holds, and the packages that do nothing else.
FORBIDDEN_PACKAGES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve"}
FORBIDDEN_CALLS = {"torch.load", "joblib.load", "pandas.read_pickle", "pd.read_pickle"}


def module_of(path: Path) -> tuple[str, ...]:
    """Return the parts of a module's name below the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line and parts of every import from this package, inside functions too."""
    package = path.relative_to(SOURCE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                if parts[0] == SOURCE.name:
                    yield node.lineno, parts[1:]
        elif isinstance(node, ast.ImportFrom):
            parts = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + parts
            elif parts[:1] == (SOURCE.name,):
                base = parts[1:]
            else:
                continue
            if base:
                yield node.lineno, base
            else:  # from . import module
                for alias in node.names:
                    if alias.name in ORDER or (SOURCE / f"{alias.name}.py").is_file():
                        yield node.lineno, (alias.name,)


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_package_imports_from_a_later_one(path):
    own = module_of(path)
    # The package itself offers names of all of them, lazily; the command line starts from it.
    level = ORDER.get(own[0], len(ORDER)) if own else len(ORDER)
    for line, target in imports_of(path):
        if not target:
            continue
        assert target[0] in ORDER, f"{name_of(path)}:{line} imports unknown {'.'.join(target)}"
        assert ORDER[target[0]] <= level, (
            f"{name_of(path)}:{line} imports {'.'.join(target)}, which comes later in the flow"
        )


def test_the_top_level_holds_the_packages_and_nothing_else():
    here = {path.name for path in SOURCE.iterdir()} - {"__pycache__"}
    assert here == {*PACKAGES, "__init__.py", "__main__.py", "py.typed"}


def test_every_form_of_import_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path / "dreamdiffusion")
    path = tmp_path / "dreamdiffusion" / "datasets" / "viewer.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import dreamdiffusion.cli\n"
        "from dreamdiffusion.trials.cut import cut_trials\n"
        "from ..files.schema import Schema\n"
        "from .scenes import render\n"
        "from .. import training\n"
        "import numpy\n"
        "def late():\n"
        "    from dreamdiffusion.decoders.base import Decoder\n",
        encoding="utf-8",
    )
    assert sorted(imports_of(path)) == [
        (1, ("cli",)),
        (2, ("trials", "cut")),
        (3, ("files", "schema")),
        (4, ("datasets", "scenes")),
        (5, ("training",)),
        (8, ("decoders", "base")),
    ]


def imported_at_once(path: Path) -> set[Path]:
    """Return the files of this package that a file imports when it is imported itself."""
    found: set[Path] = set()

    def follow(statements: list[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.If | ast.Try):
                follow(node.body)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(SOURCE.name):
                for alias in node.names:
                    for name in (f"{node.module}.{alias.name}", node.module or ""):
                        place = SOURCE.parent.joinpath(*name.split(".")).with_suffix(".py")
                        if place.is_file():
                            found.add(place)
                            break

    follow(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def test_no_files_import_each_other_in_a_circle():
    imports = {path: imported_at_once(path) for path in FILES}
    assert sum(map(len, imports.values())) > 500  # they are found
    left = dict(imports)
    while left:  # what imports nothing that is left can be imported first
        first = [path for path, needs in left.items() if not needs & left.keys()]
        assert first, f"a circle among {', '.join(sorted(map(name_of, left)))}"
        for path in first:
            del left[path]


def test_no_package_is_more_than_15_per_cent_of_the_lines():
    lines = dict.fromkeys(PACKAGES, 0)
    for path in FILES:
        package = path.relative_to(SOURCE).parts[0]
        if package in lines:
            lines[package] += len(path.read_text(encoding="utf-8").splitlines())
    largest = max(lines, key=lines.__getitem__)
    share = lines[largest] / sum(lines.values())
    assert share <= 0.15, f"{largest} has {100 * share:.1f} % of the lines; split it by duty"


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef, text: list[str]) -> int:
    """Count the lines of a function that are neither docstring nor comment nor empty."""
    inside = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    if ast.get_docstring(node) is not None:
        inside -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    written = [text[number - 1].strip() for number in inside]
    return sum(bool(line) and not line.startswith("#") for line in written)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_is_longer_than_60_lines_of_code(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n = lines_of_code(node, text.splitlines())
            assert n <= 60, f"{name_of(path)}: {node.name} has {n} lines of code"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_source_file_is_too_long(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{name_of(path)} has {n_lines} lines; split it by duty"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_a_user_brings_is_unpickled(path):
    for line, problem in unsafe_reads(path.read_text(encoding="utf-8")):
        if name_of(path) == "files/torch_file.py" and problem == "imports pickle":
            continue  # see the next test, and the attacks in test_torch_file.py
        pytest.fail(f"{name_of(path)}:{line} {problem}")


def test_the_one_reader_of_pickles_resolves_every_name_itself():
    (path,) = [path for path in FILES if name_of(path) == "files/torch_file.py"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    }
    assert used == {"Unpickler"}
    (reader,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and "pickle.Unpickler" in [ast.unparse(base) for base in node.bases]
    ]
    methods = {node.name: ast.unparse(node) for node in reader.body if hasattr(node, "name")}
    assert {"find_class", "persistent_load"} <= methods.keys()
    assert "super()" not in methods["find_class"]


def unsafe_reads(source: str) -> Iterator[tuple[int, str]]:
    """Yield every place where a file could execute code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            for name in names:
                if name.split(".")[0] in FORBIDDEN_PACKAGES:
                    yield node.lineno, f"imports {name}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS:
                yield node.lineno, f"calls {called}"
            for keyword in node.keywords:
                literal = keyword.value
                allowed = isinstance(literal, ast.Constant) and literal.value is False
                if keyword.arg == "allow_pickle" and not allowed:
                    yield node.lineno, f"calls {called} with allow_pickle"
            if called in ("np.load", "numpy.load") and not any(
                keyword.arg == "allow_pickle" for keyword in node.keywords
            ):
                yield node.lineno, f"calls {called} without allow_pickle=False"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("torch.load(path)", "calls torch.load"),
        ("np.load(path, allow_pickle=True)", "calls np.load with allow_pickle"),
        ("np.load(path, allow_pickle=flag)", "calls np.load with allow_pickle"),
        ("np.load(path)", "calls np.load without allow_pickle=False"),
    ],
)
def test_unsafe_reads_are_found(source, problem):
    assert list(unsafe_reads(source)) == [(1, problem)]


def test_safe_reads_are_not_reported():
    source = "np.load(path, allow_pickle=False)\nfrom safetensors.torch import load_file"
    assert list(unsafe_reads(source)) == []


def test_the_readme_names_the_two_commands_first_and_every_package():
    text = (SOURCE.parents[1] / "README.md").read_text(encoding="utf-8")
    first_block = text.split("```")[1]
    assert "make demo" in first_block
    assert "make test" in first_block
    tree = next(block for block in text.split("```") if "src/dreamdiffusion/" in block[:30])
    named = [line.split()[1] for line in tree.splitlines() if line[:5].strip().isdigit()]
    assert named == [f"{package}/" for package in PACKAGES]
