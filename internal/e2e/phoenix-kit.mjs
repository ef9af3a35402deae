// What the scripts have in common that show a behaviour of a Phoenix client:
//
//	node SCRIPT PACKAGE TRANSPORT BEHAVIOUR URL [DESK]
//
// The client is npm's, unmodified, with the timings it ships with.
import assert from "node:assert/strict"
import WebSocket from "ws"
import { ChimeStream } from "../../client/js/phoenix-stream.js"
import { Log, atEnd, run as runNamed, within } from "./kit.mjs"

export { Log, within }

export const [pkg, carrier, behaviour, url, desk] = process.argv.slice(2)
// Node has neither self nor XMLHttpRequest, without which phoenix.js before 1.8 can't poll.
if (carrier === "longpoll" || carrier === "fallback") globalThis.self ??= globalThis
globalThis.XMLHttpRequest ??= class {
  headers = {}
  readyState = 0
  stop = new AbortController()
  open(method, url) { Object.assign(this, { method, url }) }
  setRequestHeader(name, value) { this.headers[name] = value }
  abort() { this.stop.abort() }
  async send(body) {
    const timer = this.timeout && setTimeout(() => { this.stop.abort(); this.ontimeout?.() }, this.timeout)
    try {
      const answer = await fetch(this.url, { method: this.method, headers: this.headers, body: body ?? undefined, signal: this.stop.signal })
      this.responseText = await answer.text()
      this.status = answer.status
    } catch {
      if (this.stop.signal.aborted) return
      this.responseText = ""
    } finally { clearTimeout(timer) }
    this.readyState = 4
    this.onreadystatechange?.()
  }
}

export const { Socket, LongPoll, Presence } = await import(pkg)
export const transports = { websocket: WebSocket, stream: ChimeStream, longpoll: LongPoll, fallback: WebSocket }

// A stream tells positions unasked, as chime does, and has no heartbeats but the server's.
export const streams = carrier === "stream"
export const polls = carrier === "longpoll" || carrier === "fallback"

export const mark = (behaviour ?? "").replace(/\W+/g, "-")
export const room = "chat_room:" + mark

export function connect(options = {}) {
  const socket = new Socket(url.replace(/^http/, "ws") + "/socket", { transport: transports[carrier], longPollFallbackMs: carrier === "fallback" ? 500 : undefined, ...options })
  atEnd(() => socket.disconnect())
  socket.connect()
  return socket
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

export const run = (behaviours) => runNamed(behaviours, behaviour)
