"""A torch module as the bytes of an ExecuTorch program: export, partition, plan memory, quietly.

Import this module inside functions only: it needs torch and executorch.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.runtime.executorch_package import quiet
from ssmith.runtime.executorch_program import METADATA_METHOD


@dataclass(frozen=True)
class Lowered:
    """A program and what it consists of.

    ``delegates``: pieces that XNNPACK took. ``outside``: operator → how often, of what it did not take.
    """

    edge: Any
    delegates: int
    outside: dict[str, int]

    @property
    def data(self) -> bytes:
        """The file's bytes, not sealed yet."""
        return bytes(self.manager().buffer)

    def manager(self) -> Any:
        """The program with memory planned.

        Inputs stay outside the plan, where nothing copies them. Outputs are in it: ``Module::forward``, which
        is what Kotlin and Swift call, gives them no memory.
        """
        with quiet():
            from executorch.exir import ExecutorchBackendConfig
            from executorch.exir.passes import MemoryPlanningPass
            from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

            plan = MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=True)
            return copy.deepcopy(self.edge).to_executorch(  # which writes its plan into the graph
                ExecutorchBackendConfig(
                    passes=[InitializedMutableBufferPass([""])],  # buffers start from what they hold: zeros
                    memory_planning_pass=plan,
                    emit_mutable_buffer_names=True,
                    segment_alignment=16,  # what XNNPACK asks for; 128 would pad every constant
                )
            )


def lowered(
    module: nn.Module,
    example: Sequence[Tensor],
    metadata: str,
    *,
    delegate: bool = True,
    dynamic_shapes: Any = None,
) -> Lowered:
    """The program of ``module``, its method ``forward`` beside the constant method ``ssmith``.

    Args:
        module: evaluated as it is.
        example: inputs of the right shapes.
        metadata: what ``ssmith`` returns.
        delegate: whether XNNPACK may take what it can; else all runs on ExecuTorch's own kernels.
        dynamic_shapes: as ``torch.export.export`` takes them.
    """
    with quiet(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        exported = torch.export.export(
            module.eval(), tuple(example), dynamic_shapes=dynamic_shapes, strict=False
        )
        # A linear op that is kept whole multiplies with the weights as they lie; taken apart, it would
        # transpose them in every call.
        kept = [] if delegate else [torch.ops.aten.linear.default]
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()] if delegate else None,
            constant_methods={METADATA_METHOD: metadata},
            compile_config=EdgeCompileConfig(preserve_ops=kept),
        )
        calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
        names = Counter(getattr(n.target, "_name", None) or str(n.target) for n in calls)
        outside = {name: k for name, k in sorted(names.items()) if "getitem" not in name}
        delegates = sum(outside.pop(name) for name in list(outside) if "call_delegate" in name)
    return Lowered(edge, delegates, outside)


def bundled(program: Lowered, cases: Sequence[tuple[list[Tensor], list[Tensor]]]) -> bytes:
    """The program with test cases for ``forward``, (inputs, expected outputs), as a BundledProgram."""
    with quiet():
        from executorch.devtools import BundledProgram
        from executorch.devtools.bundled_program.config import MethodTestCase, MethodTestSuite
        from executorch.devtools.bundled_program.serialize import (
            serialize_from_bundled_program_to_flatbuffer,
        )

        suite = MethodTestSuite("forward", [MethodTestCase(given, wanted) for given, wanted in cases])
        return bytes(serialize_from_bundled_program_to_flatbuffer(BundledProgram(program.manager(), [suite])))
