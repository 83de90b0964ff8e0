"""The dashboard in a headless Chromium, by the DevTools protocol: two nodes on a Redis, a few clients, and a person with a keyboard.

$DASHBOARD_PNG keeps the picture that is taken on the way (deploy/dashboard.png is such a one).
"""
import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt

PATIENCE_S = 60
MQTTD = os.environ["MQTTD"]


class WebSocket:
    """As much of RFC 6455 as DevTools needs: whole texts, no compression."""

    def __init__(self, url):
        host, port, path = re.match(r"ws://([^:/]+):(\d+)(/.*)", url).groups()
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        while self.file.readline().strip():
            pass

    def send(self, text):
        data = text.encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack(">BH", 0xFE, len(data)) if len(data) < 65536 else struct.pack(">BQ", 0xFF, len(data))
        self.socket.sendall(b"\x81" + size + b"\0\0\0\0" + data)  # a mask of zeros changes nothing

    def receive(self):
        text = b""
        while True:
            first, size = self.file.read(2)
            if size == 126:
                size, = struct.unpack(">H", self.file.read(2))
            elif size == 127:
                size, = struct.unpack(">Q", self.file.read(8))
            part = self.file.read(size)
            if first & 0x0F in (0, 1):
                text += part
                if first & 0x80:
                    return text.decode()


