// A Phoenix client against a site of the tests' own; see phoenix-kit.mjs and
// site_test.go. At the desk one asks for what happens to a server: a broadcast
// from elsewhere, a cut in the network, a restart.
import assert from "node:assert/strict"
import { Log, connect as dial, frames, listen, mark, polls, reply, run, streams, transports, within } from "./phoenix-kit.mjs"
import { room, quiet, ask, say, cut, arrived, connect, joined, joins, following, closes, bytes, list } from "./phoenix-stay.mjs"

const behaviours = {
  async "is told what the channel accepted it with"() {
    const [channel, , response] = await joined(connect(), quiet, { be: "welcome", deep: [{ a: null }] })
    assert.deepEqual(response, { you: "Ada", asked: { be: "welcome", deep: [{ a: null }] } })
    assert.equal(channel.state, "joined")
  },

  async "asks again after a refusal, with params of the moment"() {
    let tries = 0
    const channel = connect().channel(quiet, () => ({ be: ["refused", "crashed", "welcome"][tries++] }))
    const answers = joins(channel)
    assert.deepEqual(await answers.next("the first"), ["error", { reason: "not invited" }])
    assert.equal(channel.state, "errored")
    assert.deepEqual(await answers.next("the second"), ["error", { reason: "join crashed" }])
    assert.deepEqual(await answers.next("the third"), ["ok", { you: "Ada", asked: { be: "welcome" } }])
    assert.equal(channel.state, "joined")
  },

  async "pushes what waited for the join, after it and in order"() {
    const channel = connect().channel(quiet, {})
    const log = listen(channel, "message_new")
    channel.join()
    for (let n = 1; n <= 20; n++) channel.push("message_new", { n })
    for (let n = 1; n <= 20; n++) assert.deepEqual((await log.next("message " + n)).payload, { n })
  },

  async "is pushed to, and replied to later"() {
    const [channel, log] = await joined(connect(), quiet)
    const [, elsewhere] = await joined(connect({ user: "Bob" }), quiet)
    assert.deepEqual(await reply("remind", channel.push("remind", { of: "tea" })), ["ok", {}])
    const { event, payload, joinRef } = await log.next("came")
    assert.deepEqual([event, payload], ["came", { who: "Bob" }])
    assert.equal(joinRef, channel.joinRef())
    assert.deepEqual((await log.next("reminder")).payload, { of: "tea" })
    assert.deepEqual(await reply("later", channel.push("later", { n: 1 })), ["ok", { n: 1 }])
    assert.deepEqual((await log.next("thinking")).payload, {})
    assert.deepEqual(elsewhere.rest(), []) // a push is for one
  },

  async "reads an error only if it was meant to"() {
    const [channel] = await joined(connect(), quiet)
    assert.deepEqual(await reply("refuse", channel.push("refuse", {})), ["error", { reason: "not today" }])
    assert.deepEqual(await reply("fail", channel.push("fail", {})), ["error", { reason: "internal" }])
    assert.deepEqual(await reply("no object", channel.push("message_new", 7)), ["error", { reason: "payload is not an object" }])
  },

  async "broadcasts to all, or to all others"() {
    const socket = connect()
    const wire = frames(socket, "message_new")
    const [ada, adaSees] = await joined(socket, quiet)
    const [, bobSees] = await joined(connect({ user: "Bob" }), quiet)
    await adaSees.next("Bob came")
    await reply("typing", ada.push("typing", { who: "Ada" }))
    await reply("message", ada.push("message_new", { n: 1 }))
    assert.deepEqual((await bobSees.next("typing")).payload, { who: "Ada" })
    for (const log of [adaSees, bobSees]) assert.deepEqual((await log.next("message")).payload, { n: 1 })
    const { ref, join_ref } = await wire.next("message")
    assert.deepEqual([ref, join_ref], [null, null])
    await ask("say", { topic: quiet, event: "message_new" }, '{"from":"elsewhere"}')
    for (const log of [adaSees, bobSees]) assert.deepEqual((await log.next("message")).payload, { from: "elsewhere" })
  },

  async "leaves, and others see why"() {
    const [, adaSees] = await joined(connect(), quiet)
    for (const [go, how] of [
      [async (bob) => assert.deepEqual(await reply("leave", bob.leave()), ["ok", {}]), "left"],
      [(_, socket) => socket.disconnect(), "closed"],
      [(_, socket) => cut(socket), "vanished"],
    ]) {
      const socket = connect({ user: "Bob" })
      const [bob, bobSees] = await joined(socket, quiet)
      assert.equal((await adaSees.next("Bob came")).event, "came")
      const closed = within("close", (resolve) => (how === "vanished" ? bob.onError(resolve) : how === "left" ? bob.onClose(resolve) : socket.onClose(resolve)))
      await go(bob, socket)
      await closed
      if (how === "vanished") break // Ada's line is cut as well
      const why = how === "closed" && polls ? "vanished" : how // a poll has no way to say so
      assert.deepEqual((await adaSees.next("Bob went")).payload, { who: "Bob", why })
      assert.deepEqual(bobSees.rest(), [])
    }
  },

  async "connects again after it has disconnected"() {
    const socket = connect()
    const channel = socket.channel(quiet, {})
    const answers = joins(channel)
    await answers.next("first join")
    await within("disconnect", (resolve) => socket.disconnect(resolve))
    assert.equal(socket.connectionState(), "closed")
    assert.equal((await arrived()).length, 1) // it stays away until it is asked
    socket.connect()
    await answers.next("second join")
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 1 })), ["ok", { n: 1 }])
  },

  // phoenix.js leaves the first by itself; the server must not mix them up.
  async "joins a topic twice, and only the second counts"() {
    const [, adaSees] = await joined(connect(), quiet)
    const socket = connect({ user: "Bob" })
    const [first] = await joined(socket, quiet)
    const closed = within("close", (resolve) => first.onClose(resolve))
    const [second] = await joined(socket, quiet)
    await closed
    assert.deepEqual([first.state, second.state], ["closed", "joined"])
    for (const [event, payload] of [["came", { who: "Bob" }], ["went", { who: "Bob", why: "left" }], ["came", { who: "Bob" }]]) {
      const seen = await adaSees.next(event)
      assert.deepEqual([seen.event, seen.payload], [event, payload])
    }
    assert.deepEqual(await reply("echo", second.push("echo", { n: 1 })), ["ok", { n: 1 }])
  },

  // The frames of an older version, or another client, that does not leave first.
  async "replaces a join whose client did not leave"() {
    const [, adaSees] = await joined(connect(), quiet)
    const socket = connect({ user: "Bob" })
    const wire = new Log()
    const [first] = await joined(socket, quiet)
    await adaSees.next("Bob came")
    socket.onMessage((frame) => { if (frame.topic === quiet) wire.put([frame.join_ref, frame.ref, frame.event, frame.payload]) })
    socket.push({ topic: quiet, event: "phx_join", payload: {}, ref: "901", join_ref: "900" })
    const old = first.joinRef()
    assert.deepEqual((await wire.next("join reply")).slice(0, 3), ["900", "901", "phx_reply"])
    assert.deepEqual(await wire.next("close of the first"), [old, old, "phx_close", {}])
    assert.equal(first.state, "closed")
    socket.push({ topic: quiet, event: "echo", payload: { late: true }, ref: "902", join_ref: old })
    socket.push({ topic: quiet, event: "phx_leave", payload: {}, ref: "903", join_ref: old })
    socket.push({ topic: quiet, event: "echo", payload: { n: 1 }, ref: "904", join_ref: "900" })
    assert.deepEqual(await wire.next("echo"), ["900", "904", "phx_reply", { status: "ok", response: { n: 1 } }])
    assert.deepEqual((await adaSees.next("Bob went")).payload, { who: "Bob", why: "replaced" })
  },

  // A handler that panics answers nothing; what came before it is not lost.
  async "rejoins after a crash, and is told by others"() {
    const [, adaSees] = await joined(connect(), quiet)
    const channel = connect({ user: "Bob" }).channel(quiet, {})
    const answers = joins(channel)
    await answers.next("first join")
    await adaSees.next("Bob came")
    const crashed = within("phx_error", (resolve) => channel.onError(resolve))
    let answered = null
    channel.push("boom", {}).receive("ok", () => { answered = "ok" }).receive("error", () => { answered = "error" })
    assert.deepEqual(await crashed, { reason: "channel_crash" })
    assert.equal(channel.state, "errored")
    assert.deepEqual((await adaSees.next("Bob went")).payload, { who: "Bob", why: "panicked" })
    await answers.next("second join")
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 1 })), ["ok", { n: 1 }])
    assert.equal(answered, null)
  },

  // What comes late of the first join, its reply and its close, is no longer for anybody.
  async "leaves a join that takes too long, and joins again"() {
    const [, adaSees] = await joined(connect(), quiet)
    const socket = connect({ user: "Bob", timeout: 1_000 })
    const sent = new Log()
    const { push } = socket
    socket.push = (frame) => { sent.put([frame.event, performance.now()]); return push.call(socket, frame) }
    let tries = 0
    const channel = socket.channel(quiet, () => ({ be: ["slow", "welcome"][tries++] }))
    const answers = joins(channel)
    const [first] = await sent.next("a join")
    const [second, left] = await sent.next("a leave")
    await ask("release")
    const [third, rejoined] = await sent.next("another join")
    assert.deepEqual([first, second, third], ["phx_join", "phx_leave", "phx_join"])
    assert.ok(rejoined - left > 900, `joined again after ${rejoined - left} ms, want a second`)
    assert.deepEqual(await answers.next("the second join"), ["ok", { you: "Bob", asked: { be: "welcome" } }])
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 1 })), ["ok", { n: 1 }])
    await reply("leave", channel.leave())
    for (const [event, payload] of [
      ["came", { who: "Bob" }], ["went", { who: "Bob", why: "left" }], // once for each
      ["came", { who: "Bob" }], ["went", { who: "Bob", why: "left" }],
    ]) {
      const seen = await adaSees.next(event)
      assert.deepEqual([seen.event, seen.payload], [event, payload])
    }
    assert.deepEqual([answers.rest(), adaSees.rest()], [[], []])
  },

  // The two ends that a channel can make of a join: after a phx_close phoenix.js
  // forgets the channel, after a phx_error it joins again.
  async "stays away when its channel is done with it"() {
    const [, adaSees] = await joined(connect(), quiet)
    const socket = connect({ user: "Bob" })
    const [channel] = await joined(socket, quiet)
    await adaSees.next("Bob came")
    const closed = within("phx_close", (resolve) => channel.onClose(resolve))
    assert.deepEqual(await reply("finish", channel.push("finish", { n: 1 })), ["ok", { n: 1 }])
    await closed
    assert.equal(channel.state, "closed")
    assert.ok(!socket.channels.includes(channel))
    assert.deepEqual((await adaSees.next("Bob went")).payload, { who: "Bob", why: "left" })
    const [again] = await joined(socket, quiet)
    assert.deepEqual(await reply("echo", again.push("echo", { n: 2 })), ["ok", { n: 2 }])
  },

  async "joins again when its channel says so"() {
    const [, adaSees] = await joined(connect(), quiet)
    const channel = connect({ user: "Bob" }).channel(quiet, {})
    const answers = joins(channel)
    await answers.next("first join")
    await adaSees.next("Bob came")
    const ended = within("phx_error", (resolve) => channel.onError(resolve))
    assert.deepEqual(await reply("move", channel.push("move", { n: 1 })), ["ok", { n: 1 }])
    assert.deepEqual(await ended, { reason: "moved" })
    assert.deepEqual((await adaSees.next("Bob went")).payload, { who: "Bob", why: "left" })
    await answers.next("second join")
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 2 })), ["ok", { n: 2 }])
  },

  async "asks for the params of its socket at each connect"() {
    let n = 0
    const socket = connect({ params: () => ({ user: "Ada", mark, n: ++n, deep: { a: "x y&" } }) })
    await joined(socket, quiet)
    const { code } = await cut(socket)
    assert.notEqual(code, 1000)
    await within("open", (resolve) => socket.onOpen(resolve))
    const seen = await arrived()
    const asked = seen.map(({ query }) => query.n[0])
    if (!polls) assert.deepEqual(asked, ["1", "2"])
    assert.deepEqual(asked, asked.map((_, n) => String(n + 1))) // before 1.8 a poll and a POST that fail together have it connect more than once
    assert.deepEqual(seen[0].query["deep[a]"], ["x y&"])
  },

  // 1.8 carries a token as a subprotocol, and asks for it at each connect. Older versions have none.
  async "shows its token at each connect, in no URL"() {
    // In base64 it has a "+"; with a "/" in it, phoenix.js itself would fail.
    const tokens = ["Ada~~>", "stale", "stale", "Ada again"]
    const socket = dial({ params: { mark }, authToken: () => tokens.shift() ?? "Ada again" })
    const channel = socket.channel(quiet, {})
    const answers = joins(channel)
    if (!socket.authToken) {
      assert.equal((await answers.next("join"))[1].you, "")
      return
    }
    assert.equal((await answers.next("first join"))[1].you, "Ada~~>")
    await cut(socket)
    assert.equal((await answers.next("second join"))[1].you, "Ada again") // refused twice, it came back
    const seen = await arrived()
    assert.deepEqual(seen.map(({ token }) => token), ["Ada~~>", "stale", "stale", "Ada again"])
    for (const { query } of seen) assert.deepEqual(query, { mark: [mark], vsn: ["2.0.0"] })
  },

  async "comes back after it was disconnected"() {
    const socket = connect({ user: mark })
    const channel = socket.channel(quiet, {})
    const answers = joins(channel)
    await answers.next("first join")
    const down = closes(socket)
    await ask("kick", { user: mark })
    const { code } = await down
    if (polls) assert.notEqual(code, 1000) // which code it is phoenix.js says
    else assert.equal(code, 1001) // after 1000 older versions would stay away
    await answers.next("second join")
    assert.deepEqual(await reply("echo", channel.push("echo", {})), ["ok", {}])
  },

  async "comes back after a restart, to what it missed"() {
    const socket = connect()
    const [, log, answers] = following(socket)
    assert.equal((await answers.next("first join")).recovered, undefined)
    await say(1)
    assert.deepEqual((await log.next("message 1")).payload, { n: 1 })
    const down = closes(socket)
    await ask("restart")
    const { code } = await down
    if (polls) assert.notEqual(code, 1000)
    else assert.equal(code, 1012)
    await say(2)
    const { recovered } = await answers.next("second join")
    assert.equal(recovered, true)
    assert.deepEqual((await log.next("message 2")).payload, { n: 2 })
    await say(3)
    assert.deepEqual((await log.next("message 3")).payload, { n: 3 })
    assert.deepEqual(log.rest(), [])
  },

  // As docs/from-phoenix.md has it: a message is known by its ref.
  async "learns of what was taken back while it was away"() {
    const socket = connect()
    const [, log, answers] = following(socket)
    await answers.next("first join")
    const shown = new Map()
    const see = ({ event, payload, ref }) => {
      if (event === "message_redacted") shown.delete("@" + payload.offset)
      else shown.set(ref, payload.n)
    }
    for (const n of [1, 2, 3]) await say(n).then(async () => see(await log.next("message " + n)))
    const offset = [...shown.keys()][1].slice(1)
    await new Promise((resolve) => socket.disconnect(resolve))
    await ask("redact", { topic: room, offset })
    await say(4)
    socket.connect()
    assert.equal((await answers.next("second join")).recovered, true)
    for (const what of ["what was taken back", "message 4"]) see(await log.next(what))
    assert.deepEqual([...shown.values()], [1, 3, 4])
    assert.deepEqual(log.rest(), [])
  },

  async "says once what it pushes again with a key"() {
    const [channel, log] = await joined(connect())
    for (let n = 0; n < 2; n++) assert.deepEqual(await reply("say", channel.push("message_new", { "@key": "k", n: 1 })), ["ok", {}])
    assert.deepEqual(await reply("say else", channel.push("message_new", { "@key": "k", n: 2 })), ["error", { reason: "key is that of another message" }])
    await say(3)
    for (const n of [1, 3]) assert.deepEqual((await log.next("message " + n)).payload, { n })
  },

  async "is told when the history is another"() {
    await say(1)
    const socket = connect()
    const [, log, answers] = following(socket)
    const first = await answers.next("first join")
    await log.next("message 1")
    await ask("restart", { history: "lost" })
    const second = await answers.next("second join")
    assert.equal(second.recovered, false)
    assert.notEqual(second.epoch, first.epoch)
    await say(2)
    assert.deepEqual((await log.next("message 2")).payload, { n: 2 })
  },

  // Messages keep coming while the line is cut again and again.
  async "misses nothing and hears nothing twice when its line is cut"() {
    const socket = connect()
    const [, log, answers] = following(socket)
    await answers.next("first join")
    let said = 0
    for (const rounds of [1, 2, 3]) {
      for (let n = 0; n < 30; n++) await say(++said)
      await cut(socket)
      for (let n = 0; n < 30; n++) await say(++said)
      const { recovered } = await answers.next(`join ${rounds + 1}`)
      assert.equal(recovered, true)
    }
    await say(++said)
    let last = 0
    for (let n = 1; n <= said; n++) {
      const { payload, ref } = await log.next("message " + n)
      assert.deepEqual(payload, { n })
      assert.match(ref, /^@\d+$/)
      const offset = Number(ref.slice(1))
      assert.ok(offset > last, `${offset} after ${last}`)
      last = offset
    }
    assert.deepEqual(log.rest(), [])
  },

  // On a stream it is the transport that listens for the server's heartbeats, and has a test of its own for it.
  async "notices a server that falls silent, and misses nothing"() {
    if (streams) return
    const logged = new Log()
    const socket = connect({ heartbeatIntervalMs: 200, logger: (_, text) => logged.put(text) })
    const [, log, answers] = following(socket)
    await answers.next("first join")
    await say(1)
    assert.deepEqual((await log.next("message 1")).payload, { n: 1 })
    const failed = within("another connection, which fails", (resolve) => socket.onError(resolve))
    logged.rest()
    answers.rest()
    await ask("silence")
    await say(2)
    await failed
    if (!polls) assert.ok(logged.rest().some((text) => text.startsWith("heartbeat timeout"))) // a poll that says nothing is given up after 20 s
    await ask("up")
    assert.equal((await answers.next("second join")).recovered, true)
    assert.deepEqual((await log.next("message 2")).payload, { n: 2 })
    await say(3)
    assert.deepEqual((await log.next("message 3")).payload, { n: 3 })
    assert.deepEqual(log.rest(), [])
  },

  // A binary frame has no place for a position, and what has none comes again after each break.
  async "hears retained bytes once, and as bytes"() {
    const say = (...data) => ask("say", { topic: room, event: "message_new", binary: "1" }, Uint8Array.from(data))
    const [, bobSees] = await joined(connect({ user: "Bob" })) // who does not ask for positions
    const socket = connect()
    const [channel, log, answers] = following(socket)
    await answers.next("first join")
    assert.equal((await bobSees.next("Ada came")).event, "came")
    for (const n of [1, 2]) {
      await say(0, 255, n)
      const { payload, ref } = await log.next("bytes " + n)
      assert.deepEqual(list(payload), [0, 255, n])
      assert.match(ref, /^@\d+$/)
      await cut(socket)
      const { recovered, offset } = await answers.next("join after bytes " + n)
      assert.deepEqual([recovered, offset], [true, Number(ref.slice(1))])
    }
    await cut(socket)
    await say()
    assert.equal((await answers.next("join after a message was missed")).recovered, true)
    assert.deepEqual(list((await log.next("no bytes")).payload), [])
    await reply("remind", channel.push("remind", bytes(7))) // which is not retained
    assert.deepEqual(list((await log.next("bytes for one")).payload), [7])
    assert.deepEqual(log.rest(), [])
    assert.deepEqual(list((await bobSees.next("bytes")).payload), [0, 255, 1])
  },

  async "carries bytes as bytes"() {
    const [ada, adaSees] = await joined(connect(), quiet)
    const [, bobSees] = await joined(connect({ user: "Bob" }), quiet)
    await adaSees.next("Bob came")
    for (const data of [bytes(), bytes(0, 255, 0xde, 0xad), Uint8Array.from({ length: 10_000 }, (_, n) => n).buffer]) {
      const [status, response] = await reply("echo", ada.push("echo", data))
      assert.equal(status, "ok")
      assert.deepEqual(list(response), list(data))
      await reply("message", ada.push("message_new", data))
      for (const log of [adaSees, bobSees]) assert.deepEqual(list((await log.next("bytes")).payload), list(data))
      await reply("remind", ada.push("remind", data))
      const { event, payload, joinRef } = await adaSees.next("bytes for one")
      assert.deepEqual([event, list(payload), joinRef], ["reminder", list(data), ada.joinRef()])
    }
    await ask("say", { topic: quiet, event: "message_new", binary: "1" }, Uint8Array.of(1, 2, 3))
    for (const log of [adaSees, bobSees]) assert.deepEqual(list((await log.next("bytes")).payload), [1, 2, 3])
    assert.deepEqual(bobSees.rest(), [])
  },

  async "changes its transport and is still itself"() {
    const socket = connect()
    const [channel, log, answers] = following(socket)
    await answers.next("first join")
    await say(1)
    await log.next("message 1")
    socket.replaceTransport(transports[streams ? "websocket" : "stream"])
    socket.connect()
    await say(2)
    assert.equal((await answers.next("second join")).recovered, true)
    assert.deepEqual((await log.next("message 2")).payload, { n: 2 })
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 3 })), ["ok", { n: 3 }])
    assert.deepEqual(log.rest(), [])
  },

  // The recipe of docs/from-phoenix.md, where a WebSocket is answered by a 404.
  async "goes over to the stream where no WebSocket gets through"() {
    class Blocked extends transports.websocket {
      constructor(address, protocols) { super(address.replace("/websocket?", "/blocked?"), protocols) }
    }
    const socket = connect({ transport: Blocked })
    let worked = false
    socket.onOpen(() => { worked = true })
    socket.onError(() => {
      if (worked || socket.transport === transports.stream) return
      socket.replaceTransport(transports.stream)
      socket.connect()
    })
    const [channel] = await joined(socket, quiet)
    assert.deepEqual(await reply("echo", channel.push("echo", { n: 1 })), ["ok", { n: 1 }])
    assert.equal(socket.conn.constructor, transports.stream)
  },
}

await run(behaviours)
