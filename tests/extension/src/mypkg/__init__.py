"""Parts of one's own for difflab: `extensions=[mypkg]` switches them on."""

from mypkg.convnet import ConvNet
from mypkg.discs import Discs
from mypkg.extrapolated import ExtrapolatedDDIM
from mypkg.huber import HuberFlow
from mypkg.laplace import Laplace

__all__ = ["ConvNet", "Discs", "ExtrapolatedDDIM", "HuberFlow", "Laplace"]
