// The conversation of a page of chime.js through a network, in Node. It prints what the page has to tell:
//
//	node networks.mjs URL TOPIC TRANSPORT…
import WebSocket from "ws"
import { Socket } from "../../client/js/chime.js"
import { converse } from "./conversation.mjs"

const [url, topic, ...transports] = process.argv.slice(2)
console.log("result: " + JSON.stringify(await converse(new Socket(url + "/socket", { WebSocket, token: "Ada" }), topic, transports)))
process.exit(0)
