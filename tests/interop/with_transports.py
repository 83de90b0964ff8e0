"""TLS, WebSocket, QUIC and the PROXY protocol, with the programs that people use for them.

The runner has started the broker with $MQTT_TLS_PORT, $MQTT_MTLS_PORT (asks for a certificate of $MQTT_CERTIFICATES/client.pem's authority),
$MQTT_WS_PORT, $MQTT_WSS_PORT, $MQTT_QUIC_PORT and $MQTT_PROXY_PORT (expects a PROXY header); its log is $MQTT_LOG.
"""
import asyncio
import contextlib
import http.server
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import paho.mqtt.client as paho
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from paho.mqtt.enums import CallbackAPIVersion

from case import case, expect, finish

CERTIFICATES = Path(os.environ["MQTT_CERTIFICATES"])
CA = str(CERTIFICATES / "ca.pem")
LIMIT_S = 15
CONNECT = bytes.fromhex("100c00044d5154540402000000000000")[:14]


def port(name):
    return int(os.environ[f"MQTT_{name}_PORT"])


def skip(name, why):
    print(f"SKIP interop/transports/{name}: {why}", flush=True)


def run(*argv, data=None, want=0):
    done = subprocess.run(argv, input=data, capture_output=True, timeout=LIMIT_S, check=False)
    if want is not None and done.returncode != want:
        raise AssertionError(f"{argv[0]}: status {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return done


# openssl

def openssl(version):
    done = run("openssl", "s_client", "-connect", f"localhost:{port('TLS')}", "-CAfile", CA, "-verify_return_error", f"-{version}",
               "-servername", "localhost", "-brief", data=b"")
    expect(b"Verification: OK" in done.stderr, True, "verification")


def openssl_resumes():
    with tempfile.TemporaryDirectory() as folder:
        session = f"{folder}/session"
        base = ["openssl", "s_client", "-connect", f"localhost:{port('TLS')}", "-CAfile", CA, "-tls1_2"]
        run(*base, "-sess_out", session, data=b"")
        again = run(*base, "-sess_in", session, data=b"")
    expect(b"Reused, TLSv1.2" in again.stdout, True, "a reused session")


# mosquitto

def mosquitto(name, version, *tls):
    at = ["-h", "localhost", "-p", str(port(name)), "-V", version, "--cafile", CA, *tls]
    topic = f"transports/{name}/{version}"
    run("mosquitto_pub", *at, "-t", topic, "-m", "kept", "-r", "-q", "1")
    got = run("timeout", "10", "mosquitto_sub", *at, "-t", topic, "-C", "1", "-q", "1")
    expect(got.stdout, b"kept\n", "the message")


def mosquitto_without_certificate():
    # MOSQ_ERR_TLS where it sees the alert, MOSQ_ERR_CONN_LOST where TLS 1.3 had ended for it already.
    done = run("timeout", "10", "mosquitto_pub", "-h", "localhost", "-p", str(port("MTLS")), "--cafile", CA, "-t", "x", "-m", "y", want=None)
    expect(done.returncode in (7, 8), True, f"status {done.returncode} is a refusal")


# Names in certificates: a broker of its own, with rules for one of them

OWN = ("--cert", str(CERTIFICATES / "client.pem"), "--key", str(CERTIFICATES / "client.key"))


@contextlib.contextmanager
def of_names():
    """The ports of a broker that takes the name from the certificate: over TLS, and as a balancer tells it. Only ann may use named/#."""
    direct, behind = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        rules, log = Path(folder, "rules"), Path(folder, "log")
        rules.write_text("allow user ann all named/#\n")
        # What the runner is told in variables of this prefix is no configuration of a broker.
        env = {name: value for name, value in os.environ.items() if not name.startswith("MQTTD")} | {
            "MQTTD_ADMIN": "off", "MQTTD_TLS__CLIENT_CA": CA, "MQTTD_AUTH__CERTIFICATE_USER": "true", "MQTTD_ACCESS__RULES_FILE": str(rules),
            "MQTTD_LISTENER": f'[{{ url = "tcp://127.0.0.1:{behind}", proxy_protocol = true }}]'}
        argv = [os.environ["BROKER"], "--listen", f"tls://127.0.0.1:{direct}",
                "--tls-certificate", str(CERTIFICATES / "server.pem"), "--tls-key", str(CERTIFICATES / "server.key")]
        with log.open("wb") as out:
            process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            wait_for(direct, lambda: log.read_text(errors="replace"))
            yield direct, behind
        finally:
            process.terminate()
            process.wait(LIMIT_S)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(number, why=lambda: ""):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", number), LIMIT_S).close()
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError(f"nobody listens at {number}: {why()}")


def certificate_of(name, folder):
    """Signed by the runner's authority."""
    key, asks, pem = (f"{folder}/{name}.{kind}" for kind in ("key", "csr", "pem"))
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", asks, "-subj", f"/CN={name}")
    # With an extension it is one of version 3, which TLS asks for.
    Path(folder, "extensions").write_text(f"subjectAltName=DNS:{name}.example")
    run("openssl", "x509", "-req", "-in", asks, "-CA", CA, "-CAkey", str(CERTIFICATES / "ca.key"), "-CAcreateserial", "-out", pem, "-days", "2",
        "-extfile", f"{folder}/extensions")
    return ("--cert", pem, "--key", key)


def named_alone_may(number):
    """ann reads what she has written, eve is told that she may not."""
    at = ["-h", "localhost", "-p", str(number), "-V", "mqttv5", "--cafile", CA, "-t", "named/t"]
    run("mosquitto_pub", *at, *OWN, "-m", "kept", "-r", "-q", "1")
    expect(run("timeout", "10", "mosquitto_sub", *at, *OWN, "-C", "1", "-q", "1").stdout, b"kept\n", "the message")
    with tempfile.TemporaryDirectory() as folder:
        eve = certificate_of("eve", folder)
        refused = run("timeout", "10", "mosquitto_sub", *at, *eve, "-C", "1", "-q", "1", want=None)
        expect(b"denied" in refused.stderr, True, f"what eve hears, {refused}, is a refusal")
        refused = run("timeout", "10", "mosquitto_pub", *at, *eve, "-m", "forged", "-q", "1", want=None)
        expect(b"Not authorized" in refused.stderr + refused.stdout, True, "what eve says")


def mosquitto_is_named():
    with of_names() as (direct, _):
        named_alone_may(direct)


def haproxy_tells_the_name():
    """TLS ends at HAProxy, which tells the Common Name (send-proxy-v2-ssl-cn)."""
    front = free_port()
    with of_names() as (_, behind), tempfile.TemporaryDirectory() as folder:
        Path(folder, "server.pem").write_text((CERTIFICATES / "server.pem").read_text() + (CERTIFICATES / "server.key").read_text())
        with haproxy_with(f"bind 127.0.0.1:{front} ssl crt {folder}/server.pem ca-file {CA} verify required",
                          f"127.0.0.1:{behind} send-proxy-v2-ssl-cn"):
            wait_for(front)
            named_alone_may(front)


# paho over WebSocket

def paho_websocket(name, version):
    heard = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version, transport="websockets")
    if name == "WSS":
        client.tls_set(CA)
    client.on_message = lambda c, u, message: heard.put(message.payload)
    client.on_subscribe = lambda *_: heard.put("subscribed")
    client.on_connect = lambda c, *_: c.subscribe(f"transports/{name}/#", 2)
    client.connect("localhost", port(name))
    client.loop_start()
    expect(heard.get(timeout=LIMIT_S), "subscribed")
    for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
        client.publish(f"transports/{name}/{size}", b"x" * size, qos=2)
    for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
        expect(len(heard.get(timeout=LIMIT_S)), size, "bytes")
    client.disconnect()
    client.loop_stop()


