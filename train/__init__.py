"""Training with truncation in the loop, on PyTorch."""

from ssmith.train.cuts import CutReport as CutReport
from ssmith.train.layers import LRU as LRU
from ssmith.train.model import Network as Network
from ssmith.train.model import build_network as build_network
from ssmith.train.truncate import Truncator as Truncator
