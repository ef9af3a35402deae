// How a page of chime.js gets through a network:
//
//	node networks.mjs URL TRANSPORT…
//
// It connects by itself, joins a room of no history and sends a message, whose reply is the first thing heard of
// the server's application. It stays until a while has passed on one of the transports, and goes on talking. It prints
// one line: how long the first reply took, by which transport it talks, what it was told of, and which messages were answered.
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"

const [url, ...transports] = process.argv.slice(2)
const start = performance.now()
const told = []
const socket = new Socket(url + "/socket", { WebSocket, token: "Ada" })
socket.on("error", ({ code, message }) => told.push(`${code}: ${message}`))
socket.connect()
const room = socket.channel("quiet:networks")
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

if (transports.length === 0) {
  room.join().catch(() => {})
  while (told.length === 0) await pause(50)
  console.log("result: " + JSON.stringify({ told }))
  process.exit(0)
}
const answered = []
let sent = 0
const say = async () => {
  const n = ++sent
  answered.push((await room.push("echo", { n }, { timeout: 40_000 })).n)
}
await room.join()
await say()
const ms = Math.round(performance.now() - start)
for (let settled = 0; settled < 10; settled++) {
  await say()
  await pause(100)
  if (!transports.includes(socket.transport)) settled = -1
}
console.log("result: " + JSON.stringify({ ms, transport: socket.transport, told, answered }))
process.exit(0)
