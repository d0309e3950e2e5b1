"""Training with truncation in the loop, on PyTorch.

The names below load on first use: data and records of cuts are read where PyTorch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmith.train.average import follow as follow
    from ssmith.train.cuts import CutReport as CutReport
    from ssmith.train.goal import Goal as Goal
    from ssmith.train.layers import LRU as LRU
    from ssmith.train.model import Network as Network
    from ssmith.train.model import build_network as build_network
    from ssmith.train.s4d import S4D as S4D
    from ssmith.train.s5 import S5 as S5
    from ssmith.train.ssm_layer import SSMLayer as SSMLayer
    from ssmith.train.truncate import Truncator as Truncator

_HOMES = {
    "CutReport": "cuts",
    "Goal": "goal",
    "LRU": "layers",
    "S4D": "s4d",
    "S5": "s5",
    "SSMLayer": "ssm_layer",
    "Network": "model",
    "build_network": "model",
    "Truncator": "truncate",
    "follow": "average",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ssmith.train.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
