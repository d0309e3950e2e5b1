"""Checkpoints become bundles that every format is made of; what is no plain file of numbers is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn
from typer.testing import CliRunner

from ssmith import cli
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.importing import import_checkpoint
from ssmith.runtime.reference import run
from ssmith.standalone import export_bundle
from ssmith.system import System
from tests.ssmith.test_imported import lru, s4d, s5, stream

WIDTH, STATES, INPUTS, CLASSES = 6, 4, 2, 3


def example(seed: int = 0, layers: int = 2) -> dict[str, np.ndarray]:
    """Weights under the names that the network of S4's example gives them."""
    torch.manual_seed(seed)
    modules: dict[str, nn.Module] = {
        "encoder": nn.Linear(INPUTS, WIDTH),
        "decoder": nn.Linear(WIDTH, CLASSES),
    }
    found: dict[str, torch.Tensor] = {}
    for i in range(layers):
        modules[f"s4_layers.{i}.output_linear.0"] = nn.Conv1d(WIDTH, 2 * WIDTH, 1)
        modules[f"norms.{i}"] = nn.LayerNorm(WIDTH)
        found |= {
            f"s4_layers.{i}.D": torch.randn(WIDTH),
            f"s4_layers.{i}.kernel.log_dt": torch.rand(WIDTH) - 4,
            f"s4_layers.{i}.kernel.log_A_real": torch.randn(WIDTH, STATES) * 0.1 - 0.7,
            f"s4_layers.{i}.kernel.A_imag": torch.pi * torch.arange(STATES) * torch.ones(WIDTH, 1),
            f"s4_layers.{i}.kernel.C": torch.randn(WIDTH, STATES, 2),
        }
    for stem, module in modules.items():
        for name, tensor in module.state_dict().items():
            found[f"{stem}.{name}"] = tensor + 0.1 * torch.randn(tensor.shape)
    return {name: tensor.numpy().astype(np.float32) for name, tensor in found.items()}


def published(weights: dict[str, np.ndarray], u: torch.Tensor, norm: str) -> torch.Tensor:
    """The example's forward pass as its equations say, u (T, U) → (T, Y), running means."""
    p = {name: torch.tensor(array).double() for name, array in weights.items()}
    v = u.double() @ p["encoder.weight"].T + p["encoder.bias"]
    frames = len(u)
    layers = sum(name.endswith("log_dt") for name in weights)
    for i in range(layers):
        at = f"s4_layers.{i}."

        def normed(x: torch.Tensor, i: int = i) -> torch.Tensor:
            return nn.functional.layer_norm(x, (WIDTH,), p[f"norms.{i}.weight"], p[f"norms.{i}.bias"])

        z = normed(v) if norm == "pre" else v
        a = torch.complex(-p[f"{at}kernel.log_A_real"].exp(), p[f"{at}kernel.A_imag"])
        dta = a * p[f"{at}kernel.log_dt"].exp()[:, None]
        c = torch.view_as_complex(p[f"{at}kernel.C"]) * (dta.exp() - 1) / a
        kernel = 2 * torch.einsum("hn,hnl->hl", c, (dta[..., None] * torch.arange(frames)).exp()).real
        spectrum = torch.fft.rfft(kernel, n=2 * frames) * torch.fft.rfft(z.T, n=2 * frames)
        y = torch.fft.irfft(spectrum, n=2 * frames)[:, :frames].T + p[f"{at}D"] * z
        mixed = nn.functional.gelu(y) @ p[f"{at}output_linear.0.weight"][..., 0].T
        v = v + nn.functional.glu(mixed + p[f"{at}output_linear.0.bias"])
        v = v if norm == "pre" else normed(v)
    means = v.cumsum(0) / torch.arange(1, frames + 1)[:, None]
    return means @ p["decoder.weight"].T + p["decoder.bias"]


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_example_network_comes_in_whole(tmp_path, norm) -> None:
    weights = example()
    save_file(weights, tmp_path / "cifar.safetensors")
    facts = import_checkpoint(tmp_path / "cifar.safetensors", None, arch="s4d", norm=norm)
    bundle = Bundle.read(facts["written"])
    u = np.random.default_rng(1).standard_normal((80, INPUTS)).astype(np.float32)
    output, _ = run(bundle.meta.ops, bundle.tensors, u)
    np.testing.assert_allclose(output, published(weights, torch.tensor(u), norm), rtol=1e-4, atol=1e-4)
    assert bundle.meta.task == "classification"
    assert [system.channels for system in bundle.systems()] == [(STATES,) * WIDTH] * 2


