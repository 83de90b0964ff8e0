// MQTT.js (Debian's node-mqtt) against the broker on 127.0.0.1:$MQTT_PORT, MQTT 3.1, 3.1.1 and 5.0.
'use strict'
const assert = require('assert')
const { once } = require('events')
const mqtt = require('mqtt')

const LIMIT_MS = 10000
const VERSIONS = {
  v31: { protocolId: 'MQIsdp', protocolVersion: 3 },
  v3: { protocolVersion: 4 },
  v5: { protocolVersion: 5 }
}

function within (promise, what) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in ${LIMIT_MS} ms`)), LIMIT_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

class Party {
  static async join (label, options = {}) {
    const party = new Party()
    party.messages = []
    party.waiting = []
    party.client = mqtt.connect(`mqtt://127.0.0.1:${process.env.MQTT_PORT}`, { ...VERSIONS[label], reconnectPeriod: 0, ...options })
    party.client.on('message', (topic, payload, packet) => {
      const waiter = party.waiting.shift()
      waiter ? waiter(packet) : party.messages.push(packet)
    })
    party.client.on('error', (error) => { party.error = error })
    const [connack] = await within(once(party.client, 'connect'), 'CONNACK')
    party.sessionPresent = connack.sessionPresent
    party.connack = connack
    return party
  }

  subscribe (filter, options) {
    return within(new Promise((resolve, reject) => this.client.subscribe(filter, options, (e, granted) => e ? reject(e) : resolve(granted))), 'SUBACK')
  }

  publish (topic, payload, options) {
    return within(new Promise((resolve, reject) => this.client.publish(topic, payload, options, (e) => e ? reject(e) : resolve())), 'acknowledgement')
  }

  next () {
    if (this.messages.length) return Promise.resolve(this.messages.shift())
    return within(new Promise((resolve) => this.waiting.push(resolve)), 'message')
  }

  async hears (topic, payload, qos, retain = false) {
    const { topic: t, payload: p, qos: q, retain: r, properties } = await this.next()
    assert.deepStrictEqual([t, p.toString(), q, r], [topic, payload, qos, retain])
    return properties
  }

  leave () {
    return within(new Promise((resolve) => this.client.end(false, {}, resolve)), 'end')
  }

  vanish () {
    this.client.stream.destroy()
  }
}

async function delivers (label, topic, qos) {
  const [one, two] = [await Party.join(label), await Party.join(label)]
  await one.subscribe(topic, { qos })
  await two.publish(topic, 'hello', { qos })
  await one.hears(topic, 'hello', qos)
  await one.leave(); await two.leave()
}

async function streams (label, topic) {
  const [one, two] = [await Party.join(label), await Party.join(label)]
  await one.subscribe(topic, { qos: 2 })
  const sent = Array.from({ length: 300 }, (_, n) => two.publish(topic, String(n), { qos: 2 }))
  for (let n = 0; n < 300; n++) await one.hears(topic, String(n), 2)
  await Promise.all(sent)
  await one.leave(); await two.leave()
}

async function retains (label, topic) {
  const two = await Party.join(label)
  await two.publish(topic, 'kept', { qos: 1, retain: true })
  const one = await Party.join(label)
  await one.subscribe(topic, { qos: 1 })
  await one.hears(topic, 'kept', 1, true)
  await two.publish(topic, '', { qos: 1, retain: true })
  await one.hears(topic, '', 1)
  await one.leave(); await two.leave()
}

async function wills (label, topic) {
  const watcher = await Party.join(label)
  await watcher.subscribe(topic, { qos: 2 })
  const lost = await Party.join(label, { will: { topic, payload: 'lost', qos: 2, retain: false } })
  lost.vanish()
  await watcher.hears(topic, 'lost', 2)
  await watcher.leave()
}

