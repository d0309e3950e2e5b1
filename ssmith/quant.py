"""The quantisation scheme as data: bits and rounding rule, no arithmetic. Only float32 exists so far."""

from typing import Literal

Precision = Literal["float32"]
