"""The Python of docs/embedding.md, section ONNX, runs on a model of the name used there."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from ssmith.export.onnx import lower
from tests.bundles import random_bundle

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_steps_a_model(tmp_path):
    lower(random_bundle(np.random.default_rng(0), name="robot"), tmp_path)
    section = PAGE.split("\n## ONNX\n")[1].split("\n## ")[0]
    blocks = [part.split("```")[0] for part in section.split("```python\n")[1:]]
    assert len(blocks) == 2
    code = "import numpy as np\nframe = np.ones(3, np.float32)\n" + "\n".join(blocks)
    check = "\nassert y.shape == (1, 2) and all(value.any() for value in states.values())"
    done = subprocess.run(
        [sys.executable, "-c", code + check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
