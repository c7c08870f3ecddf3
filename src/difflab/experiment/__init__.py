"""Training and evaluation as jobs. Names are imported when they are used.

The folders, each of which imports those before it alone:

- `parts`: objects from a configuration's nodes, their identity, errors in what users write
- `machine`: devices, processes, locks, signals, the terminal
- `store`: the files of runs: weights, checkpoints, stored evaluations
- `model`: trained models in use: from runs, as first stages, as measures of others
- `sampling`: how a trained denoiser is sampled
- `picture`: sheets of samples
- `mirror`: W&B, TensorBoard, CSV, MLflow
- `config`: from the words that users type to a plain configuration
- `evaluation`: scores of a run by a protocol
- `training`: from a configuration to a finished run
- `task`: what `difflab-sample` does with a run

`references` trains what a configuration refers to, and `jobs` has the functions that commands call.
"""

import importlib

_MODULES = {
    "CSV": "mirror.lightning_mirrors",
    "Between": "task.between",
    "Classes": "task.classes",
    "ClassifierMaps": "model.classifier_maps",
    "Draw": "task.draw",
    "Edit": "task.edit",
    "FromRun": "model.from_run",
    "Interpolate": "task.interpolate",
    "Invert": "task.invert",
    "Local": "mirror.base",
    "MLflow": "mirror.lightning_mirrors",
    "Reconstruct": "task.reconstruct",
    "Restore": "task.restore",
    "TensorBoard": "mirror.lightning_mirrors",
    "TrainedClassifier": "model.trained_classifier",
    "Trajectory": "task.trajectory",
    "UserError": "parts.errors",
    "Wandb": "mirror.wandb_mirror",
    "compose": "config.compose",
    "evaluate": "jobs",
    "find": "store.run",
    "load": "model.from_run",
    "load_denoiser": "store.weights",
    "train": "jobs",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"difflab.experiment.{_MODULES[name]}"), name)
