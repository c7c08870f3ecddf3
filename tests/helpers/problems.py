"""The inverse problems of conf/problem."""

import torch
from omegaconf import OmegaConf

from difflab.experiment.parts.build import build
from difflab.experiment.parts.search_path import conf_dir


def problem(option, shape, **changes):
    """One option of conf/problem on images of the shape."""
    node = OmegaConf.to_container(OmegaConf.load(f"{conf_dir()}/problem/{option}.yaml"))
    return build({**node, **changes}, shape=shape)


def matrix(operator):
    """The operator as a matrix (m, n)."""
    size = operator.size
    return operator(torch.eye(size, dtype=torch.float64).view(size, *operator.shape)).flatten(1).mT
