// The dashboard: what the API says, every other second. Nothing of what it is told becomes HTML: all of it is text.
"use strict";

const POINTS = 120; // four minutes
const KEY = "mqttd-token";
const by = (id) => document.getElementById(id);
const history = []; // { at, in, out }
let before = null;
let stream = null;
let heard = 0;

// The clock of the node, not that of this machine: ages are reckoned by who tells the times.
const clock = () => (before ? before.at + performance.now() - heard : Date.now());

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const number = (value) => (value < 10000 ? whole.format(Math.round(value)) : short.format(value));
const bytes = (value) => (value < 1024 ? `${value} B` : value < 1048576 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1048576).toFixed(1)} MiB`);

function lasting(ms) {
  const seconds = Math.floor(ms / 1000), days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${seconds} s`;
}

// An element with attributes and children; texts stay texts.
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "onclick") element.addEventListener("click", value);
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`api/v1/${path}`, { ...options, headers: { ...headers, ...options.headers }, cache: "no-store" });
  if (answer.status === 401) throw Object.assign(new Error((await answer.json()).message), { locked: true });
  return answer;
}

async function json(path, options) {
  const answer = await ask(path, options);
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(body && body.message ? body.message : `the node answered ${answer.status}`);
  return body;
}

function live(kind, text) {
  by("live").className = kind;
  // Screen readers hear a change of state, not every event.
  if (by("live-text").textContent !== text) by("live-text").textContent = text;
}

// Server-sent events by fetch, because EventSource cannot show a token.
async function follow() {
  if (stream) stream.abort();
  stream = new AbortController();
  const own = stream;
  try {
    const answer = await ask("events", { signal: own.signal });
    if (!answer.ok) throw new Error(`the node answered ${answer.status}`);
    by("door").hidden = true;
    by("content").hidden = false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += value;
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
        if (data) show(JSON.parse(data));
      }
    }
    throw new Error("the node ended the stream");
  } catch (error) {
    if (own.signal.aborted) return;
    if (error.locked) return lock(error.message);
    live("bad", "no answer from this node; trying again");
    before = null;
    setTimeout(follow, 2000);
  }
}

function lock(message) {
  live("warn", "locked");
  by("content").hidden = true;
  by("door").hidden = false;
  by("door-fault").textContent = sessionStorage.getItem(KEY) ? message : "";
  by("token").focus();
}

function show(state) {
  const nodes = state.nodes;
  const sum = (field) => nodes.reduce((total, node) => total + (node[field] || 0), 0);
  const rates = measure(state);
  const ready = nodes.filter((node) => node.ready).length;
  const worst = ready === nodes.length ? "good" : ready > 0 ? "warn" : "bad";
  live(worst, `${state.self}: ${ready} of ${nodes.length} ${nodes.length === 1 ? "node" : "nodes"} ready`);
  tiles([
    ["Clients connected", number(sum("connections"))],
    ["Received per s", rates ? number(rates.in) : "–"],
    ["Sent per s", rates ? number(rates.out) : "–"],
    ["Waiting in memory", number(sum("mailbox_messages"))],
    ["Subscriptions", number(sum("subscriptions"))],
    ["Retained", state.retained == null ? "–" : number(state.retained)],
  ]);
  chart();
  drawNodes(nodes, Math.max(1, ...nodes.map((node) => node.connections || 0)), rates ? rates.nodes : {});
  slow(state.slow);
  work(state.work, sum, rates);
}

// What was counted since the last event. A node that began again counts from zero, and is left out once.
function measure(state) {
  const now = new Map(state.nodes.filter((node) => node.counters).map((node) => [node.incarnation || node.node, node]));
  let rates = null;
  if (before && state.at > before.at) {
    const seconds = (state.at - before.at) / 1000;
    rates = { in: 0, out: 0, asked: 0, answered: 0, nodes: {} };
    for (const [key, node] of now) {
      const old = before.nodes.get(key);
      if (!old || old.started_at !== node.started_at) continue;
      const rate = (field) => Math.max(0, (node.counters[field] - old.counters[field]) / seconds);
      rates.nodes[node.node] = { in: rate("publishes_received"), out: rate("publishes_sent") };
      rates.asked += rate("mcp_requests");
      rates.answered += rate("mcp_responses");
      rates.in += rates.nodes[node.node].in;
      rates.out += rates.nodes[node.node].out;
    }
    history.push({ at: state.at, in: rates.in, out: rates.out });
    if (history.length > POINTS) history.shift();
  }
  before = { at: state.at, nodes: now };
  heard = performance.now();
  return rates;
}