async function resumes (label, topic) {
  const options = { clientId: topic.replace(/\//g, '-'), clean: false, properties: { sessionExpiryInterval: 600 } }
  if (label !== 'v5') delete options.properties
  const first = await Party.join(label, options)
  await first.subscribe(topic, { qos: 2 })
  await first.leave()
  const two = await Party.join(label)
  for (let n = 0; n < 20; n++) await two.publish(topic, String(n), { qos: 1 })
  const again = await Party.join(label, options)
  if (label !== 'v31') assert.strictEqual(again.sessionPresent, true, 'Session Present')
  for (let n = 0; n < 20; n++) await again.hears(topic, String(n), 1)
  await again.leave(); await two.leave()
}

async function keepsProperties (label, topic) {
  const [one, two] = [await Party.join(label), await Party.join(label)]
  await one.subscribe(topic, { qos: 1, properties: { subscriptionIdentifier: 9 } })
  const given = {
    payloadFormatIndicator: true,
    responseTopic: 'answers',
    correlationData: Buffer.from('c'),
    contentType: 'text/x',
    userProperties: { a: ['1', '2'], b: '3' }
  }
  await two.publish(topic, 'p', { qos: 1, properties: given })
  const got = await one.hears(topic, 'p', 1)
  assert.deepStrictEqual({ ...got, userProperties: { ...got.userProperties } }, { ...given, subscriptionIdentifier: 9 })
  await one.leave(); await two.leave()
}

async function answers (label, topic) {
  const [asker, answerer] = [await Party.join(label), await Party.join(label)]
  await answerer.subscribe(topic + '/ask', { qos: 1 })
  await asker.subscribe(topic + '/answer', { qos: 1 })
  await asker.publish(topic + '/ask', 'ping', { qos: 1, properties: { responseTopic: topic + '/answer', correlationData: Buffer.from('c-1') } })
  const { responseTopic, correlationData } = await answerer.hears(topic + '/ask', 'ping', 1)
  await answerer.publish(responseTopic, 'pong', { qos: 1, properties: { correlationData } })
  const got = await asker.hears(topic + '/answer', 'pong', 1)
  assert.strictEqual(got.correlationData.toString(), 'c-1')
  await asker.leave(); await answerer.leave()
}

async function aliases (label, topic) { // MQTT.js gives aliases by itself and takes the broker's
  const one = await Party.join(label, { topicAliasMaximum: 5 })
  const two = await Party.join(label, { autoAssignTopicAlias: true, autoUseTopicAlias: true })
  assert.ok(two.connack.properties.topicAliasMaximum > 0, 'Topic Alias Maximum')
  await one.subscribe(topic + '/+', { qos: 1 })
  for (let n = 0; n < 40; n++) {
    await two.publish(`${topic}/${n % 8}`, String(n), { qos: n % 2 })
    const { payload, topic: name } = await one.next()
    // a packet that carries only an alias has an empty Topic Name here; MQTT.js resolved it for its callback
    assert.ok(name === '' || name === `${topic}/${n % 8}`, `Topic Name ${name}`)
    assert.strictEqual(payload.toString(), String(n))
  }
  await one.leave(); await two.leave()
}

async function main () {
  const cases = []
  for (const label of Object.keys(VERSIONS)) {
    for (const qos of [0, 1, 2]) cases.push([`${label}/qos${qos}`, delivers, label, qos])
    for (const [name, body] of Object.entries({ stream: streams, retained: retains, will: wills, resume: resumes })) {
      cases.push([`${label}/${name}`, body, label])
    }
  }
  cases.push(['v5/properties', keepsProperties, 'v5'], ['v5/request', answers, 'v5'], ['v5/alias', aliases, 'v5'])
  let status = 0
  for (const [name, body, label, ...more] of cases) {
    try {
      await body(label, `mqttjs/${name}`, ...more)
      console.log(`ok interop/mqttjs/${name}`)
    } catch (error) {
      console.log(`FAIL interop/mqttjs/${name}: ${String(error.message).replace(/\s+/g, ' ')}`)
      status = 1
    }
  }
  process.exit(status)
}

process.on('unhandledRejection', () => {}) // the case that started it fails by its own wait
main()
