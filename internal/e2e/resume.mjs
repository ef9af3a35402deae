// What a client of chime.js makes of a network and a server that fail:
//
//	node resume.mjs BEHAVIOUR TRANSPORT URL FRAIL SEED
//
// FRAIL is the same server behind a network that fails. What is to happen to it is printed, a word a line.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"
import { Log, atEnd, run, within } from "./kit.mjs"

const [behaviour, transport, url, frail, seed] = process.argv.slice(2)
const room = "chat_room:" + behaviour?.replace(/\W+/g, "-")

// Retries are as likely to be quick as slow; a test has no time for the slow ones.
const chance = Math.random
Math.random = () => chance() / 10

let state = Number(seed) >>> 0
const random = (n) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 8) % n

// proven waits until a connection is known to work: a channel may be joined before that.
const proven = (socket) => within("the connection to be proven", (resolve) => {
  if (socket.state === "open") resolve()
  else socket.on("state", (state) => state === "open" && resolve())
})

// person joins the room and notes what happens to it.
async function person(name, where, via) {
  const entered = await fetch(url + "/enter", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) })
  const { pass } = await entered.json()
  const socket = new Socket(where + "/socket", { WebSocket, transport: via, token: pass })
  atEnd(() => socket.disconnect())
  const channel = socket.channel(room)
  const one = { name, socket, channel, heard: [], states: [], gaps: 0, errors: [], log: new Log() }
  channel.on("message_new", ({ id }) => one.heard.push(id))
  for (const event of ["user_joined", "user_left"]) channel.on(event, ({ name }) => one.log.put([event, name]))
  channel.onGap(() => one.gaps++)
  socket.connect()
  await within(name + " to join", (resolve, reject) => channel.join().then(resolve, reject))
  channel.onState((state, error) => one.states.push(error ? `${state}: ${error.code}` : state))
  socket.on("error", ({ code }) => code !== "unreachable" && one.errors.push(code)) // for a moment it may be
  one.say = (id) => channel.push("message_new", { message: "x".repeat(random(300)), id }, { timeout: 0 })
  // heardAll waits until so many messages have come.
  one.heardAll = (n) => within(`${name} to hear ${n} messages, not ${one.heard.length}`, (resolve) => {
    const look = () => one.heard.length >= n && resolve()
    channel.on("message_new", look)
    look()
  }, 60)
  return one
}

// What the document shows to applications: say sends again what is in doubt, with a key, so that the room keeps it once.
const recipe = new Function("room", /```js\n(async function say[^]*?)```/.exec(readFileSync("../../docs/transports.md", "utf8"))[1] + "return say")

// follow has one do as the document says. The demo calls message what is text there.
function follow({ channel }) {
  const shown = []
  channel.on("message_new", ({ message }) => shown.push(message))
  return { shown, say: recipe({ push: (event, { text }, options) => channel.push(event, { message: text }, options) }) }
}

const unaware = ({ name, states, gaps, errors }) => assert.deepEqual({ name, states, gaps, errors }, { name, states: [], gaps: 0, errors: [] })