function tiles(all) {
  const list = by("tiles");
  if (list.children.length !== all.length) list.replaceChildren(...all.map(([name]) => make("div", {}, make("dt", {}, name), make("dd", {}))));
  all.forEach(([, value], at) => {
    const place = list.children[at].lastChild;
    if (place.textContent !== value) place.textContent = value;
  });
}

function chart() {
  if (history.length < 2) return;
  const top = Math.max(1, ...history.map((point) => Math.max(point.in, point.out)));
  const x = (at) => (600 * at) / (history.length - 1);
  const y = (value) => 136 - (128 * value) / top;
  const line = (field) => history.map((point, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(point[field]).toFixed(1)}`).join("");
  const svg = by("chart");
  svg.querySelector(".line.in").setAttribute("d", line("in"));
  svg.querySelector(".line.out").setAttribute("d", line("out"));
  svg.querySelector(".area.in").setAttribute("d", `${line("in")}L600 140L${x(0).toFixed(1)} 140Z`);
  const last = history[history.length - 1];
  by("chart-text").textContent = `${number(last.in)} received and ${number(last.out)} sent per second now; at most ${number(top)} in this time`;
  by("chart-from").textContent = `${lasting(last.at - history[0].at)} ago`;
  by("chart-top").textContent = `highest ${number(top)}`;
}

function drawNodes(nodes, most, rates) {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.node : null;
  by("nodes").replaceChildren(...nodes.map((node) => drawNode(node, most, rates[node.node])));
  if (focused) {
    const button = [...document.querySelectorAll("[data-node]")].find((one) => one.dataset.node === focused);
    if (button) button.focus();
  }
}

function drawNode(node, most, rate) {
  const status = node.node_status;
  const kind = node.ready ? "good" : status === "unreachable" ? "bad" : "warn";
  const said = node.ready ? "ready" : status === "running" ? "not ready" : status;
  const head = make("h3", {}, make("span", { class: "dot" }), node.node, make("span", { class: "small" }, said));
  if (status === "unreachable") {
    return make("li", { class: kind }, head, make("p", { class: "empty" }, "It did not answer in time. When it stays silent, another node takes over its sessions."));
  }
  const facts = [
    ["Clients", number(node.connections)],
    ["Received / sent per s", rate ? `${number(rate.in)} / ${number(rate.out)}` : "–"],
    ["Waiting in memory", `${number(node.mailbox_messages)} (${bytes(node.mailbox_bytes)})`],
    [node.store === "redis" ? "Redis" : "Store", node.store === "redis" ? (node.store_reachable ? "answers" : "does not answer") : "in memory"],
    ["Up", lasting(node.uptime)],
    ["Version", node.version],
  ];
  const bar = make("span");
  bar.style.width = `${(100 * node.connections) / most}%`;
  const drains = status !== "running";
  const button = make("button", { class: drains ? "plain" : "bad", "data-node": node.node, onclick: () => drain(node, drains) },
    drains ? "Take clients again" : "Drain", make("span", { class: "skip" }, ` ${node.node}`));
  return make("li", { class: kind }, head, make("div", { class: "bar", "aria-hidden": "true" }, bar), definitions(facts),
    ...(node.errors || []).map((error) => make("p", { class: "fault" }, error)), make("p", {}, button));
}

const definitions = (facts) => make("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

async function drain(node, off) {
  if (!off && !confirm(`Send away the ${number(node.connections)} clients of ${node.node}, and take no more until you call it off?`)) return;
  try {
    await json(`nodes/${encodeURIComponent(node.node)}/drain`, { method: off ? "DELETE" : "POST" });
  } catch (error) {
    alert(error.message);
  }
}

function slow(clients) {
  if (clients.length === 0) return by("slow").replaceChildren(make("p", { class: "empty" }, "Nobody: every client takes its messages as they come."));
  by("slow").replaceChildren(table(["Client", "Node", "Messages waiting", "Bytes waiting"], clients.map((client) => [
    opener(client.clientid), client.node, number(client.mailbox_messages), bytes(client.mailbox_bytes + client.outgoing_bytes)])));
}

// Hidden as long as nobody has asked and nobody would answer.
function work(state, sum, rates) {
  const nodes = [...before.nodes.values()];
  const count = (field) => nodes.reduce((total, node) => total + (node.counters[field] || 0), 0);
  const errors = ["timeout", "no_worker", "worker_failed", "too_large", "unavailable"].map((name) => [name.replace("_", " "), count(`mcp_errors_${name}`)]).filter(([, many]) => many > 0);
  by("work-section").hidden = state.workers_count === 0 && state.requests_count === 0 && count("mcp_requests") === 0;
  if (by("work-section").hidden) return;
  const facts = [
    ["Wait for an answer", number(state.requests_count)],
    ["Asked / answered by workers per s", rates ? `${number(rates.asked)} / ${number(rates.answered)}` : "–"],
    ["Refused", number(count("mcp_requests_refused"))],
    ["Error replies", errors.length === 0 ? "none" : errors.map(([name, many]) => `${number(many)} ${name}`).join(", ")],
  ];
  const workers = state.workers.map((worker) => [worker.name, worker.filters.join(", ") || "everything", worker.group || "–", `${worker.running} of ${worker.concurrency}`, number(worker.answered), number(worker.failed)]);
  const waiting = state.requests.map((request) => [request.topic, opener(request.clientid), request.node, lasting(Math.max(0, Date.parse(request.deadline) - clock()))]);
  const more = state.workers_count > state.workers.length ? make("p", { class: "small" }, `The first ${state.workers.length} of ${number(state.workers_count)} workers.`) : null;
  fill(by("work"), definitions(facts),
    workers.length === 0 ? make("p", { class: "empty" }, "No worker has said that it is there.") : table(["Worker", "Answers", "Group", "Busy", "Answered", "Failed"], workers, 3), more,
    waiting.length === 0 ? null : make("h3", {}, "The next that are late"),
    waiting.length === 0 ? null : table(["Topic", "Client", "Node", "Time left"], waiting, 3));
}

// What is there already stays, with its focus.
function fill(place, ...children) {
  const next = make("div", {}, ...children);
  if (place.innerHTML !== next.innerHTML && !place.contains(document.activeElement)) place.replaceChildren(...next.childNodes);
}

function table(heads, rows, numbers = 2) {
  const kind = (at) => (at >= numbers ? "number" : null);
  const name = heads.join(", "); // for who cannot see the first row
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": name }, make("table", { "aria-label": name },
    make("thead", {}, make("tr", {}, ...heads.map((head, at) => make("th", { scope: "col", class: kind(at) }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, at) => make("td", { class: kind(at) }, cell)))))));
}

const opener = (id) => make("button", { class: "link", type: "button", onclick: () => open(id) }, id);

async function find(event) {
  event.preventDefault();
  const part = by("query").value.trim();
  by("client").replaceChildren();
  try {
    const wanted = part ? `&like_clientid=${encodeURIComponent(part)}` : "";
    const [page, kept] = await Promise.all([json(`clients?limit=20${wanted}`), json(`sessions?state=away&limit=20${wanted}`)]);
    const others = away(kept);
    if (page.data.length === 0) return by("found").replaceChildren(make("p", { class: "empty" }, part ? "No connected client has that in its identifier." : "No client is connected."), ...others);
    const more = page.meta.count > page.data.length ? ` The first ${page.data.length} of ${number(page.meta.count)}:` : "";
    by("found").replaceChildren(make("p", { class: "small" }, `${number(page.meta.count)} found.${more}`),
      table(["Client", "Node", "Address", "Since"], page.data.map((client) => [opener(client.clientid), client.node, client.ip_address, lasting(clock() - Date.parse(client.connected_at))])), ...others);
  } catch (error) {
    by("found").replaceChildren(make("p", { class: "fault" }, error.message));
  }
}

// Sessions without a connection: their messages wait for them.
function away(page) {
  if (page.data.length === 0) return [];
  const rows = page.data.slice(0, 20).map((session) => [opener(session.clientid), session.ends_at ? lasting(Math.max(0, Date.parse(session.ends_at) - clock())) : "never", number(session.queued)]);
  const more = page.meta.hasnext || page.data.length > 20 ? " The first of them:" : "";
  return [make("h3", {}, "Away"), make("p", { class: "small" }, `Sessions whose client is not connected.${more}`), table(["Client", "Ends in", "Queued"], rows)];
}

async function open(id) {
  const place = by("client"), path = `clients/${encodeURIComponent(id)}`;
  try {
    const session = await json(`sessions/${encodeURIComponent(id)}`);
    if (session.state === "away") return show_away(id, session);
    const [client, subscriptions] = await Promise.all([json(path), json(`${path}/subscriptions`)]);
    const version = { 3: "MQTT 3.1", 4: "MQTT 3.1.1", 5: "MQTT 5.0" }[client.proto_ver];
    const lasts = client.expiry_interval === null ? "for ever" : client.expiry_interval === 0 ? "ends with the connection" : lasting(client.expiry_interval * 1000);
    const facts = [
      ["Connected to", client.node], ["From", `${client.ip_address}:${client.port} (${client.transport})`], ["User", client.username || "–"],
      ["Protocol", version], ["Keep alive", client.keepalive ? `${client.keepalive} s` : "off"], ["Session kept", lasts],
      ["Session", client.resumed ? "resumed" : "new"], ["Will", client.has_will ? "yes" : "no"],
      ["Connected", client.connected_at.replace("T", " ").slice(0, 19)], ["Received / sent", `${number(client.recv_msg)} / ${number(client.send_msg)}`],
      ["Waiting in memory", `${number(client.mailbox_messages)} (${bytes(client.mailbox_bytes)})`],
      ["In flight", number(client.inflight_cnt)], ["Queued", number(session.queued)],
    ];
    const leave = make("button", { class: "bad", onclick: () => kick(id) }, "Disconnect");
    const filters = subscriptions.length === 0 ? make("p", { class: "empty" }, "It subscribes to nothing.")
      : table(["Topic Filter", "QoS"], subscriptions.map((one) => [one.topic, one.qos]));
    place.replaceChildren(make("h3", { tabindex: "-1" }, id), definitions(facts), make("h3", {}, "Subscriptions"), filters, make("p", {}, leave, " ", ender(id)));
    place.firstChild.focus();
  } catch (error) {
    place.replaceChildren(make("p", { class: "fault" }, error.message));
  }
}

function show_away(id, session) {
  const place = by("client");
  const ends = session.ends_at ? lasting(Math.max(0, Date.parse(session.ends_at) - clock())) : "never";
  const facts = [["Connected to", "no node: it is away"], ["Ends in", ends], ["Queued", number(session.queued)], ["Will", session.has_will ? "yes" : "no"]];
  const filters = session.subscriptions.length === 0 ? make("p", { class: "empty" }, "It subscribes to nothing.")
    : table(["Topic Filter", "QoS"], session.subscriptions.map((one) => [one.topic, one.qos]));
  place.replaceChildren(make("h3", { tabindex: "-1" }, id), definitions(facts), make("h3", {}, "Subscriptions"), filters, make("p", {}, ender(id)));
  place.firstChild.focus();
}

const ender = (id) => make("button", { class: "bad", onclick: () => end(id) }, "End session");

async function end(id) {
  if (!confirm(`End the session of ${id}? Its queue and its subscriptions are lost.`)) return;
  try {
    await json(`sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
    by("client").replaceChildren(make("p", { class: "small" }, `The session of ${id} has ended.`));
  } catch (error) {
    by("client").replaceChildren(make("p", { class: "fault" }, error.message));
  }
}

async function kick(id) {
  if (!confirm(`Disconnect ${id}? It may connect again.`)) return;
  try {
    await json(`clients/${encodeURIComponent(id)}`, { method: "DELETE" });
    by("client").replaceChildren(make("p", { class: "small" }, `${id} was disconnected.`));
  } catch (error) {
    by("client").replaceChildren(make("p", { class: "fault" }, error.message));
  }
}

by("search").addEventListener("submit", find);
by("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, by("token").value);
  by("token").value = "";
  follow();
});
follow();
