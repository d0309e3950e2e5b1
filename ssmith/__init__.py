"""State-space models from data to device: train, reduce, freeze, export, prove, measure."""

from ssmith.bundle import Bundle as Bundle
from ssmith.recipe import Recipe as Recipe
from ssmith.system import System as System

__version__ = "0.1.0"
