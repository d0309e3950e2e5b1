"""The report in a real browser: fits a phone, and asks the network for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape

import pytest

from ssmith.measurement import read_measurements, write_measurements
from ssmith.report import build_report, render_html
from tests.report_run import write_run
from tests.ssmith.test_report_devices import several

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--enable-logging=stderr"]  # fmt: skip
PROBE = """<script>
const asked = performance.getEntriesByType("resource").map(entry => entry.name);
const page = document.documentElement;
parent.document.title = `asked ${asked.length} width ${page.scrollWidth} window ${page.clientWidth}`;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; make deps does it")
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("many", [False, True], ids=["host", "many devices"])
def test_no_sideways_scrolling_and_no_network(tmp_path, width, many):
    path = write_run(tmp_path / "run", period_s=0.002 if many else None) / "measurements.json"
    if many:
        write_measurements(path, several(read_measurements(path)))
    page = tmp_path / "report.html"
    html = render_html(build_report(tmp_path / "run")).replace("</body>", PROBE + "</body>")
    frame = f'<iframe style="border:0; width:{width}px; height:900px" srcdoc="{escape(html)}"></iframe>'
    page.write_text(frame)  # a window of its own would not become narrower than some 500 pixels
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,900"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"asked (\d+) width (\d+) window (\d+)", done.stdout)
    assert found, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    asked, needed, window = (int(number) for number in found.groups())
    assert asked == 0
    assert needed <= window <= width
