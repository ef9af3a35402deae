// What becomes of pushes while the nodes behind a URL are replaced one by one:
//
//	node rolling.mjs TRANSPORT URL
//
// It pushes numbers until its input ends, prints "pushing" when the first was answered, and at the end what was heard of them and
// what became of those that were not answered with ok.
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"

const [transport, url] = process.argv.slice(2)
const EVERY_MS = 25

const socket = new Socket(url + "/socket", { WebSocket, transport })
const room = socket.channel("chat_room:pushed-" + transport, { "@last": 0 })
const heard = []
const failed = {}
room.on("message_new", ({ message }) => heard.push(Number(message)))
await room.join()

const pushes = []
const push = () => {
  const n = pushes.length + 1
  pushes.push(room.push("message_new", { message: String(n) }, { timeout: 0 }).catch(({ code }) => { failed[n] = code }))
}
push()
await pushes[0]
console.log("pushing")
const timer = setInterval(push, EVERY_MS)
await new Promise((resolve) => process.stdin.on("end", resolve).resume())
clearInterval(timer)
await Promise.all(pushes)
socket.disconnect()
console.log(JSON.stringify({ pushed: pushes.length, heard, failed }))
