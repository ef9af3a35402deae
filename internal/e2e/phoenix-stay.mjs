// What the behaviours of phoenix-site.mjs do to a site of the tests' own, and how a page joins its topics.
import assert from "node:assert/strict"
import { Log, connect as dial, desk, listen, mark, polls, reply, within } from "./phoenix-kit.mjs"

export const room = "room:" + mark // with history
export const quiet = "quiet:" + mark // without

export async function ask(what, query = {}, body) {
  const answer = await fetch(`${desk}/test/${what}?${new URLSearchParams(query)}`, { method: "POST", body })
  assert.equal(answer.status, 200, what + ": " + await answer.text())
}

export const say = (n, topic = room) => ask("say", { topic, event: "message_new" }, JSON.stringify({ n }))

// A poll may be between two requests, where nothing is cut; a second later there is one.
export async function cut(socket) {
  const down = closes(socket)
  const again = polls && setInterval(() => ask("cut"), 1_000)
  down.finally(() => clearInterval(again)).catch(() => {})
  await ask("cut")
  return down
}

// Who connected with the mark of this behaviour, in order.
export const arrived = async () => (await fetch(`${desk}/test/arrived?mark=${mark}`)).json()

// A client that names itself in the URL, where every version can.
export const connect = ({ params, user = "Ada", ...options } = {}) => dial({ params: params ?? { user, mark }, ...options })

export async function joined(socket, topic = room, params = {}) {
  const channel = socket.channel(topic, params)
  const log = listen(channel, "message_new", "reminder", "typing", "thinking", "came", "went")
  const [status, response] = await reply("join", channel.join())
  assert.equal(status, "ok", JSON.stringify(response))
  return [channel, log, response]
}

// Everything a channel is told about its joins.
export function joins(channel) {
  const log = new Log()
  channel.join().receive("ok", (response) => log.put(["ok", response])).receive("error", (response) => log.put(["error", response]))
  return log
}

// The recipe of docs/from-phoenix.md: the params of the join are a function, asked again at each join.
export function following(socket, topic = room) {
  let epoch = null
  let offset = null
  const channel = socket.channel(topic, () => (offset === null ? { "@last": 50 } : { "@since": { epoch, offset } }))
  channel.onMessage = (event, payload, ref) => {
    if (!ref?.startsWith("@")) return payload
    offset = Number(ref.slice(1))
    if (Object.keys(payload).join() !== "@binary") return payload
    return Uint8Array.from(atob(payload["@binary"]), (char) => char.charCodeAt(0)).buffer
  }
  const log = listen(channel, "message_new", "reminder", "message_redacted")
  const answers = new Log()
  channel.join().receive("ok", ({ "@history": history }) => {
    epoch = history.epoch
    offset = history.offset
    answers.put(history)
  })
  return [channel, log, answers]
}

export const closes = (socket) => within("close", (resolve) => socket.onClose(resolve))
export const bytes = (...list) => Uint8Array.from(list).buffer

// Phoenix's polls carry bytes to the server alone; chime's replies have them as in a version that knows none.
export function list(payload) {
  if (!polls || payload instanceof ArrayBuffer) return [...new Uint8Array(payload)]
  assert.deepEqual(Object.keys(payload), ["@binary"])
  return [...Uint8Array.from(atob(payload["@binary"]), (char) => char.charCodeAt(0))]
}
