"""The recipe: a TOML file as validated models. One default for each choice, and it stands here."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssmith.errors import InputError
from ssmith.recipe_text import apply_override, explained, read_text

Fraction = Annotated[float, Field(ge=0, le=1)]
CriterionName = Literal["task-aware", "empirical", "weighted", "gradient", "exact", "modal", "complex"]
Schedule = Literal["window", "once", "gradual", "plateau"]
Source = Literal["digits", "flexjoint", "compressor", "smnist", "fashion-mnist", "cifar10", "files"]
LossName = Literal["auto", "esr", "stft", "esr+stft"]
MetricName = Literal["accuracy", "nrmse", "esr"]
CostKind = Literal["states", "parameters", "macs", "bytes"]
Format = Literal["onnx", "executorch", "c99"]
ArtifactPrecision = Literal[
    "float32", "float16", "int8", "int8-all", "int8-dynamic", "int8-weights", "int4-weights", "mixed"
]
# What each format can be written in; docs/recipe.md says what they mean.
WRITES: dict[Format, tuple[ArtifactPrecision, ...]] = {
    "onnx": (
        "float32",
        "float16",
        "int8",
        "int8-all",
        "int8-dynamic",
        "int8-weights",
        "int4-weights",
        "mixed",
    ),
    "executorch": ("float32", "int8", "int8-dynamic", "mixed"),
    "c99": ("float32", "int8"),
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(_Settings):
    """Where sequences come from and how they are split; all but source, path and rate_hz is for files."""

    source: Source = "files"
    path: Path | None = None  # a file or folder; relative to the recipe
    format: Literal["auto", "csv", "npz", "wav"] = "auto"
    inputs: tuple[str, ...] = ()  # column or array names
    targets: tuple[str, ...] = ()
    sequence_id: str | None = None  # column that tells episodes apart
    time: str | None = None  # column with seconds
    rate_hz: float | None = Field(default=None, gt=0)  # frames per second, if they come at a rate
    split_by: Literal["sequence", "time"] = "sequence"
    validation: float = Field(default=0.15, gt=0, lt=1)  # share of the sequences (or of the time)
    test: float = Field(default=0.15, gt=0, lt=1)
    window: int | None = Field(default=None, ge=2)  # steps; None keeps whole sequences
    stride: int | None = Field(default=None, ge=1)  # steps between windows; None means no overlap

    @model_validator(mode="after")
    def _files_need_a_path(self) -> Self:
        if self.source in ("files", "cifar10") and self.path is None:
            raise ValueError(f"source is '{self.source}', so write path = \"FILE OR FOLDER\" too")
        if self.validation + self.test >= 0.9:
            raise ValueError("validation + test leave less than a tenth of the data to train on")
        return self


class ModelSettings(_Settings):
    """encoder → blocks of (norm → SSM → GELU → GLU → residual) → pooling → head."""

    layer: Literal["lru", "s4d", "s5"] = "lru"  # the kind of SSM
    width: int = Field(default=16, ge=1, le=4096)  # H
    order: Annotated[int, Field(ge=1, le=8192)] | tuple[Annotated[int, Field(ge=1, le=8192)], ...] = 64
    blocks: int = Field(default=1, ge=1, le=64)
    norm: Literal["layer", "batch", "none"] = "layer"
    dropout: Fraction = 0.0
    encoder: Literal["linear", "embedding"] = "linear"
    vocabulary: int | None = Field(default=None, ge=2)  # embedding only
    pooling: Literal["mean", "ema", "last", "none"] | None = None  # None: ema to classify, else none
    ema_steps: float = Field(default=64.0, gt=1)  # time constant of the ema pooling, in steps
    minimum_radius: float = Field(default=0.9, ge=0, lt=1)  # |λ| at the start
    maximum_radius: float = Field(default=0.999, gt=0, lt=1)
    maximum_phase: float = Field(default=6.283185307179586, gt=0, le=6.283185307179587)  # rad/step
    discretization: Literal["zoh", "bilinear"] = "zoh"  # s4d, s5
    minimum_dt: float = Field(default=1e-3, gt=0)  # s4d, s5: step size at the start, log-uniform from here
    maximum_dt: float = Field(default=0.1, gt=0)  # to here

    @property
    def orders(self) -> tuple[int, ...]:
        """N of each block before reduction."""
        return self.order if isinstance(self.order, tuple) else (self.order,) * self.blocks

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum_radius >= self.maximum_radius:
            raise ValueError("minimum_radius must be below maximum_radius")
        if self.minimum_dt > self.maximum_dt:
            raise ValueError("minimum_dt must not be above maximum_dt")
        if isinstance(self.order, tuple) and len(self.order) != self.blocks:
            raise ValueError(f"order lists {len(self.order)} orders for {self.blocks} blocks")
        if (self.encoder == "embedding") != (self.vocabulary is not None):
            raise ValueError("encoder = 'embedding' and vocabulary = SIZE go together")
        return self


class TrainSettings(_Settings):
    """AdamW with a group for the SSM's dynamics; warm-up, then cosine."""

    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    ssm_learning_rate_factor: float = Field(default=0.25, gt=0, le=10)
    weight_decay: float = Field(default=0.01, ge=0)  # never on the SSM group
    warmup: Fraction = 0.05  # share of the steps
    gradient_clip: float = Field(default=1.0, gt=0)  # on the norm of all gradients
    ignore_first: int = Field(default=0, ge=0)  # regression: steps at a sequence's start left out of the loss
    chunk: int | None = Field(default=None, ge=2)  # regression: steps a recording is trained on at a time
    carry_state: bool = True  # from a chunk to the next; else each starts from zero
    loss: LossName = "auto"
    pre_emphasis: float = Field(default=0.95, ge=0, lt=1)  # of "esr": a in y_k - a y_{k-1}; 0 is none
    stft_windows: tuple[Annotated[int, Field(ge=8)], ...] = Field(default=(512, 1024, 2048), min_length=1)
    evaluate_every: int = Field(default=100, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    threads: int | None = Field(default=None, ge=1)  # on the CPU; None: one for small work, else all cores
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(default=1, ge=1)
    strategy: str = "auto"  # passed to Lightning Fabric
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    loggers: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()

    @model_validator(mode="after")
    def _chunks_fit(self) -> Self:
        if self.chunk is None:
            return self
        if "stft" in self.loss and self.chunk < max(self.stft_windows):
            raise ValueError(
                f"chunk = {self.chunk} is shorter than the longest of stft_windows"
                f" ({max(self.stft_windows)}), so no chunk would hold one; write a longer chunk"
                " or shorter windows"
            )
        if self.carry_state and self.devices > 1:
            raise ValueError(
                "chunk with carry_state = true runs on one device, where the states are; write devices = 1,"
                " or carry_state = false"
            )
        if not self.carry_state and self.ignore_first >= self.chunk:
            raise ValueError(
                f"ignore_first = {self.ignore_first} leaves nothing of a chunk of {self.chunk} steps that"
                " starts from zero; write carry_state = true, a longer chunk or a smaller ignore_first"
            )
        return self


class LayerSettings(_Settings):
    """What is different for one layer, by its number from 0: ``[reduce.layers.1]``."""

    order: int | None = Field(default=None, ge=1)  # this many states at the end, whatever the others do
    minimum_order: int | None = Field(default=None, ge=1)
    keep: bool = False  # never cut this layer

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if self.keep and (self.order is not None or self.minimum_order is not None):
            raise ValueError("keep = true leaves the layer as it is; write it alone")
        if self.order is not None and self.order < (self.minimum_order or 1):
            raise ValueError(
                f"order {self.order} is below minimum_order {self.minimum_order}; write one of them"
            )
        return self


class ReduceSettings(_Settings):
    """When and how far balanced truncation cuts during training. Give one goal, or none: no cuts."""

    order: int | tuple[int, ...] | None = None  # states to end with; one for all layers, or one each
    tolerance: float | None = Field(default=None, gt=0, lt=1)  # total budget over all cuts
    bound: float | None = Field(default=None, gt=0, lt=1)  # each layer's error as a share of its largest gain
    max_loss: float | None = Field(default=None, gt=0)  # relative rise of the held-out loss, over all cuts
    max_states: int | None = Field(default=None, ge=1)  # over all layers
    max_parameters: int | None = Field(default=None, ge=1)  # of the frozen model
    max_macs: int | None = Field(default=None, ge=1)  # multiply-accumulates per step of the frozen model
    max_bytes: int | None = Field(default=None, ge=1)  # of the frozen model's float32 weights
    split: Literal["best", "marginal", "equal"] = "best"  # of a total over the layers
    layers: dict[int, LayerSettings] = {}  # what is different for one layer
    criterion: CriterionName = "task-aware"
    refit: bool = False  # fit C to the data after each cut
    schedule: Schedule = "window"
    window: tuple[Fraction, Fraction] = (0.3, 0.6)  # share of training in which cuts happen
    cuts: int = Field(default=4, ge=1, le=100)
    minimum_order: int = Field(default=1, ge=1)
    multiple: int = Field(default=1, ge=1)  # orders are rounded up to this, for SIMD
    gate: Fraction = 0.05  # skip a cut that removes a smaller share of a layer's states
    sequences: int = Field(default=100, ge=2)  # training sequences behind the Gramians
    moments: Literal["carry", "keep"] = "carry"  # optimiser moments: change of basis, or leading rows
    max_loss_increase: float = Field(default=0.5, ge=0)  # relative, on held-out batches; else undone
    allow_larger: bool = False  # accept to end above ``order``

    @property
    def goal(self) -> str | None:
        """The name of the field that says how far to cut, or None."""
        return next((name for name in GOALS if getattr(self, name) is not None), None)

    @property
    def cuts_anything(self) -> bool:
        """Whether training cuts at all: there is a goal, or a layer with an order of its own."""
        return self.goal is not None or any(layer.order is not None for layer in self.layers.values())

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        given = [name for name in GOALS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two goals; give one of them")
        orders = self.order if isinstance(self.order, tuple) else (self.order,)
        if any(r is not None and r < 1 for r in orders):
            raise ValueError("order counts states, so write 1 or more (or leave it out: no reduction)")
        if any(r is not None and r < self.minimum_order for r in orders):
            raise ValueError(
                f"order {self.order} is below minimum_order {self.minimum_order}, where no layer goes; lower"
                " minimum_order"
            )
        if not self.window[0] <= self.window[1] < 1:
            raise ValueError("window is [first, last] as shares of training, first ≤ last < 1")
        return self


GOALS = (
    "order",
    "tolerance",
    "bound",
    "max_loss",
    "max_states",
    "max_parameters",
    "max_macs",
    "max_bytes",
)


class CompareSettings(_Settings):
    """What the report holds the reduced model against, trained with the same settings."""

    full: bool = True  # no reduction
    scratch: bool = True  # the reduced model's order from the first step


class QuantizeSettings(_Settings):
    """Training on with rounding, after the cuts; what a precision chosen product by product may cost."""

    qat_steps: int = Field(default=0, ge=0)  # quantisation-aware training: steps; 0 only rounds afterwards
    qat_above: float = Field(
        default=0.01, ge=-1
    )  # no steps where rounding raises the loss by less; -1: always
    learning_rate_factor: float = Field(default=0.3, gt=0, le=10)  # of train.learning_rate, in those steps
    loss_budget: float = Field(default=0.03, gt=0, le=10)  # mixed: relative rise of the validation loss
    sensitivity: bool = False  # also round each tensor alone and report what that costs


class ExportSettings(_Settings):
    """What is written into artifacts/."""

    formats: tuple[Format, ...] = Field(default=("onnx", "executorch", "c99"), min_length=1)
    precisions: tuple[ArtifactPrecision, ...] = Field(default=("float32", "int8"), min_length=1)
    activation_bits: Literal[8, 16] = 16  # of int8, whose weights have 8
    opset: Literal[18, 20] = 20

    @model_validator(mode="after")
    def _something_to_write(self) -> Self:
        for precision in self.precisions:
            able = [name for name, known in WRITES.items() if precision in known]
            if not able:
                raise ValueError(f"no format is written in {precision} yet; take it out of precisions")
            if not set(able) & set(self.formats):
                raise ValueError(
                    f"{precision} is written as {' or '.join(able)}, so nothing would come of it; add one of"
                    f" them to formats or take {precision} out of precisions"
                )
        return self


# This machine's time, and what small ones need, counted by packages of pip; see docs/targets.md.
DEFAULT_TARGETS = ("host", "emulated:cortex-m4", "emulated:cortex-m7", "emulated:aarch64", "wasm")


class BenchSettings(_Settings):
    """How latency is measured on each target."""

    targets: tuple[str, ...] = Field(default=DEFAULT_TARGETS, min_length=1)
    backends: tuple[Literal["native", "onnx", "executorch", "reference"], ...] = (
        "native",
        "onnx",
        "executorch",
        "reference",
    )
    steps: int = Field(default=10_000, ge=100)
    seconds: float = Field(default=5.0, gt=0)  # limit per backend
    paced_seconds: float = Field(default=2.0, gt=0)  # with a rate: length of the deadline run


class Recipe(_Settings):
    """All of one run. ``Recipe.load`` reads it from TOML."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    description: str = ""
    task: Literal["classification", "regression"]
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: DataSettings
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    reduce: ReduceSettings = ReduceSettings()
    compare: CompareSettings = CompareSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    export: ExportSettings = ExportSettings()
    bench: BenchSettings = BenchSettings()

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        orders = self.reduce.order
        if isinstance(orders, tuple) and len(orders) != self.model.blocks:
            raise ValueError(f"reduce.order lists {len(orders)} orders for {self.model.blocks} blocks")
        wanted = orders if isinstance(orders, tuple) else (orders,) * self.model.blocks
        if any(r is not None and r > n for r, n in zip(wanted, self.model.orders, strict=True)):
            raise ValueError("reduce.order is above model.order; a reduction goes down")
        if self.reduce.minimum_order > max(self.model.orders):
            raise ValueError(
                f"reduce.minimum_order {self.reduce.minimum_order} is above model.order"
                f" {max(self.model.orders)}, so nothing could be cut; write a smaller one"
            )
        for index, layer in self.reduce.layers.items():
            if not 0 <= index < self.model.blocks:
                raise ValueError(
                    f"reduce.layers.{index}: the model has layers 0 to {self.model.blocks - 1}; "
                    "they count from the input"
                )
            wish = max(layer.order or 1, layer.minimum_order or 1)
            if wish > self.model.orders[index]:
                raise ValueError(
                    f"reduce.layers.{index} asks for {wish} states, the layer starts with "
                    f"{self.model.orders[index]}; a reduction goes down"
                )
        return self

    @model_validator(mode="after")
    def _loss_fits(self) -> Self:
        if self.task == "classification" and self.train.chunk is not None:
            raise ValueError(
                "train.chunk cuts recordings with a target at every step; a label belongs to a whole"
                " sequence, so remove it, or cut sequences by data.window"
            )
        if self.task == "classification" and self.train.loss != "auto":
            raise ValueError(f"train.loss = '{self.train.loss}' compares signals; a classifier has 'auto'")
        return self

    @property
    def metric(self) -> MetricName:
        """What is reported, and decides which step was best."""
        if self.task == "classification":
            return "accuracy"
        return "nrmse" if self.train.loss == "auto" else "esr"

    @property
    def pooling(self) -> Literal["mean", "ema", "last", "none"]:
        """The pooling in force: as written, else ema for a classifier and none for a regression."""
        if self.model.pooling is not None:
            return self.model.pooling
        return "ema" if self.task == "classification" else "none"

    @classmethod
    def load(cls, source: Path | str, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read a recipe: a TOML file, or the name of one that ships with ssmith.

        Args:
            source: path, or a bare name from ``shipped_recipes()``.
            overrides: ``key.subkey=value`` strings, values in TOML notation (bare words are strings).

        Raises:
            InputError: no such file, no TOML, an unknown key (the nearest is named), a wrong value.
        """
        text, base = read_text(source)
        try:
            raw: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{source} is no valid TOML: {error}") from error
        for override in overrides:
            apply_override(raw, override)
        recipe = cls.parse(raw, str(source))
        path = recipe.data.path
        if path is not None and base is not None and not path.is_absolute():
            data = recipe.data.model_copy(update={"path": base / path})
            recipe = recipe.model_copy(update={"data": data})
        return recipe

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str) -> Recipe:
        """Validate a parsed document; ``source`` is named in the message."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise InputError(f"{source}: {explained(error, cls)}") from None

    def digest(self) -> str:
        """What tells runs apart: every setting but the seed, independent of key order."""
        document = self.model_dump(mode="json", exclude={"seed", "description"})
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
