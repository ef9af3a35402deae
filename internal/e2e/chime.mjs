// What a page of chime.js is told of its own mistakes, and of what the server makes of its joins:
//
//	node chime.mjs BEHAVIOUR TRANSPORT URL DESK
import assert from "node:assert/strict"
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"
import { atEnd, run, within } from "./kit.mjs"

const [behaviour, transport, url, desk] = process.argv.slice(2)
const topic = "quiet:" + behaviour?.replace(/\W+/g, "-") // of no history

// Retries are as likely to be quick as slow; a test has no time for the slow ones.
const chance = Math.random
Math.random = () => chance() / 10

function connect(options) {
  const socket = new Socket(url + "/socket", { WebSocket, transport, token: "Ada", ...options })
  atEnd(() => socket.disconnect())
  socket.states = []
  socket.on("state", (state, error) => socket.states.push(error ? `${state}: ${error.message}` : state))
  socket.connect()
  return socket
}

async function joined(socket, name, params) {
  const channel = socket.channel(name, params)
  await within("join of " + name, (resolve, reject) => channel.join().then(resolve, reject))
  channel.states = []
  channel.gaps = 0
  channel.onState((state, error) => channel.states.push(error ? `${state}: ${error.message}` : state))
  channel.onGap(() => channel.gaps++)
  return channel
}

const again = (channel) => within(channel.topic + " to be joined again", (resolve) => channel.onState((state) => state === "joined" && resolve()))

// A channel may be joined before its connection is proven, and the socket open.
const opened = (socket) => within("the connection to be proven", (resolve) => {
  if (socket.state === "open") resolve()
  else socket.on("state", (state) => state === "open" && resolve())
})

const ask = async (what, query) => {
  const answer = await fetch(`${url}/test/${what}?${new URLSearchParams(query)}`, { method: "POST" })
  assert.equal(answer.status, 200, what + ": " + await answer.text())
}

