"""The structure of the package: thirteen folders, imports one way between them, no circles, and light entries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import difflab

ROOT = Path(difflab.__file__).parent
CONTENT = ["backbone", "cli", "data", "denoiser", "experiment", "guidance", "laws", "metric", "objective", "paradigm"]
CONTENT += ["process", "report", "sampler", "__init__.py", "__main__.py", "py.typed"]
MAY_IMPORT = {  # each folder, and those that it may import
    "backbone": set(),
    "data": set(),
    "metric": set(),
    "process": set(),
    "denoiser": {"process"},
    "objective": {"process"},
    "guidance": {"process", "denoiser", "objective"},
    "sampler": {"process", "denoiser", "objective"},
}
CORE = {"process", "denoiser", "objective", "guidance", "sampler"}
MAY_IMPORT["paradigm"] = CORE
MAY_IMPORT["laws"] = CORE | {"paradigm", "backbone", "data"}
MAY_IMPORT["experiment"] = CORE | {"paradigm", "backbone", "data", "metric"}
MAY_IMPORT["report"] = MAY_IMPORT["experiment"] | {"experiment"}
MAY_IMPORT["cli"] = MAY_IMPORT["report"] | {"report", "laws"}
CHAPTERS = ["parts", "machine", "store", "model", "sampling", "picture", "mirror", "config", "evaluation", "training"]
CHAPTERS += ["task", "references", "jobs"]  # of experiment/: each may import those before it
ONLY_IN = {  # libraries, and the folders or modules that may import them
    "lightning": ("data/", "paradigm/", "experiment/"),
    "hydra": ("cli/", "experiment/config/"),
    "wandb": ("experiment/mirror/wandb_", "experiment/store/wandb_"),
}


def modules():
    return {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


def dotted(path):
    parts = Path(path).with_suffix("").parts
    return ".".join(("difflab", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path):
    """All that a file imports, at any depth, also for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_package_holds_thirteen_folders():
    assert sorted(p.name for p in ROOT.iterdir() if p.name not in ("__pycache__", "conf")) == sorted(CONTENT)
    assert MAY_IMPORT.keys() == {name for name in CONTENT if "." not in name}


def test_imports_point_one_way_between_folders():
    wrong = []
    for name, path in modules().items():
        folder = name.partition("/")[0]
        if folder not in MAY_IMPORT:
            continue
        for module in imports(path):
            package, _, rest = module.partition(".")
            other = rest.partition(".")[0]
            if package == "difflab" and other in MAY_IMPORT and other not in MAY_IMPORT[folder] | {folder}:
                wrong.append(f"{name} imports {module}")
    assert not wrong


def test_imports_point_one_way_between_the_chapters_of_the_experiment():
    wrong, place = [], {chapter: k for k, chapter in enumerate(CHAPTERS)}
    for name, path in modules().items():
        folder, _, rest = name.partition("/")
        if folder != "experiment" or rest == "__init__.py":
            continue
        chapter = rest.partition("/")[0].removesuffix(".py")
        others = {module.split(".")[2] for module in imports(path) if module.startswith("difflab.experiment.")}
        wrong += [f"{name} imports {other}" for other in others & {*CHAPTERS} if place[other] > place[chapter]]
    assert not wrong


def test_frameworks_are_imported_where_they_belong():
    wrong = [
        f"{name} imports {module}"
        for name, path in modules().items()
        for module in imports(path)
        if (library := module.partition(".")[0]) in ONLY_IN and not name.startswith(ONLY_IN[library])
    ]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others():
    """Type checkers' imports included: whatever needs a type of another file stands above it."""
    known = {dotted(name): path for name, path in modules().items() if not name.endswith("__init__.py")}
    arrows = {name: {module for module in imports(path) if module in known} - {name} for name, path in known.items()}
    while free := [name for name, others in arrows.items() if not others & arrows.keys()]:
        for name in free:
            del arrows[name]
    assert not arrows, f"a circle among {sorted(arrows)}"


@pytest.mark.long
def test_every_module_can_be_the_first_to_be_imported():
    """In a fresh interpreter, from which the modules of its folder are removed before each import.

    Those of the folders below import none of its folder, as is tested above: they come first, and are kept. Python
    imports a module's package first: what that has loaded could be the first if the package could.
    """
    folders = {folder: [] for folder in MAY_IMPORT}
    for name in modules():
        if name not in ("__init__.py", "__main__.py"):
            folders[name.partition("/")[0]].append(dotted(name))
    program = f"""
import importlib, sys
loaded_by = {{}}
for folder, names in {folders!r}.items():
    for name in names:
        if name in loaded_by.get(name.rpartition('.')[0], ()):
            continue
        for loaded in [m for m in sys.modules if f'{{m}}.'.startswith(f'difflab.{{folder}}.')]:
            del sys.modules[loaded]
        importlib.import_module(name)
        loaded_by[name] = {{*sys.modules}}
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_entries_load_what_they_need_and_no_more(subtests):
    for entry, heavy in [
        ("import difflab", ("torch", "lightning", "hydra", "wandb", "numpy")),
        ("import difflab.cli.train", ("torch", "lightning", "wandb", "plotly", "matplotlib")),
        ("import difflab.cli.search", ("torch", "lightning", "wandb", "optuna")),
        ("import difflab.cli.check", ("torch", "lightning", "wandb")),
        ("import difflab.experiment.training.job", ("plotly", "hydra", "wandb", "optuna")),
    ]:
        with subtests.test(entry):
            program = f"import sys; {entry}; print(*sys.modules)"
            loaded = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            ).stdout.split()
            assert not set(heavy) & set(loaded)


def test_no_file_is_long():
    files = [*modules().values(), *Path(__file__).parents[1].rglob("*.py")]
    assert [path.name for path in files if len(path.read_text().splitlines()) > 250] == []
