"""The report in a real browser: no error in its console, no missing image, no sideways scrolling on a phone, no cut page."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from functools import partial

import pytest
from test_report import a_whole_run

from melib.paper import figures, report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium"),
]
# A browser's window can't be as narrow as a phone, a frame in it can.
FRAME = '<iframe src="{page}" style="border:0; width:{width}px; height:900px"></iframe>'
# What only a browser can know of what is in the frames is left where --dump-dom shows it.
PROBE = """<!DOCTYPE html><html lang="en"><title>frames</title><link rel="icon" href="data:,"><body style="margin:0">
{frames}<script>
window.addEventListener("load", () => {
  const place = document.createElement("script");
  place.type = "application/json";
  place.id = "probe";
  place.textContent = JSON.stringify((() => {{look}})());
  document.body.appendChild(place);
});
</script></body></html>
"""
LOOK = """
  const page = document.querySelector("iframe").contentDocument;
  const root = page.documentElement;
  const style = element => page.defaultView.getComputedStyle(element);
  const shown = element => element.getClientRects().length > 0;
  const wide = element => element.getBoundingClientRect().right > root.clientWidth + 1;
  return {
    broken: [...page.images].filter(image => !image.complete || image.naturalWidth === 0).map(image => image.src),
    images: page.images.length,
    overflow: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    lost: [...page.querySelectorAll('a[href^="#"]')].filter(a => !page.getElementById(a.hash.slice(1))).map(a => a.hash),
    faint: [...page.querySelectorAll("p, td, th, li, dd, a, figcaption, small, span")].filter(element => {
      const [r, g, b] = style(element).color.match(/[0-9]+/g).map(Number);
      const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
      return style(element).backgroundColor === "rgba(0, 0, 0, 0)" ? light > 120 && light < 240 : light < 200;
    }).map(element => element.textContent),
    small: [...page.querySelectorAll(".toc a, .links a, summary")].filter(shown)
      .filter(element => element.getBoundingClientRect().height < 40).map(element => element.textContent),
    cut: [...page.querySelectorAll("table, img, p, figcaption")].filter(shown)
      .filter(element => wide(element) && !element.closest(".scroll")).map(element => element.textContent),
    cutTables: [...page.querySelectorAll(".scroll table")].filter(wide).map(table => table.textContent.slice(0, 60)),
  };
"""
# Pixels of the page between the margins of A4, at 96 an inch.
PAPER = round((210 - 2 * 14) / 25.4 * 96)


def probe(look, frames):
    """A page that shows some frames, and what is seen in them."""
    return PROBE.replace("{frames}", "".join(frames)).replace("{look}", look)


def measured(ended):
    """What the browser has seen in the frames of such a page."""
    return json.loads(ended.stdout.split('id="probe">')[1].split("</script>")[0])


def browse(folder, url, *arguments, width=1400):
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A run served on loopback, and the list of what was asked for."""
    run = a_whole_run(tmp_path_factory.mktemp("runs") / "demo")
    figures.draw_all(run)
    index = report.build(run)
    printed = index.read_text(encoding="utf-8").replace("@media print {", "@media all {")
    (index.parent / "printed.html").write_text(printed, encoding="utf-8")
    # Told to be one, the screen's page is styled as the printed one.
    for name, page, width in (("wide", "index", 1300), ("phone", "index", 390), ("paper", "printed", PAPER)):
        frames = [FRAME.format(page=f"{page}.html", width=width)]
        (index.parent / f"{name}.html").write_text(probe(LOOK, frames), encoding="utf-8")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *values):
            asked.append(values)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(run)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/report", asked, run
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["wide", "phone", "paper"])
def test_the_page_shows_everything_without_an_error(site, tmp_path, name):
    url, asked, run = site
    ended = browse(tmp_path, f"{url}/{name}.html", "--dump-dom")
    layout = measured(ended)
    assert layout["width"] == {"wide": 1300, "phone": 390, "paper": PAPER}[name]
    assert layout["images"] == len(list(run.glob("figures/*.png"))) > 8
    assert layout["overflow"] <= 0, layout
    assert layout["broken"] == layout["lost"] == layout["cut"] == layout["faint"] == []
    # A finger needs room; on paper nothing scrolls.
    assert name != "phone" or layout["small"] == []
    assert name != "paper" or layout["cutTables"] == []
    assert "CONSOLE" not in ended.stderr
    assert {values[1] for values in asked} == {"200"}, asked


def test_the_page_can_be_printed_on_a4(site, tmp_path):
    url, *_ = site
    browse(tmp_path, f"{url}/index.html", f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([\d. ]+)\]", pdf)}
    assert boxes
    for left, bottom, right, top in boxes:
        assert (right - left, top - bottom) == (pytest.approx(595, abs=1.5), pytest.approx(842, abs=1.5))