# MQTT.js over WebSocket

def mqttjs(name):
    scheme = {"WS": "ws", "WSS": "wss"}[name]
    script = f"""
      const client = require('mqtt').connect('{scheme}://localhost:{port(name)}/mqtt',
        {{ protocolVersion: 5, reconnectPeriod: 0, ca: require('fs').readFileSync('{CA}') }})
      client.on('error', (error) => {{ console.error(error); process.exit(1) }})
      client.on('connect', () => client.subscribe('transports/js', {{ qos: 1 }}, () => client.publish('transports/js', 'hello', {{ qos: 1 }})))
      client.on('message', (topic, payload) => {{ console.log(String(payload)); client.end() }})
    """
    expect(run("node", "-e", script).stdout, b"hello\n", "the message")


# A page in a browser

# Of a page's own making: Debian has no client for browsers. CONNECT, SUBSCRIBE and PUBLISH, and what comes back.
PAGE = """<script>
  const socket = new WebSocket('ws://localhost:%d/mqtt', 'mqtt'), came = []
  socket.binaryType = 'arraybuffer'
  const tell = (text) => fetch('/result', { method: 'POST', body: text })
  socket.onopen = () => socket.send(new Uint8Array(%s))
  socket.onmessage = (event) => { came.push(...new Uint8Array(event.data)); if (came.length >= %d) tell(socket.protocol + ' ' + came) }
  socket.onclose = (event) => tell('closed ' + event.code)
</script>"""
PAGE_SAYS = CONNECT + b"\x82\x06\x00\x01\x00\x01p\x00" + b"\x30\x05\x00\x01phi"
PAGE_HEARS = b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x00" + b"\x30\x05\x00\x01phi"


