// A Phoenix client against chime serve; see phoenix-kit.mjs. A line "restart" on
// the output asks whoever runs this to restart the server.
import assert from "node:assert/strict"
import { Log, connect, frames, listen, plain, polls, reply, room, run, streams, url, within } from "./phoenix-kit.mjs"

async function joined(socket, name, topic = room) {
  const channel = socket.channel(topic)
  const log = listen(channel, "message_new", "user_joined", "user_left")
  const [status, response] = await reply("join as " + name, channel.join())
  assert.deepEqual([status, plain(response)], ["ok", {}])
  await reply("echo", channel.push("echo", {})) // who joins later is not told that this one has
  return [channel, log]
}

const say = (channel, name, message) => channel.push("message_new", { message, id: name + ":" + message })

// The room gives a name to whoever has no pass.
const guest = /^guest .{4}$/

// Speaks from outside any socket, and is answered once the room keeps it.
async function post(message, topic = room) {
  const answer = await fetch(url + "/rooms/" + topic.slice("chat_room:".length) + "/messages", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ message }),
  })
  assert.equal(answer.status, 201)
}

const behaviours = {
  // Accepted, with a reply that is an object, and the reply comes before all else.
  async joins() {
    const channel = connect().channel(room)
    const order = []
    channel.onMessage = (event, payload) => { order.push(event); return payload }
    const [status, response] = await reply("join", channel.join())
    assert.deepEqual([status, plain(response)], ["ok", {}])
    assert.equal(channel.state, "joined")
    assert.equal(order[0], "phx_reply")
  },

  async "is refused a topic nobody serves"() {
    const channel = connect().channel("no_such:thing", {})
    assert.deepEqual(await reply("join", channel.join()), ["error", { reason: "unmatched topic" }])
    channel.leave() // phoenix.js would ask again for ever
  },

  async "pushes and is replied to"() {
    const [channel] = await joined(connect(), "Ada")
    for (const payload of [
      {}, { a: [1, { b: null }], c: true, d: 1.5 },
      { text: "line\nbreak\r\u2028\u2029\u0000 \u{1F600} é <b>&amp;</b> data: x" },
    ]) assert.deepEqual(await reply("echo", channel.push("echo", payload)), ["ok", payload])
    const [status, response] = await reply("an event the room does not know", channel.push("no_such_event", {}))
    assert.equal(status, "error")
    assert.equal(typeof response.reason, "string")
    // Replies go to the push that asked, whatever the order of asking.
    const many = Array.from({ length: 50 }, (_, n) => ({ n }))
    const answers = await Promise.all(many.map((payload) => reply("echo", channel.push("echo", payload))))
    assert.deepEqual(answers, many.map((payload) => ["ok", payload]))
  },

  async "broadcasts to all and is told who comes and goes"() {
    const [ada, adaSees] = await joined(connect(), "Ada")
    const second = connect()
    const wire = frames(second, "message_new")
    const [bob, bobSees] = await joined(second, "Bob")
    const { name } = (await adaSees.next("Bob has joined")).payload
    assert.match(name, guest)

    assert.deepEqual(await reply("message", say(bob, "Bob", "hello")), ["ok", {}])
    for (const log of [adaSees, bobSees]) {
      const { event, payload } = await log.next("hello")
      assert.equal(event, "message_new")
      assert.equal(typeof payload.at, "number")
      assert.deepEqual({ ...payload, at: 0, by: "" }, { name, by: "", message: "hello", id: "Bob:hello", at: 0 })
    }
    const { ref, join_ref } = await wire.next("hello")
    if (!streams) assert.equal(ref, null) // some clients reject a broadcast with a ref
    assert.equal(join_ref, null)
    await post("from outside")
    for (const log of [adaSees, bobSees]) assert.equal((await log.next("from outside")).payload.message, "from outside")

    second.disconnect()
    const { event, payload } = await adaSees.next("Bob has left")
    assert.deepEqual([event, payload], ["user_left", { name }])
    assert.equal(ada.state, "joined")
  },

  async leaves() {
    const [, adaSees] = await joined(connect(), "Ada")
    const socket = connect()
    const [bob, bobSees] = await joined(socket, "Bob")
    await adaSees.next("Bob has joined")
    const closed = within("close", (resolve) => bob.onClose(resolve))
    assert.deepEqual(await reply("leave", bob.leave()), ["ok", {}])
    await closed
    assert.equal(bob.state, "closed")
    assert.equal((await adaSees.next("Bob has left")).event, "user_left")

    await post("after Bob left")
    await adaSees.next("after Bob left")
    // A reply on the same socket: what was sent to it before has come.
    const [other] = await joined(socket, "", room + "-other")
    await reply("echo", other.push("echo", {}))
    assert.deepEqual(bobSees.rest(), [])
  },

  // A handler that panics costs the client its topic, and only that: it comes back by itself.
  async "rejoins after a crash"() {
    const socket = connect()
    const [, bystander] = await joined(connect(), "Ada")
    const [elsewhere] = await joined(socket, "Bob", room + "-elsewhere")
    const channel = socket.channel(room)
    const joins = new Log()
    channel.join().receive("ok", (response) => joins.put(response))
    await joins.next("first join")
    await bystander.next("Bob has joined")
    const crashed = within("phx_error", (resolve) => channel.onError(resolve))
    channel.push("boom", {})
    assert.deepEqual(await crashed, { reason: "channel_crash" })
    assert.deepEqual((await bystander.next("Bob has left")).event, "user_left")
    assert.deepEqual(plain(await joins.next("second join")), {})
    assert.deepEqual((await bystander.next("Bob is back")).event, "user_joined")
    assert.deepEqual(await reply("echo", channel.push("echo", { still: "here" })), ["ok", { still: "here" }])
    assert.equal(elsewhere.state, "joined")
    assert.deepEqual(await reply("echo elsewhere", elsewhere.push("echo", {})), ["ok", {}])
  },

  async "is shown history, then what is live"() {
    for (const n of [1, 2, 3]) await post("message " + n)
    const [channel, log] = await joined(connect(), "Bob")
    say(channel, "Bob", "message 4")
    for (const n of [1, 2, 3, 4]) {
      const { event, payload, ref } = await log.next("message " + n)
      assert.deepEqual([event, payload.message], ["message_new", "message " + n])
      if (!streams) assert.equal(ref ?? null, null)
    }
  },

  async "asks for the newest"() {
    for (const n of [1, 2, 3]) await post("message " + n)
    const socket = connect()
    const channel = socket.channel(room, { "@last": 2 })
    const log = frames(socket, "message_new")
    const [status, response] = await reply("join", channel.join())
    assert.equal(status, "ok")
    const { epoch, offset } = response["@history"]
    assert.equal(typeof epoch, "string")
    for (const n of [2, 3]) {
      const { payload, ref, join_ref } = await log.next("message " + n)
      assert.equal(payload.message, "message " + n)
      assert.match(ref, /^@\d+$/)
      assert.ok(Number(ref.slice(1)) > offset, `${ref} after ${offset}`)
      if (!streams) assert.equal(join_ref, channel.joinRef()) // a few clients refuse a ref without it
    }
  },

  // A request like any other, of a name that is the server's.
  async "reads older messages, page by page"() {
    for (const n of [1, 2, 3, 4, 5]) await post("message " + n)
    const [channel] = await joined(connect(), "")
    const seen = []
    let page = { more: true }
    for (let before; page.more; before = { epoch: page.epoch, offset: page.messages[0].offset }) {
      const [status, response] = await reply("older", channel.push("@history", { before, limit: 2 }))
      assert.equal(status, "ok", JSON.stringify(response))
      page = response
      seen.unshift(...page.messages.map(({ event, payload }) => [event, payload.message]))
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5].map((n) => ["message_new", "message " + n]))
    assert.equal(page.complete, true)
    assert.deepEqual(await reply("older", channel.push("@history", { limit: 0 })), ["error", { reason: "malformed limit: want a number from 1" }])
  },

  async "comes back after a restart of the server"() {
    const socket = connect()
    const channel = socket.channel(room)
    const joins = new Log()
    const log = listen(channel, "message_new")
    channel.join().receive("ok", (response) => joins.put(response))
    await joins.next("first join")
    const down = within("close", (resolve) => socket.onClose(resolve))
    console.log("restart")
    const { code } = await down
    if (polls) assert.notEqual(code, 1000) // which code it is phoenix.js says
    else assert.equal(code, 1012) // never 1000: older clients then stay away
    assert.deepEqual(plain(await joins.next("second join")), {})
    assert.deepEqual(await reply("message", say(channel, "Ada", "still here")), ["ok", {}])
    assert.equal((await log.next("still here")).payload.message, "still here")
  },

  // On a stream and with polls phoenix.js leaves heartbeats to the server, but may ask whether it is there.
  async "gets its heartbeats answered"() {
    const socket = connect({ heartbeatIntervalMs: 100 })
    await joined(socket, "Ada")
    const answers = frames(socket, "phx_reply")
    for (let n = 1; n <= 3; n++) {
      if (streams || polls) await within("ping " + n, (resolve) => assert.equal(socket.ping(resolve), true))
      const { topic, payload } = await answers.next("heartbeat " + n)
      assert.deepEqual([topic, payload], ["phoenix", { status: "ok", response: {} }])
    }
    assert.equal(socket.isConnected(), true)
  },

  // 1.8 carries a token as a subprotocol, and a browser then insists on an answer to it.
  async "connects with a token"() {
    const entered = await fetch(url + "/enter", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: "Ada" }) })
    const socket = connect({ authToken: (await entered.json()).pass })
    const [channel, log] = await joined(socket, "Ada")
    say(channel, "Ada", "it is me")
    assert.match((await log.next("her message")).payload.name, socket.authToken ? /^Ada$/ : guest) // older ones know no such option
  },
}

await run(behaviours)
