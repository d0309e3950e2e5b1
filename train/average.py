"""Averaged copies of a model (EMA, SWA) across a cut."""

from __future__ import annotations

from torch import Tensor, nn

from ssmith.train.ssm_layer import SSMLayer


def follow(average: nn.Module, model: nn.Module) -> None:
    """Give an averaged copy the cut layers of its model; call it in `on_cut`.

    The copy's SSM layers of another order than the model's take over the model's present values and are
    averaged on from there, in new Parameters; all other averages stay. For ``AveragedModel`` of
    ``torch.optim.swa_utils`` and whatever else keeps its copy in ``module``::

        Truncator(model, …, on_cut=lambda replaced: follow(ema.module, model))

    Args:
        average: a copy of the model, such as ``copy.deepcopy`` makes.
        model: after a cut.
    """
    model = getattr(model, "_orig_mod", model)
    layers = dict(average.named_modules())
    for name, layer in model.named_modules():
        copy = layers[name]
        if isinstance(layer, SSMLayer) and isinstance(copy, SSMLayer) and copy.order != layer.order:
            copy.put({key: _clone(value) for key, value in layer.tensors().items()})


def _clone(value: Tensor) -> Tensor:
    copy = value.detach().clone()
    return nn.Parameter(copy, value.requires_grad) if isinstance(value, nn.Parameter) else copy