def browser(program):
    told = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = (PAGE % (port("WS"), list(PAGE_SAYS), len(PAGE_HEARS))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page if self.path == "/" else b"")

        def do_POST(self):
            told.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
                                    f"--user-data-dir={folder}", f"http://127.0.0.1:{server.server_port}/"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            expect(told.get(timeout=60), "mqtt " + ",".join(map(str, PAGE_HEARS)), "what the page saw")
        finally:
            process.kill()
            process.wait()
            server.shutdown()


# HAProxy

@contextlib.contextmanager
def haproxy_with(bind, server):
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write("defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
                   f"listen mqtt\n {bind}\n server one {server}\n")
        file.flush()
        process = subprocess.Popen(["haproxy", "-db", "-f", file.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def haproxy(version):
    """The broker knows the address that came to HAProxy, and not HAProxy's."""
    front = free_port()
    send = {"v1": "send-proxy", "v2": "send-proxy-v2"}[version]
    with haproxy_with(f"bind 127.0.0.1:{front}", f"127.0.0.1:{port('PROXY')} {send}"):
        wait_for(front)
        source = {"v1": "127.0.0.81", "v2": "127.0.0.82"}[version]
        client = socket.create_connection(("127.0.0.1", front), LIMIT_S, (source, 0))
        client.sendall(CONNECT)
        expect(client.recv(4), b"\x20\x02\x00\x00", "CONNACK")
        mine = f"{source}:{client.getsockname()[1]}"
        client.close()
        log = Path(os.environ["MQTT_LOG"])
        for _ in range(200):
            if mine in log.read_text(errors="replace"):
                return
            threading.Event().wait(0.02)
        raise AssertionError(f"{mine} is not in the broker's log")


# QUIC, with aioquic

class Streams(QuicConnectionProtocol):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.came, self.news = {}, asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.came[event.stream_id] = self.came.get(event.stream_id, b"") + event.data
            self.news.set()

    def open(self):
        return self._quic.get_next_available_stream_id()

    def send(self, stream, data):
        self._quic.send_stream_data(stream, data)
        self.transmit()

    async def expect(self, stream, wanted):
        while len(self.came.get(stream, b"")) < len(wanted):
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), LIMIT_S)
        got, self.came[stream] = self.came[stream][:len(wanted)], self.came[stream][len(wanted):]
        expect(got, wanted, f"stream {stream}")


def reach(protocol="mqtt"):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[protocol], server_name="localhost")
    configuration.load_verify_locations(CA)
    return connect("127.0.0.1", port("QUIC"), configuration=configuration, create_protocol=Streams)


def quic(scene):
    """With a Client that is in."""
    async def play():
        async with reach() as streams:
            control = streams.open()
            streams.send(control, CONNECT)
            await streams.expect(control, b"\x20\x02\x00\x00")
            await scene(streams, control)
    bounded(play)


