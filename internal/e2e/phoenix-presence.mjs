// The Presence of phoenix.js; see phoenix-kit.mjs and site_test.go.
import assert from "node:assert/strict"
import { Log, Presence, carrier, connect, desk, mark, pkg, reply, run, within } from "./phoenix-kit.mjs"

// A client in a topic, and what a Presence of phoenix.js says of it: each call of its listeners, and what it lists then.
async function watching(user = "Ada") {
  const socket = connect({ params: { user } })
  const channel = socket.channel("crowd:" + mark)
  const presence = new Presence(channel)
  const log = new Log()
  presence.onJoin((key, before, { metas }) => log.put(["join", key, before?.metas.length ?? 0, metas.length]))
  presence.onLeave((key, { metas: left }, { metas }) => log.put(["leave", key, left.length, metas.length]))
  presence.onSync(() => log.put(["sync", ...presence.list((key, { metas }) => `${key} ${metas.map(({ doing }) => doing).join()}`).sort()]))
  const sees = async (...want) => { // comes to see
    for (let entry = []; entry.join() !== ["sync", ...want].join();) entry = await log.next("a list of " + want)
  }
  await reply("join", channel.join())
  return { socket, channel, presence, log, sees }
}

const behaviours = {
  async "shows who is present"() {
    const ada = await watching()
    const told = async (...list) => {
      for (const want of list) assert.deepEqual(await ada.log.next(want), want)
      assert.deepEqual(ada.log.rest(), [])
    }
    await told(["join", "Ada", 0, 1], ["sync", "Ada reading"])
    const bob = await watching("Bob")
    await told(["join", "Bob", 0, 1], ["sync", "Ada reading", "Bob reading"])
    await bob.sees("Ada reading", "Bob reading")
    const tab = await watching("Bob")
    await told(["join", "Bob", 1, 1], ["sync", "Ada reading", "Bob reading,reading"])
    const [was] = ada.presence.list((key, { metas }) => metas[0].phx_ref)
    await reply("status", ada.channel.push("status", { doing: "lunch" }))
    await told(["join", "Ada", 1, 1], ["leave", "Ada", 1, 1], ["sync", "Ada lunch", "Bob reading,reading"]) // in one diff
    assert.equal(ada.presence.list((key, { metas }) => metas[0].phx_ref_prev)[0], was)
    tab.channel.leave()
    await told(["leave", "Bob", 1, 1], ["sync", "Ada lunch", "Bob reading"])
    await bob.sees("Ada lunch", "Bob reading")
    bob.channel.leave()
    await told(["leave", "Bob", 0, 1], ["sync", "Ada lunch"])
  },

  async "tells keys apart that objects inherit"() {
    if (pkg !== "phoenix") return // they are lost before 1.8.9
    const ada = await watching()
    for (const user of ["__proto__", "constructor", "toString"]) {
      const { channel } = await watching(user)
      await ada.sees(...["Ada reading", user + " reading"].sort())
      channel.leave()
      await ada.sees("Ada reading")
    }
  },

  async "shows who is present after a cut and a restart"() {
    const clients = [await watching(), await watching("Bob")]
    for (const { sees } of clients) await sees("Ada reading", "Bob reading")
    for (const what of carrier === "websocket" ? ["cut", "restart"] : ["restart"]) { // others stay for the grace period, and come anew
      const rejoined = clients.map(({ channel }) => within("a rejoin", (resolve) => channel.joinPush.receive("ok", resolve)))
      for (const { log } of clients) log.rest()
      assert.equal((await fetch(`${desk}/test/${what}`, { method: "POST" })).status, 200)
      await Promise.all(rejoined)
      for (const { log, sees, presence } of clients) {
        await sees("Ada reading", "Bob reading")
        assert.deepEqual(presence.list((key, { metas }) => metas.length), [1, 1], log.rest())
      }
    }
  },
}

await run(behaviours)