await run({
  async "removes what is taken back while it is away, and says once what it pushes again"() {
    const socket = connect()
    const channel = socket.channel(topic.replace("quiet", "room"), { "@last": 0 })
    const shown = new Map()
    channel.on("message_new", ({ n }, { offset }) => shown.set(offset, n))
    channel.on("message_redacted", ({ offset }) => shown.delete(offset))
    await within("join", (resolve, reject) => channel.join().then(resolve, reject))
    for (const n of [1, 2, 3]) await channel.push("message_new", { n }, { key: "key " + n })
    await channel.push("message_new", { n: 3 }, { key: "key 3" })
    await assert.rejects(channel.push("message_new", { n: 4 }, { key: "key 3" }), { code: "error", response: { reason: "key is that of another message" } })
    assert.deepEqual([...shown.values()], [1, 2, 3])
    socket.disconnect() // for longer than any grace period
    await ask("redact", { topic: channel.topic, offset: [...shown.keys()][1] })
    const back = again(channel)
    socket.connect()
    await back
    assert.equal(channel.recovered, true)
    await channel.push("message_new", { n: 3 }, { key: "key 3" }) // as after outcome_unknown
    await channel.push("message_new", { n: 2 }, { key: "key 2" }) // whose message was taken back
    assert.deepEqual([...shown.values()], [1, 3, 2])
  },

  async "is told why a join ended, and what it may have missed"() {
    const socket = connect()
    const [channel, kept, other] = [await joined(socket, topic), await joined(socket, topic.replace("quiet", "room")), await joined(socket, topic + "-other")]
    const wanted = []
    for (const [event, reason] of [["boom", "channel_crash"], ["move", "moved"]]) {
      for (const one of [channel, kept]) {
        const back = again(one)
        const fate = await one.push(event).then(() => reason, ({ code, cause }) => (assert.equal(code, "outcome_unknown"), cause.response.reason))
        assert.equal(fate, reason)
        await back
      }
      wanted.push(`joining: ${topic}: ${reason}`, "joined")
    }
    assert.deepEqual([channel.states, channel.gaps, channel.recovered], [wanted, 2, false])
    assert.deepEqual([kept.gaps, kept.recovered], [0, true])
    await opened(socket)
    assert.deepEqual([other.states, other.gaps, socket.states], [[], 0, ["connecting", "open"]])
  },

  async "fails what is too large, and nothing else"() {
    const socket = connect()
    const channel = await joined(socket, topic)
    const large = "x".repeat(80_000) // as much as may be in a frame, without what is around it
    await assert.rejects(channel.push("echo", large), { code: "too_large", sent: false })
    await assert.rejects(socket.channel(topic + "-other", { large }).join(), { code: "too_large" })
    const fits = { text: "x".repeat(80_000 - JSON.stringify(["1", "2", topic, "echo", { text: "" }]).length) }
    assert.deepEqual(await channel.push("echo", fits), fits)
    await assert.rejects(channel.push("echo", { text: fits.text + "x" }), { code: "too_large" })
    assert.deepEqual(await channel.push("echo", { "@binary": "3q2+7w==" }), { "@binary": "3q2+7w==" })
    await opened(socket)
    assert.deepEqual([channel.states, socket.states], [[], ["connecting", "open"]])
  },

  async "reads older messages, page by page"() {
    const writer = await joined(connect({ token: "Bob" }), topic.replace("quiet", "room"))
    for (let n = 1; n <= 7; n++) await writer.push("message_new", { n })
    const channel = await joined(connect(), writer.topic, { "@last": 2 })
    const pages = [channel.history({ limit: 2 }), channel.history({ limit: 2 }), channel.history({ limit: 2 }), channel.history()]
    const older = await within("the pages", (resolve, reject) => Promise.all(pages).then(resolve, reject))
    assert.deepEqual(older.map(({ messages, more, complete }) => [messages.map(({ payload }) => payload.n), more, complete]),
      [[[4, 5], true, true], [[2, 3], true, true], [[1], false, true], [[], false, true]])
    assert.ok(Math.abs(Date.now() - new Date(older[0].messages[0].at)) < 60_000, older[0].messages[0].at)
    assert.deepEqual([older[0].messages[0].event, channel.position.epoch], ["message_new", older[0].epoch])
    await assert.rejects((await joined(connect(), topic)).history(), { code: "error", response: { reason: "no history" } })
  },

  async "goes on without a join that the server can't read"() {
    const broken = topic + "-broken"
    const spoil = (text) => text.replace(/\["\d+","\d+","[\w:-]+-broken"/, "[1,1,1")
    class Spoiled extends WebSocket {
      send(text) { super.send(spoil(text)) }
    }
    const socket = connect({ WebSocket: Spoiled, fetch: (to, init) => fetch(to, { ...init, ...(init.body && { body: spoil(init.body) }) }) })
    const channel = await joined(socket, topic)
    await opened(socket)
    const back = again(channel)
    await assert.rejects(socket.channel(broken).join(), { code: "invalid", status: transport === "sse" ? 400 : 1007 })
    await back
    assert.deepEqual(await channel.push("echo", { n: 1 }), { n: 1 })
    await opened(socket)
    assert.deepEqual([channel.gaps, socket.states.length], [1, 4])
  },

  async "knows who is present, whatever becomes of the connection and the server"() {
    const ask = (what) => fetch(`${desk}/test/${what}`, { method: "POST" })
    const crowd = topic.replace("quiet", "crowd")
    const [ada, bob] = ["Ada", "Bob"].map((token) => connect({ token }))
    const watch = (socket) => {
      const channel = socket.channel(crowd)
      const who = { presence: channel.presence, channel, calls: [] }
      who.list = () => channel.presence.list().map(({ key, metas }) => `${key} ${metas.map(({ doing }) => doing).join()}`).sort().join("; ")
      channel.presence.onJoin((key) => who.calls.push("+" + key))
      channel.presence.onLeave((key) => who.calls.push("-" + key))
      who.sees = (want) => within(want, (resolve) => {
        const look = () => who.list() === want && resolve()
        channel.presence.onSync(look)
        look()
      })
      who.calledSince = () => who.calls.splice(0).sort().join()
      who.joined = within("join", (resolve, reject) => channel.join().then(resolve, reject))
      return who
    }
    const first = watch(ada)
    await first.sees("Ada reading")
    const second = watch(bob)
    for (const one of [first, second]) await one.sees("Ada reading; Bob reading")
    assert.deepEqual([first.calledSince(), second.calledSince()], ["+Ada,+Bob", "+Ada,+Bob"])

    const tab = watch(connect({ token: "Bob" }))
    await first.sees("Ada reading; Bob reading,reading")
    await second.channel.push("status", { doing: "lunch" })
    await first.sees("Ada reading; Bob reading,lunch")
    await tab.channel.leave()
    await first.sees("Ada reading; Bob lunch")
    assert.equal(first.calledSince(), "", "neither a second tab nor an update is a join or a leave")

    const back = Promise.all([ada, bob].map((socket) => within("the way back", (resolve) => socket.on("state", (state) => state === "open" && resolve()))))
    await ask("cut")
    await back
    await first.channel.push("status", { doing: "lunch" })
    for (const one of [first, second]) await one.sees("Ada lunch; Bob lunch")
    assert.deepEqual([first.calledSince(), second.calledSince()], ["", ""], "nor is a resume")

    const rejoined = Promise.all([first, second].map(({ channel }) => again(channel)))
    await ask("restart")
    await rejoined
    for (const one of [first, second]) await one.sees("Ada reading; Bob reading")
    for (const [one, me] of [[first, "Ada"], [second, "Bob"]]) assert(!one.calledSince().includes(me), "nobody comes and goes for himself")
    await second.channel.leave()
    await first.sees("Ada reading")
    assert.equal(first.calledSince(), "-Bob")
  },
}, behaviour)
