"""Flash and memory on a microcontroller."""

import pytest

from ssmith.devices.objects import section_bytes
from tests.native.programs import PRECISIONS, header_value
from tests.native.skipping import toolchain

CODE_LIMIT = 12 * 1024  # without weights, on Cortex-M4
DIGITS_RAM_LIMIT = 2 * 1024  # beside the block buffer


@pytest.mark.parametrize("level", ["-Os", "-O3"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", ["reference", "layers"])
def test_code_on_a_cortex_m4(workshop, model, precision, level):
    tools = toolchain("cortex-m4")
    sizes = section_bytes(tools.compiler, workshop.model_object(tools, model, precision, level))
    flash = header_value(workshop, tools, model, precision, "FLASH_BYTES")
    assert flash <= sizes["rodata"], "the weights lie in flash"
    assert sizes["text"] + sizes["rodata"] - flash <= CODE_LIMIT
    assert sizes.get("data", 0) == sizes.get("bss", 0) == 0, "no memory but the caller's"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_of_a_model_of_the_size_of_digits(workshop, precision):
    tools = toolchain("cortex-m4")
    block = header_value(workshop, tools, "digits", precision, "SCRATCH_BYTES")
    assert header_value(workshop, tools, "digits", precision, "RAM_BYTES") - block <= DIGITS_RAM_LIMIT