class Page:
    """One tab, and everything it complained of."""

    def __init__(self, browser, url):
        self.browser, self.count, self.session, self.complaints = browser, 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.ask(f"{domain}.enable")
        self.size(1280, 1500)
        self.ask("Page.navigate", url=url)

    def ask(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.browser.send(json.dumps(message))
        while True:
            answer = json.loads(self.browser.receive())
            self.note(answer)
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"] + " " + str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))

    def js(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression):
        """Waits until it is true, and says what it was."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                value = self.js(expression)
            except RuntimeError:  # what it asks for is not on the page yet
                value = None
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"not in {PATIENCE_S} s: {expression}; the page: {self.js('document.body.innerText')[:600]!r}")

    def press(self, key, text=""):
        codes = {"Tab": 9, "Enter": 13}
        if key == "Enter":
            text = "\r"
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes.get(key, 0),
                     **({"text": text} if text and kind == "keyDown" else {}))

    def tab_to(self, condition):
        """Goes there with the Tab key alone; `it` is what has the focus."""
        for _ in range(60):
            self.press("Tab")
            if self.js(f"(it => {condition})(document.activeElement)"):
                return
        raise AssertionError(f"the Tab key never comes to {condition}")

    def size(self, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)


def check(name, what):
    try:
        what()
        print(f"ok dashboard/{name}", flush=True)
    except Exception as error:
        print(f"FAIL dashboard/{name}: {error}".replace("\n", " "), flush=True)


def start(folder, processes):
    """A Redis, two nodes; where each of them listens and answers."""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    processes.append(subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--maxmemory-policy", "noeviction"],
                                      stdout=subprocess.DEVNULL, cwd=folder))
    found = []
    for name in ("north", "south"):
        log = open(folder / name, "wb")
        processes.append(subprocess.Popen([MQTTD, "--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--node-id", name,
                                           "--store", f"redis://127.0.0.1:{port}/"], stderr=log, env={**os.environ, "MQTTD_CONFIG": "/dev/null"}))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            text = (folder / name).read_text(errors="replace")
            listens = re.search(r"listening on tcp://127\.0\.0\.1:(\d+)", text)
            answers = re.search(r"answers on (http://[^\"]*)\"", text)
            if listens and answers:
                found.append((int(listens[1]), answers[1]))
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"node {name} does not start: {text[-600:]}")
    return found


def client(port, name):
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    there = threading.Event()
    one.on_connect = lambda *_: there.set()
    one.connect("127.0.0.1", port)
    one.loop_start()
    assert there.wait(PATIENCE_S), f"{name} does not connect"
    return one


def walk(page, nodes):
    check("live", lambda: page.until("document.getElementById('live-text').textContent.includes('2 of 2 nodes ready')"))

    def cluster_map():
        names = "[...document.querySelectorAll('#nodes h3')].map(one => one.textContent)"
        page.until(f"['north', 'south'].every(name => {names}.some(one => one.includes(name)))")
        page.until("[...document.querySelectorAll('#nodes dd')].some(one => one.textContent === 'answers')")

    def numbers_move():
        rate = "Number(document.querySelectorAll('#tiles dd')[1].textContent.replace(/[^0-9.]/g, ''))"
        page.until(f"{rate} > 0")
        page.until("document.querySelector('#chart .line.in').getAttribute('d')")
        drawn = page.js("document.querySelector('#chart .line.in').getAttribute('d')")
        page.until(f"document.querySelector('#chart .line.in').getAttribute('d') !== {json.dumps(drawn)}")

    def by_keyboard():
        page.js("document.activeElement.blur()")
        page.tab_to("it.className === 'skip'")
        page.tab_to("it.id === 'query'")
        page.ask("Input.insertText", text="panel")
        page.press("Enter")
        page.until("document.querySelectorAll('#found tbody tr').length === 2")
        page.tab_to("it.textContent === 'panel-2'")
        page.press("Enter")
        page.until("document.activeElement.tagName === 'H3' && document.activeElement.textContent === 'panel-2'")
        shown = page.js("document.getElementById('client').innerText")
        for text in ("south", "MQTT 5.0", "plant/#", "Disconnect"):
            assert text in shown, (text, shown)

    def names():
        """What a screen reader says: everything that can be used has a name."""
        page.ask("Accessibility.enable")
        tree = page.ask("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "link", "textbox", "searchbox", "image", "region", "table")
        nameless = [node["role"]["value"] for node in tree
                    if not node.get("ignored") and node.get("role", {}).get("value") in roles[:-1] and not node.get("name", {}).get("value")]
        assert not nameless, nameless

    def phone():
        page.size(390, 844)
        page.until("innerWidth === 390")
        wide = page.js("document.documentElement.scrollWidth")
        assert wide <= 390, f"{wide} wide on a phone"
        page.size(1280, 1500)

    def picture():
        png = base64.b64decode(page.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])
        assert png.startswith(b"\x89PNG") and len(png) > 20_000, len(png)
        if os.environ.get("DASHBOARD_PNG"):
            Path(os.environ["DASHBOARD_PNG"]).write_bytes(png)

    def complaints():
        assert not page.complaints, page.complaints

    for name, what in (("cluster-map", cluster_map), ("numbers-move", numbers_move), ("keyboard", by_keyboard), ("names", names),
                       ("phone", phone), ("picture", picture), ("no-complaint", complaints)):
        check(name, what)


def main():
    folder = Path(tempfile.mkdtemp(prefix="mqttd-dashboard-"))
    processes, clients, stop = [], [], threading.Event()
    try:
        nodes = start(folder, processes)
        for number, (port, _) in enumerate(nodes, 1):
            one = client(port, f"panel-{number}")
            one.subscribe("plant/#", 1)
            clients.append(one)
        clients.append(client(nodes[0][0], "meter"))

        def publish():
            while not stop.wait(0.02):
                clients[-1].publish("plant/7/temperature", "21.5", 1)

        threading.Thread(target=publish, daemon=True).start()
        log = open(folder / "browser", "wb")
        browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        processes.append(subprocess.Popen([browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                                           "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank"], stdout=log, stderr=log))
        deadline = time.monotonic() + PATIENCE_S
        url = None
        while not url and time.monotonic() < deadline:
            url = re.search(r"DevTools listening on (ws://\S+)", (folder / "browser").read_text(errors="replace"))
            time.sleep(0.1)
        assert url, "the browser does not start: " + (folder / "browser").read_text(errors="replace")[-600:]
        walk(Page(WebSocket(url[1]), f"{nodes[0][1]}/dashboard"), nodes)
    finally:
        stop.set()
        for one in clients:
            one.loop_stop()
        for process in reversed(processes):
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
