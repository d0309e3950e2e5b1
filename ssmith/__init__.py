"""State-space models from data to device: train, reduce, freeze, export, prove, measure."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmith.bundle import Bundle as Bundle
    from ssmith.recipe import Recipe as Recipe
    from ssmith.system import System as System

__all__ = ["Bundle", "Recipe", "System", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: ``ssmith --help`` needs no NumPy."""
    if name in ("Bundle", "Recipe", "System"):
        return getattr(import_module(f"ssmith.{name.lower()}"), name)
    raise AttributeError(f"module 'ssmith' has no attribute {name!r}")
