// One behaviour of a client of Amber's wire against chime serve, or a club:
//
//	node amber.mjs BEHAVIOUR URL
//
// A line "restart" or "cut" on the output asks whoever runs this to restart the
// server, or to cut the network.
import assert from "node:assert/strict"
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"
import { AmberSocket } from "./amber-client.mjs"
import { Log, atEnd, run, within } from "./kit.mjs"

const [behaviour, url] = process.argv.slice(2)
const topic = "chat_room:amber-" + (behaviour ?? "").replace(/\W+/g, "-")

function open(options = {}) {
  const socket = new AmberSocket(url.replace(/^http/, "ws") + "/socket", { WebSocket, ...options })
  atEnd(() => socket.disconnect())
  socket.connect()
  return within("open", (resolve) => { socket.onopen = () => resolve(socket) })
}

// What a channel is sent, in order.
function listen(channel) {
  const log = new Log()
  for (const subject of ["message_new", "user_joined", "user_left"]) channel.on(subject, (payload) => log.put({ subject, payload }))
  return log
}

// A join, and what is heard of the topic from then on.
function join(socket, payload) {
  const channel = socket.channel(topic)
  const log = listen(channel)
  channel.join(payload)
  return [channel, log]
}

// Two people who know of each other.
async function pair() {
  const ada = await open()
  const bob = await open()
  const [adaIs, adaSees] = join(ada)
  // Ada's own message comes back once she is in, so Bob comes after her.
  adaIs.push("message_new", { message: "first", id: "first" })
  await adaSees.next("her own message")
  const [bobIs, bobSees] = join(bob)
  await adaSees.next("Bob came")
  await bobSees.next("the first message")
  return { ada, adaIs, adaSees, bob, bobIs, bobSees }
}

// The WebSocket of somebody who has logged in: like a browser's, it brings the
// cookie of the session.
async function loggedIn(name) {
  const answer = await fetch(url + "/login", { method: "POST", body: new URLSearchParams({ name }), redirect: "manual" })
  const [cookie] = answer.headers.getSetCookie()[0].split(";")
  return class extends WebSocket {
    constructor(url) { super(url, { headers: { Cookie: cookie } }) }
  }
}

// Whether a frame is of what is said: who is present is told whenever that changes.
const said = (text) => !text.includes('"presence_')

async function wants(log, subject, payload) {
  const seen = await log.next(subject)
  for (const key of Object.keys(seen.payload)) if (!(key in payload)) delete seen.payload[key]
  assert.deepEqual(seen, { subject, payload })
}

