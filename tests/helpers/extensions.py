"""Packages with parts of their own, as pip installs them."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "extension"
ON = "extensions=[mypkg]"


def example_in(work):
    """The folder of installed packages that holds the example, from its wheel."""
    shutil.copytree(EXAMPLE, work / "source")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work)]
    subprocess.run(command, cwd=work / "source", check=True, capture_output=True)
    zipfile.ZipFile(next(work.glob("*.whl"))).extractall(work / "site")
    return work / "site"


def install(site, package, name, code, options):
    """Put a package there that is switched on by `name`: its code, and the texts of its options by path."""
    about = site / f"{package}-1.0.dist-info"
    texts = {about / "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"}
    texts |= {
        about / "entry_points.txt": f"[difflab.extensions]\n{name} = {package}\n",
        site / package / "__init__.py": code,
    }
    texts |= {site / package / "conf" / f"{option}.yaml": text for option, text in options.items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def on_path(folder):
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def python_path(site):
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


MINE = """# @package _global_
extensions: [mypkg]
defaults:
  - override /data: discs
  - override /backbone: convnet
"""


def own_experiment(here):
    """A folder of options with an experiment that switches the extension on."""
    path = here / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(MINE)


def matches(pattern, text):
    return re.search(pattern, " ".join(text.split()))
