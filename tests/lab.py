"""JupyterLab in a headless Chromium, driven over the DevTools protocol; everything stays on 127.0.0.1."""

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import matplotlib
import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(asked, seconds, what):
    """Wait until a question has an answer, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = asked()
        if answer:
            return answer
        time.sleep(0.25)
    raise AssertionError(f"after {seconds} s still not: {what}")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return json.load(reply)
    except OSError:
        return None


@contextlib.contextmanager
def lab(root):
    """JupyterLab over a folder: yields its address and token."""
    token, port = secrets.token_hex(16), free_port()
    own = {
        "HOME": str(root / "home"),
        "JUPYTER_CONFIG_DIR": str(root / "home" / "config"),
        "JUPYTER_DATA_DIR": str(root / "home" / "data"),
        "JUPYTER_RUNTIME_DIR": str(root / "home" / "runtime"),
        "IPYTHONDIR": str(root / "home" / "ipython"),
        "JUPYTER_TOKEN": token,
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # the list of fonts that `make` has built
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True",
        f"--LabApp.user_settings_dir={root / 'home' / 'settings'}",
        f"--LabApp.workspaces_dir={root / 'home' / 'workspaces'}",
    ]  # fmt: skip
    quiet = (
        root / "home" / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    )
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # nothing is asked of the internet
    with (root / "home" / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT, cwd=root
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(f"{url}/api/status?token={token}"), 90, "JupyterLab answers")
            yield url, token
        finally:
            server.terminate()
            server.wait(timeout=30)


class Page:
    """One tab: evaluate JavaScript in it, press keys, take pictures."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=120, suppress_origin=True)
        self.number = 0

    def send(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def ask(self, script):
        """What an expression is worth; promises are awaited."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key, code):
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path):
        """A screenshot as PNG."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(folder, url, size=(1400, 1300)):
    """A page of Chromium at an address."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--remote-debugging-port=0", f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}",
        "about:blank",
    ]  # fmt: skip
    chromium = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        note = folder / "profile" / "DevToolsActivePort"
        port = until(lambda: note.is_file() and note.read_text().splitlines()[:1], 60, "Chromium answers")[0]
        pages = until(lambda: answers(f"http://127.0.0.1:{port}/json/list"), 60, "Chromium has a page")
        page = Page(next(tab["webSocketDebuggerUrl"] for tab in pages if tab["type"] == "page"))
        page.send("Page.enable")
        page.send("Emulation.setFocusEmulationEnabled", enabled=True)  # keys go to what has the focus
        page.send("Page.navigate", url=url)
        yield page
        page.socket.close()
    finally:
        chromium.terminate()
        chromium.wait(timeout=30)
