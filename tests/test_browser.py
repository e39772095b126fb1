"""The report in a real browser: no error in its console, no missing image, no sideways scrolling on a phone."""

import http.server
import json
import shutil
import subprocess
import threading
from functools import partial

import pytest
from made_up import a_run

from melib import figures, report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium"),
]

# Put into a copy of the page: what only a browser can know, left where --dump-dom shows it.
PROBE = """
<script>
window.addEventListener("load", () => {
  const found = {
    broken: [...document.images].filter(image => !image.complete || image.naturalWidth === 0).map(image => image.src),
    images: document.images.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    width: document.documentElement.clientWidth,
    faint: [...document.querySelectorAll("p, td, th, figcaption")].filter(element => {
      const [r, g, b] = getComputedStyle(element).color.match(/[0-9]+/g).map(Number);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b > 120;
    }).length,
  };
  const place = document.createElement("script");
  place.type = "application/json";
  place.id = "probe";
  place.textContent = JSON.stringify(found);
  document.body.appendChild(place);
});
</script>
"""


def browse(folder, url, *arguments, width=1200):
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--enable-logging=stderr", f"--window-size={width},1600", f"--user-data-dir={folder / 'profile'}",
    ]  # fmt: skip
    ended = subprocess.run(
        [*command, *arguments, url], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture
def site(tmp_path):
    """A run served on loopback, and the list of what was asked for."""
    run = a_run(tmp_path / "demo")
    figures.draw_all(run)
    index = report.build(run)
    (index.parent / "probed.html").write_text(index.read_text().replace("</body>", PROBE + "</body>"))
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *values):
            asked.append(values)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(run)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/report", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_shows_everything_without_an_error(site, tmp_path, width):
    url, asked = site
    ended = browse(tmp_path, f"{url}/probed.html", "--dump-dom", width=width)
    found = json.loads(ended.stdout.split('id="probe">')[1].split("</script>")[0])
    assert found["broken"] == []
    assert found["images"] == 4
    assert found["overflow"] <= 0, found
    assert found["faint"] == 0
    assert "CONSOLE" not in ended.stderr
    assert {values[1] for values in asked} == {"200"}, asked


def test_the_page_can_be_printed(site, tmp_path):
    url, _ = site
    browse(tmp_path, f"{url}/index.html", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
