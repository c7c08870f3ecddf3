"""Training and evaluation as jobs: configurations, runs, checkpoints, protocols. Names are imported when used."""

import importlib

_MODULES = {
    "CSV": "lightning_mirrors",
    "Between": "task.between",
    "Classes": "task.classes",
    "ClassifierMaps": "classifier_maps",
    "Draw": "task.draw",
    "Edit": "task.edit",
    "FromRun": "from_run",
    "Interpolate": "task.interpolate",
    "Invert": "task.invert",
    "Local": "mirror",
    "MLflow": "lightning_mirrors",
    "Reconstruct": "task.reconstruct",
    "Restore": "task.restore",
    "TensorBoard": "lightning_mirrors",
    "TrainedClassifier": "trained_classifier",
    "Trajectory": "task.trajectory",
    "UserError": "errors",
    "Wandb": "wandb_mirror",
    "compose": "config",
    "evaluate": "jobs",
    "find": "run",
    "load": "from_run",
    "load_denoiser": "weights",
    "train": "jobs",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"difflab.experiment.{_MODULES[name]}"), name)