const behaviours = {
  async "joins, sends and receives"() {
    const ada = await open()
    const wire = new Log()
    ada.onframe = (text) => said(text) && wire.put(JSON.parse(text))
    const [channel, log] = join(ada)
    channel.push("message_new", { message: "hello <b>& \u2028 \u{1F600}", id: "1" })
    await wants(log, "message_new", { message: "hello <b>& \u2028 \u{1F600}", id: "1" })
    const frame = await wire.next("the frame")
    assert.deepEqual(Object.keys(frame), ["event", "topic", "subject", "payload"])
    assert.deepEqual([frame.event, frame.topic, frame.subject], ["message", topic, "message_new"])
    assert.deepEqual(wire.rest(), []) // no reply to the join, and none to the message
  },

  async "reads what was said before"() {
    for (const message of ["one", "two"]) {
      const answer = await fetch(url + "/rooms/" + topic.slice("chat_room:".length) + "/messages", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ message }),
      })
      assert.equal(answer.status, 201)
    }
    const [channel, log] = join(await open())
    for (const message of ["one", "two"]) await wants(log, "message_new", { message })
    channel.push("message_new", { message: "three" })
    await wants(log, "message_new", { message: "three" })
  },

  async "sees others come, go, and break off"() {
    const { adaIs, adaSees, bob, bobIs, bobSees } = await pair()
    bobIs.leave()
    await wants(adaSees, "user_left", {})
    adaIs.push("message_new", { message: "without Bob" })
    await wants(adaSees, "message_new", { message: "without Bob" })
    bobIs.join()
    await wants(adaSees, "user_joined", {})
    await wants(bobSees, "message_new", { message: "first" })
    await wants(bobSees, "message_new", { message: "without Bob" }) // told as history, not while he was away
    assert.deepEqual(bobSees.rest(), [])
    bob.terminate() // no leave, no close
    await wants(adaSees, "user_left", {})
    await wants(adaSees, "user_joined", {}) // and back by himself
  },

  async "is not harmed by what is wrong"() {
    const ada = await open()
    const wire = new Log()
    ada.onframe = (text) => said(text) && wire.put(text)
    const [channel, log] = join(ada)
    ada.channel("garden:1").join()
    for (const frame of [
      "", "ping", "null", "[]", "{", '{"event":"join"}', '{"event":7,"topic":"x"}', '{"event":"jump","topic":"' + topic + '"}',
      '["1","1","' + topic + '","phx_join",{}]', { event: "message", topic: "chat_room:elsewhere", subject: "message_new", payload: {} },
      { event: "message", topic, subject: "message_new", payload: "text" }, { event: "message", topic, subject: 7, payload: {} },
    ]) ada.send(frame)
    channel.push("echo", { nobody: "answers" })
    channel.push("no_such_event", {})
    channel.push("message_new", { message: "still here" })
    await wants(log, "message_new", { message: "still here" })
    await wire.next("her message")
    assert.deepEqual(wire.rest(), [])
    assert.equal(ada.opened, 1)
  },

  // Amber has no word for a crash: the connection ends, and the client comes back.
  async "comes back after its handler crashed"() {
    const { ada, adaIs, adaSees, bob, bobIs, bobSees } = await pair()
    bobIs.push("boom", {})
    await wants(adaSees, "user_left", {})
    await wants(adaSees, "user_joined", {})
    await wants(bobSees, "message_new", { message: "first" })
    adaIs.push("message_new", { message: "welcome back" })
    await wants(bobSees, "message_new", { message: "welcome back" })
    assert.deepEqual([ada.opened, bob.opened], [1, 2])
  },

  async "comes back after a cut"() {
    const ada = await open()
    const [channel, log] = join(ada)
    channel.push("message_new", { message: "before" })
    await wants(log, "message_new", { message: "before" })
    const back = within("open", (resolve) => { ada.onopen = resolve })
    console.log("cut")
    await back
    await wants(log, "message_new", { message: "before" }) // this wire knows no positions
    channel.push("message_new", { message: "after" })
    await wants(log, "message_new", { message: "after" })
  },

  async "comes back after a restart of the server"() {
    const ada = await open()
    const [channel, log] = join(ada)
    channel.push("message_new", { message: "before" })
    await wants(log, "message_new", { message: "before" })
    const back = within("open", (resolve) => { ada.onopen = resolve })
    const closed = within("close", (resolve) => { ada.onclose = resolve })
    console.log("restart")
    assert.equal(await closed, 1012)
    await back
    await wants(log, "message_new", { message: "before" }) // it has joined again, and the history is still there
    channel.push("message_new", { message: "after" })
    await wants(log, "message_new", { message: "after" })
  },

  // A client that hears no ping takes the connection for dead.
  async "gives up a silent server, and is in the room once"() {
    const { adaSees } = await pair()
    const socket = await open({ patience: 200 })
    join(socket)
    for (let n = 1; n <= 2; n++) {
      await wants(adaSees, "user_joined", {})
      await wants(adaSees, "user_left", {})
    }
  },

  async "talks with a client of chime"() {
    for (const transport of ["websocket", "sse"]) {
      const ada = await open()
      const [channel, log] = join(ada)
      const socket = new Socket(url + "/socket", { transport, WebSocket })
      atEnd(() => socket.disconnect())
      const bob = socket.channel(topic, { "@last": 0 })
      const sees = new Log()
      bob.on("message_new", ({ message }) => sees.put(message))
      socket.connect()
      await bob.join()
      for (let seen; (seen = await log.next("Bob came")).subject !== "user_joined";) assert.equal(seen.subject, "message_new")
      channel.push("message_new", { message: "from Amber to " + transport })
      assert.equal(await sees.next("Ada's"), "from Amber to " + transport)
      await wants(log, "message_new", { message: "from Amber to " + transport })
      await bob.push("message_new", { message: "from " + transport + " to Amber" })
      await wants(log, "message_new", { message: "from " + transport + " to Amber" })
      await bob.leave()
      await wants(log, "user_left", {})
    }
  },

  // In the club the name is the session's, whatever the client says.
  async "is who its session says"() {
    const refused = new WebSocket(url.replace(/^http/, "ws") + "/socket")
    const status = await within("refusal", (resolve) => refused.on("unexpected-response", (_, answer) => resolve(answer.statusCode)))
    assert.equal(status, 401)

    const ada = await open({ WebSocket: await loggedIn("Ada") })
    const bob = await open({ WebSocket: await loggedIn("Bob") })
    const [adaIs, adaSees] = join(ada, { name: "Eve" })
    adaIs.push("message_new", { name: "Eve", message: "first" })
    await wants(adaSees, "message_new", { name: "Ada", id: "member Ada", message: "first" })
    const [bobIs] = join(bob, { name: "Eve" })
    await wants(adaSees, "user_joined", { name: "Bob", id: "member Bob" })
    bobIs.push("message_new", { name: "Eve", message: "hello" })
    await wants(adaSees, "message_new", { name: "Bob", id: "member Bob", message: "hello" })
    bobIs.leave()
    await wants(adaSees, "user_left", { name: "Bob", id: "member Bob", why: "left" })
    bobIs.join()
    await wants(adaSees, "user_joined", { name: "Bob", id: "member Bob" })
    bob.terminate() // and the new connection brings the cookie again
    await wants(adaSees, "user_left", { name: "Bob", id: "member Bob", why: "vanished" })
    await wants(adaSees, "user_joined", { name: "Bob", id: "member Bob" })
  },

  // Every 30 s, so this is not in a hurry.
  async "hears the ping"() {
    const ada = await open()
    await within("ping", (resolve) => { ada.onping = resolve }, 44)
    assert.deepEqual([ada.pings, ada.opened], [1, 1])
  },
}

await run(behaviours, behaviour)
