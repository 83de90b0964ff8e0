"""The dashboard in a headless Chromium, by the DevTools protocol: two nodes on a Redis, a few clients, and a person with a keyboard.

$DASHBOARD_PNG keeps the picture that is taken on the way (deploy/dashboard.png is such a one).
"""
import base64
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

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
    return [run(folder, processes, name, f"redis://127.0.0.1:{port}/") for name in ("north", "south")]


def run(folder, processes, name, store, variables=None):
    """A node; where it listens and answers."""
    log = open(folder / name, "wb")
    processes.append(subprocess.Popen([MQTTD, "--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--node-id", name,
                                       "--store", store], stderr=log, env={**os.environ, "MQTTD_CONFIG": "/dev/null", "MQTTD_LIMITS__WRITE_TIMEOUT_S": "300", **(variables or {})}))
    deadline = time.monotonic() + PATIENCE_S
    text = ""
    while time.monotonic() < deadline:
        text = (folder / name).read_text(errors="replace")
        listens = re.search(r"listening on tcp://127\.0\.0\.1:(\d+)", text)
        answers = re.search(r"answers on (http://[^\"]*)\"", text)
        if listens and answers:
            return int(listens[1]), answers[1]
        time.sleep(0.05)
    raise AssertionError(f"node {name} does not start: {text[-600:]}")


def client(port, name, expiry_s=0):
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    there = threading.Event()
    one.on_connect = lambda *_: there.set()
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = expiry_s
    one.connect("127.0.0.1", port, clean_start=True, properties=lasting)
    one.loop_start()
    assert there.wait(PATIENCE_S), f"{name} does not connect"
    return one


def walk(page, redis, south, gone, deaf):
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
        roles = ("button", "link", "textbox", "searchbox", "image", "region", "group", "table")
        nameless = [node["role"]["value"] for node in tree
                    if not node.get("ignored") and node.get("role", {}).get("value") in roles and not node.get("name", {}).get("value")]
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

    def search(part, name):
        page.js(f"document.getElementById('query').value = {json.dumps(part)}; document.getElementById('search').requestSubmit()")
        page.until(press("#found button", name))

    def press(which, text):
        button = f"[...document.querySelectorAll({json.dumps(which)})].find(one => one.textContent.startsWith({json.dumps(text)}))"
        return f"(it => it && (it.click(), true))({button})"

    def away():
        """A session without a connection is found, shown and ended."""
        search("sleep", "sleeper")
        page.until("document.getElementById('client').innerText.includes('it is away')")
        shown = page.js("document.getElementById('client').innerText")
        for text in ("plant/+/alarm", "Queued", "End session"):
            assert text in shown, (text, shown)
        page.until(press("#client button", "End session"))
        page.until("document.getElementById('client').innerText.includes('has ended')")
        page.js("document.getElementById('search').requestSubmit()")
        page.until("document.getElementById('found').innerText.includes('No connected client') && !document.getElementById('found').innerText.includes('sleeper')")

    def kicked():
        search("victim", "victim")
        page.until(press("#client button", "Disconnect"))
        page.until("document.getElementById('client').innerText.includes('was disconnected')")
        assert gone.wait(PATIENCE_S), "the client was not told"

    def slow():
        """Who reads nothing is named, until the node gives it up."""
        with deaf():
            page.until("document.getElementById('slow').innerText.includes('deaf')")

    def drained():
        of_south = "[...document.querySelectorAll('#nodes li')].find(one => one.innerText.includes('south')).innerText"
        page.until(press("#nodes button", "Drain south"))
        page.until(f"{of_south}.includes('Take clients again')")
        page.until("document.getElementById('live-text').textContent.includes('1 of 2 nodes ready')")
        page.until(press("#nodes button", "Take clients again"))
        page.until("document.getElementById('live-text').textContent.includes('2 of 2 nodes ready')")

    def unreachable():
        south.send_signal(signal.SIGSTOP)
        page.until("document.getElementById('nodes').innerText.includes('did not answer in time')")
        south.send_signal(signal.SIGCONT)
        page.until("document.getElementById('live-text').textContent.includes('2 of 2 nodes ready')")

    def redis_away():
        redis.send_signal(signal.SIGSTOP)
        page.until("document.getElementById('nodes').innerText.includes('does not answer')")
        page.until("document.getElementById('nodes').innerText.includes('not ready')")
        redis.send_signal(signal.SIGCONT)
        page.until("document.getElementById('live-text').textContent.includes('2 of 2 nodes ready')")

    def complaints():
        assert not page.complaints, page.complaints

    for name, what in (("cluster-map", cluster_map), ("numbers-move", numbers_move), ("keyboard", by_keyboard), ("names", names),
                       ("phone", phone), ("picture", picture), ("no-complaint", complaints)):
        check(name, what)
    page.js("window.confirm = () => true")
    for name, what in (("slow", slow), ("away", away), ("disconnect", kicked), ("drain", drained), ("unreachable", unreachable), ("redis-away", redis_away)):
        check(name, what)


def door(page):
    """A node with a token shows nothing before it is told it, and a wrong one is said to be wrong."""
    def locked():
        page.until("!document.getElementById('door').hidden && document.getElementById('content').hidden")
        for token in ("wrong", "right"):
            page.until("document.activeElement.id === 'token'")
            page.ask("Input.insertText", text=token)
            page.press("Enter")
            page.until("document.getElementById('door-fault').textContent" if token == "wrong" else "!document.getElementById('content').hidden")
        page.until("document.getElementById('live-text').textContent.includes('1 of 1 node ready')")

    check("token", locked)


def main():
    folder = Path(tempfile.mkdtemp(prefix="mqttd-dashboard-"))
    processes, clients, stop = [], [], threading.Event()
    try:
        nodes = start(folder, processes)
        for number, (port, _) in enumerate(nodes, 1):
            one = client(port, f"panel-{number}")
            one.subscribe("plant/#", 1)
            clients.append(one)
        sleeper = client(nodes[1][0], "sleeper", 3600)
        kept = threading.Event()
        sleeper.on_subscribe = lambda *_: kept.set()
        sleeper.subscribe("plant/+/alarm", 1)
        assert kept.wait(PATIENCE_S), "the sleeper does not subscribe"
        sleeper.disconnect()
        sleeper.loop_stop()
        clients.append(client(nodes[1][0], "victim"))
        gone = threading.Event()
        clients[-1].on_disconnect = lambda *_: (gone.set(), clients[2].loop_stop())

        def deaf():
            stream = socket.create_connection(("127.0.0.1", nodes[0][0]))
            stream.sendall(b"\x10\x10\0\4MQTT\4\2\0\0\0\4deaf" + b"\x82\x0b\0\1\0\6flood1\0")
            return stream

        clients.append(client(nodes[0][0], "meter"))

        def publish():
            while not stop.wait(0.02):
                clients[-1].publish("plant/7/temperature", "21.5", 1)
                clients[-1].publish("flood1", bytes(64 * 1024))

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
        walk(Page(WebSocket(url[1]), f"{nodes[0][1]}/dashboard"), processes[0], processes[2], gone, deaf)
        alone = run(folder, processes, "alone", "memory:", {"MQTTD_API__TOKEN": "right"})
        door(Page(WebSocket(url[1]), f"{alone[1]}/dashboard"))
    finally:
        stop.set()
        for one in clients:
            one.loop_stop()
        for process in reversed(processes):
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
