import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.train.convert import CONVERTERS, Draft, convert, converter
from ssmith.train.layers import LRU


def converted(module, path=""):
    draft = Draft()
    convert(module, path, draft)
    return draft


class Doubled(nn.Linear):
    def forward(self, v):
        return 2 * super().forward(v)


@pytest.mark.parametrize(
    "module,message",
    [
        (nn.Conv2d(1, 1, 1), "cannot freeze Conv2d at 'net.1': no op computes it.*SSMLayer"),
        (nn.ReLU(), "cannot freeze ReLU at 'net.1'"),
        (Doubled(2, 2), "cannot freeze Doubled at 'net.1'"),
        (nn.GELU("tanh"), "GELU at 'net.1': approximate='tanh'"),
        (nn.GLU(dim=1), "GLU at 'net.1'.*dim=1"),
        (nn.LayerNorm((4, 2)), r"LayerNorm at 'net.1'.*\(4, 2\)"),
        (nn.BatchNorm1d(2, track_running_stats=False), "BatchNorm1d at 'net.1'.*running statistics"),
    ],
)
def test_what_cannot_be_frozen_is_named_with_its_place(module, message):
    with pytest.raises(InputError, match=message):
        converted(nn.Sequential(nn.Linear(2, 2), module), "net")


def test_ops_have_unique_names_that_bundles_accept():
    same = nn.Linear(2, 2)
    model = nn.Sequential()
    model.add_module("Ünit", same)
    model.add_module("ünit", nn.Sequential())
    model.add_module("0", nn.Sequential(same, same))
    model.add_module("x" * 80, same)
    names = [op.name for op in converted(model).ops]
    assert names == ["m_nit", "m0.0", "m0.1", "x" * 48]
    assert converted(nn.Linear(1, 1), "").ops[0].name == "m"
    draft = Draft()
    for _ in range(3):
        convert(same, "head", draft)
    assert [op.name for op in draft.ops] == ["head", "head_1", "head_2"]


def test_a_feedthrough_of_zeros_is_left_out():
    layer = LRU(2, 3, generator=torch.Generator().manual_seed(0))
    assert converted(layer).ops[0].D is not None
    with torch.no_grad():
        layer.D.zero_()
    assert converted(layer).ops[0].D is None


def test_a_converter_can_be_added():
    @converter(Doubled)
    def doubled(module, path, draft):
        CONVERTERS[nn.Linear](module, path, draft)
        draft.affine(f"{path}.twice", torch.full((2,), 2.0), torch.zeros(2))

    try:
        assert [op.op for op in converted(Doubled(2, 2)).ops] == ["linear", "affine"]
    finally:
        del CONVERTERS[Doubled]