await run({
  // Every connection breaks after some bytes, in the middle of whatever travels there.
  async "a network that cuts every connection"() {
    const cy = await person("Cy", url, "auto")
    const talkers = [await person("Ada", frail, transport), await person("Bob", frail, transport)]
    assert.deepEqual([await cy.log.next("Ada to come"), await cy.log.next("Bob to come")], [["user_joined", "Ada"], ["user_joined", "Bob"]])
    console.log("cut")
    const each = 90
    await within("all to be said", (resolve, reject) => Promise.all(talkers.map(async (one) => {
      const said = []
      for (let n = 0; n < each; n++) {
        said.push(one.say(`${one.name} ${n}`))
        if (n % 10 === 9) await Promise.all(said) // so that it takes a while
        if (transport === "auto" && random(25) === 0) one.socket.force(["auto", "sse", "websocket"][random(3)])
      }
      await Promise.all(said)
    })).then(resolve, reject), 90)
    console.log("mend")
    for (const one of [cy, ...talkers]) await one.heardAll(2 * each)
    for (const one of [cy, ...talkers]) {
      unaware(one)
      assert.deepEqual(one.heard, cy.heard)
    }
    for (const { name } of talkers) assert.deepEqual(cy.heard.filter((id) => id.startsWith(name)), Array.from({ length: each }, (_, n) => `${name} ${n}`))
    assert.deepEqual(cy.log.rest(), [], "nobody has left")
    for (const one of talkers) {
      one.socket.disconnect()
      assert.deepEqual(await cy.log.next(one.name + " to leave"), ["user_left", one.name])
    }
  },

  // Within the grace period nobody notices; beyond it one has left, and comes back to what was said meanwhile.
  async "a network that is gone for a while"() {
    const cy = await person("Cy", url, "auto")
    const ada = await person("Ada", frail, transport)
    await cy.log.next("Ada to come")
    const away = async () => {
      await proven(ada.socket)
      await within("Ada to notice", (resolve) => {
        const undo = ada.socket.on("state", (state) => state === "connecting" && (undo(), resolve()))
        console.log("offline")
      })
    }
    await away()
    await cy.say("within")
    const pushed = ada.say("from Ada")
    console.log("online")
    await pushed
    await ada.heardAll(2)
    unaware(ada)
    assert.deepEqual(cy.log.rest(), [])

    await away()
    const fate = ada.say("late") // never sent, and so not in doubt
    assert.deepEqual(await cy.log.next("Ada to be missed"), ["user_left", "Ada"])
    await cy.say("beyond")
    console.log("online")
    await fate
    await ada.heardAll(4)
    assert.deepEqual(await cy.log.next("Ada to come back"), ["user_joined", "Ada"])
    assert.deepEqual([ada.heard, ada.heard, ada.states, ada.channel.recovered, ada.gaps], [["within", "from Ada", "beyond", "late"], cy.heard, ["joining: disconnected", "joined"], true, 0])
  },

  // The server is killed, and another one starts with what was kept. What is in doubt is told, and sent again.
  async "a server that is killed"() {
    const ada = await person("Ada", url, transport)
    const bob = await person("Bob", url, transport)
    const readers = [follow(ada), follow(bob)]
    const total = 300
    const fates = {}
    let doubts = 0
    const say = (id) => ada.say(id).then(
      () => (fates[id] ?? "said"),
      async ({ code, sent }) => {
        assert.deepEqual([code, sent], ["outcome_unknown", true])
        doubts++
        fates[id] = "in doubt"
        await say(id)
        return fates[id]
      })
    await within("all to be said", (resolve, reject) => (async () => {
      const said = [], bobs = []
      for (let n = 0; n < total; n++) {
        said.push(say(String(n)))
        if (n % 3 === 0) bobs.push(readers[1].say(`from Bob ${n}`))
        if (n === total / 3) console.log("kill")
        if (n % 20 === 19) await Promise.all(said.slice(-40, -20))
      }
      const how = await Promise.all(said)
      await Promise.all(bobs)
      // One that was sent again although it had arrived, whatever the kill did.
      for (let i = 0; i < 2; i++) await bob.channel.push("message_new", { message: "from Bob twice" }, { key: "twice" })
      await bob.say("the last")
      for (const one of [ada, bob]) await within(one.name + " to hear the last", (resolve) => {
        const look = () => one.heard.includes("the last") && resolve()
        one.channel.on("message_new", look)
        look()
      })
      for (const { shown } of readers) {
        const want = [...bobs.map((_, n) => `from Bob ${3 * n}`), "from Bob twice"]
        assert.deepEqual(shown.filter((text) => text.startsWith("from Bob")).sort(), want.sort())
      }
      const times = {}
      for (const id of ada.heard) times[id] = (times[id] ?? 0) + 1
      for (let n = 0; n < total; n++) {
        if (how[n] === "said") assert.equal(times[n], 1, `${n} was said once`)
        else assert.ok(times[n] === 1 || times[n] === 2, `${n} was in doubt, and is there ${times[n]} times`)
      }
    })().then(resolve, reject), 60)
    for (const one of [ada, bob]) assert.deepEqual([one.states, one.channel.recovered, one.gaps], [["joining: disconnected", "joined"], true, 0])
    console.log(`${doubts} in doubt, ${ada.heard.length} heard`)
  },
}, behaviour)