@pytest.mark.parametrize(("arch", "make"), [("lru", lru), ("s4d", s4d), ("s5", s5)])
def test_a_layer_comes_in_alone(tmp_path, arch, make) -> None:
    np.savez(tmp_path / "net.npz", **make(0, "layers.0."))
    facts = import_checkpoint(tmp_path / "net.npz", None, arch=arch, rate_hz=16_000.0)
    bundle = Bundle.read(facts["written"])
    u = np.random.default_rng(1).standard_normal((50, 3)).astype(np.float32)
    system = getattr(System, f"from_{arch}")(make())
    output, _ = run(bundle.meta.ops, bundle.tensors, u)
    np.testing.assert_allclose(output, stream(system, u), rtol=1e-3, atol=1e-4)
    assert bundle.meta.period_s == 1 / 16_000
    assert bundle.meta.provenance["imported_prefix"] == "layers.0."


def test_an_import_goes_on_to_every_format(tmp_path) -> None:
    save_file(example(layers=1), tmp_path / "net.safetensors")
    import_checkpoint(tmp_path / "net.safetensors", tmp_path / "net.ssm", arch="s4d")
    proof = export_bundle(tmp_path / "net.ssm", tmp_path / "artifacts", formats=["onnx", "c99"])
    assert (tmp_path / "artifacts" / "net.c").exists()
    assert (tmp_path / "artifacts" / "net.step.onnx").exists()
    assert proof


def test_the_verb(tmp_path) -> None:
    save_file(lru(0, "a.") | lru(1, "b."), tmp_path / "two.safetensors")
    source = str(tmp_path / "two.safetensors")
    refused = CliRunner().invoke(cli.app, ["import", source, "--arch", "lru"])
    assert isinstance(refused.exception, InputError)
    assert "--prefix a. or b." in str(refused.exception)
    done = CliRunner().invoke(cli.app, ["import", source, "--arch", "lru", "--prefix", "b.", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    assert facts["layers"][0]["order"] == 4
    np.testing.assert_allclose(
        Bundle.read(facts["written"]).systems()[0].lam, System.from_lru(lru(1)).lam, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder.weight": example()["encoder.weight"].T},
            r"'encoder.weight' has shape \(2, 6\).*transposed",
        ),
        ({"norms.1.bias": None}, "'norms.1.bias' is missing"),
        (
            {"decoder.weight": np.ones((3, 7), np.float32)},
            r"'decoder.weight' has shape \(3, 7\), expected any × 6",
        ),
        ({"s4_layers.1.kernel.C": None}, "'s4_layers.1.kernel.C' is missing"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message: str) -> None:
    broken = {name: array for name, array in (example() | change).items() if array is not None}
    save_file(
        {name: np.ascontiguousarray(array) for name, array in broken.items()}, tmp_path / "n.safetensors"
    )
    with pytest.raises(InputError, match=message):
        import_checkpoint(tmp_path / "n.safetensors", None, arch="s4d")
    assert not (tmp_path / "n.ssm").exists()


def test_only_plain_numbers_are_read(tmp_path) -> None:
    torch.save({"nu_log": torch.ones(1)}, tmp_path / "net.pt")
    with pytest.raises(InputError, match="runs what is in it"):
        import_checkpoint(tmp_path / "net.pt", None, arch="lru")
    np.savez(tmp_path / "objects.npz", nu_log=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="no plain arrays"):
        import_checkpoint(tmp_path / "objects.npz", None, arch="lru")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(InputError, match="damaged"):
        import_checkpoint(tmp_path / "cut.safetensors", None, arch="lru")
    with pytest.raises(InputError, match="cannot read"):
        import_checkpoint(tmp_path / "none.safetensors", None, arch="lru")


def test_a_full_feedthrough_is_refused(tmp_path) -> None:
    save_file(lru() | {"D": np.ones((3, 3), np.float32)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="full matrix"):
        import_checkpoint(tmp_path / "net.safetensors", None, arch="lru")
