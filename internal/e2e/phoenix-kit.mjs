// What the scripts have in common that show one behaviour of a Phoenix client:
//
//	node SCRIPT PACKAGE TRANSPORT BEHAVIOUR URL [DESK]
//
// The client is npm's, unmodified, with the timings it ships with. A script
// exits 0 if the behaviour is as a Phoenix server would show it.
import assert from "node:assert/strict"
import WebSocket from "ws"
import { ChimeStream } from "../../client/js/phoenix-stream.js"

export const [pkg, carrier, behaviour, url, desk] = process.argv.slice(2)
export const { Socket } = await import(pkg)
export const transports = { websocket: WebSocket, stream: ChimeStream }

// A stream tells positions unasked, as chime does, and has no heartbeats but the server's.
export const streams = carrier === "stream"

export const mark = (behaviour ?? "").replace(/\W+/g, "-")
export const room = "chat_room:" + mark
const sockets = []

export function connect(options = {}) {
  const socket = new Socket(url.replace(/^http/, "ws") + "/socket", { transport: transports[carrier], ...options })
  sockets.push(socket)
  socket.connect()
  return socket
}

// Each wait says what it waits for, so that a failure names it.
export function within(what, start, seconds = 30) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timed out: " + what)), seconds * 1000)
    start((value) => { clearTimeout(timer); resolve(value) }, (why) => { clearTimeout(timer); reject(why) })
  })
}

// The reply to a push or a join: [status, response].
export const reply = (what, push) => within(what, (resolve) => {
  for (const status of ["ok", "error", "timeout"]) push.receive(status, (response) => resolve([status, response]))
})

// What the channel itself replied to a join.
export function plain({ "@history": history, ...response }) {
  if (!streams) assert.equal(history, undefined) // it was not asked for
  return response
}

// Records what comes, in order, and lets one wait for the next.
export class Log {
  #got = []
  #waiting = []

  put(entry) {
    const next = this.#waiting.shift()
    if (next) next(entry); else this.#got.push(entry)
  }

  next(what) {
    if (this.#got.length) return Promise.resolve(this.#got.shift())
    return within(what, (resolve) => this.#waiting.push(resolve))
  }

  // All that has come and was not taken.
  rest() { return this.#got.splice(0) }
}

export function listen(channel, ...events) {
  const log = new Log()
  for (const event of events) channel.on(event, (payload, ref, joinRef) => log.put({ event, payload, ref, joinRef }))
  return log
}

// The frames themselves: to its callbacks phoenix.js fills in a join_ref that is not there.
export function frames(socket, event) {
  const log = new Log()
  socket.onMessage((frame) => { if (frame.event === event) log.put(frame) })
  return log
}

// Runs the behaviour that was asked for, or says which there are.
export async function run(behaviours) {
  const run = behaviours[behaviour]
  if (!run) {
    console.log("behaviours: " + JSON.stringify(Object.keys(behaviours)))
    process.exit(behaviour === "list" ? 0 : 2)
  }
  try {
    await run()
  } catch (error) {
    console.log(error.stack ?? error)
    process.exit(1)
  }
  for (const socket of sockets) socket.disconnect()
  process.exit(0)
}