def bounded(play):
    asyncio.run(asyncio.wait_for(play(), LIMIT_S))


async def one_stream(streams, control):
    streams.send(control, b"\x82\x06\x00\x01\x00\x01q\x01")
    await streams.expect(control, b"\x90\x03\x00\x01\x01")
    streams.send(control, b"\x30\x05\x00\x01qhi")
    await streams.expect(control, b"\x30\x05\x00\x01qhi")
    streams.send(control, b"\xc0\x00")
    await streams.expect(control, b"\xd0\x00")


async def disconnect_comes_first():
    """The same Client Identifier twice, MQTT 5.0: the first hears DISCONNECT 0x8E, then the connection is closed."""
    hello = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x05twice"
    async with reach() as one, reach() as other:
        for streams in (one, other):
            control = streams.open()
            streams.send(control, hello)
            await streams.expect(control, b"\x20")
        await asyncio.wait_for(one.wait_closed(), LIMIT_S)
        rest = one.came[control]
        told = rest[1 + rest[0]:]  # behind CONNACK
        expect((told[:1], told[2:3]), (b"\xe0", b"\x8e"), "the last that it heard")
        other.send(control, b"\xc0\x00")


async def another_protocol():
    try:
        async with reach("h3"):
            raise AssertionError("h3 was accepted")
    except ConnectionError:
        pass


async def several_streams(streams, control):
    subscriber, publisher = (streams.open(), None)
    streams.send(subscriber, b"\x82\x06\x00\x01\x00\x01r\x00")
    await streams.expect(subscriber, b"\x90\x03\x00\x01\x00")
    publisher = streams.open()
    streams.send(publisher, b"\x32\x07\x00\x01r\x00\x09hi")
    await streams.expect(publisher, b"\x40\x02\x00\x09")
    await streams.expect(subscriber, b"\x30\x05\x00\x01rhi")
    streams.send(control, b"\xc0\x00")
    await streams.expect(control, b"\xd0\x00")


for tls_version in ("tls1_2", "tls1_3"):
    case(f"interop/transports/openssl-{tls_version}", openssl, tls_version)
case("interop/transports/openssl-resumes", openssl_resumes)
for mqtt_version in ("mqttv31", "mqttv311", "mqttv5"):
    case(f"interop/transports/mosquitto-tls-{mqtt_version}", mosquitto, "TLS", mqtt_version)
    case(f"interop/transports/mosquitto-certificate-{mqtt_version}", mosquitto, "MTLS", mqtt_version, *OWN)
case("interop/transports/mosquitto-without-certificate", mosquitto_without_certificate)
case("interop/transports/mosquitto-is-named", mosquitto_is_named)
for listener in ("WS", "WSS"):
    for label, paho_version in (("v3", paho.MQTTv311), ("v5", paho.MQTTv5)):
        case(f"interop/transports/paho-{listener.lower()}-{label}", paho_websocket, listener, paho_version)
    if shutil.which("node"):
        case(f"interop/transports/mqttjs-{listener.lower()}", mqttjs, listener)
    else:
        skip(f"mqttjs-{listener.lower()}", "this machine lacks node (apt install node-mqtt)")
case("interop/transports/aioquic-one-stream", quic, one_stream)
case("interop/transports/aioquic-several-streams", quic, several_streams)
case("interop/transports/aioquic-disconnect-comes-first", bounded, disconnect_comes_first)
case("interop/transports/aioquic-another-protocol", bounded, another_protocol)
for proxy_version in ("v1", "v2"):
    if shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"):
        case(f"interop/transports/haproxy-{proxy_version}", haproxy, proxy_version)
    else:
        skip(f"haproxy-{proxy_version}", "this machine lacks haproxy (apt install haproxy)")
if shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"):
    case("interop/transports/haproxy-name", haproxy_tells_the_name)
chromium = shutil.which("chromium") or shutil.which("google-chrome")
if chromium:
    case("interop/transports/chromium", browser, chromium)
else:
    # It is large, so nobody is made to install it.
    print("SKIP-OPTIONAL interop/transports/chromium: this machine lacks a browser (apt install chromium)", flush=True)
finish()
