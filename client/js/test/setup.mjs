import { test } from "node:test";
import { Socket } from "../chime.js";
import { Clock, FakeFetch, FakeWebSocket, Peer } from "./fakes.mjs";

export const transports = ["websocket", "sse"];

// each is a test over every transport.
export function each(name, fn) {
  for (const transport of transports) test(`${name} (${transport})`, (t) => fn(t, transport));
}

// begin makes a socket whose network and clock are the test's own.
export function begin(t, options = {}) {
  FakeWebSocket.made.length = 0;
  const clock = new Clock(t);
  const net = new FakeFetch();
  const socket = new Socket("https://chat.test/socket", { WebSocket: FakeWebSocket, fetch: net.fetch, ...options });
  const seen = { states: [], transports: [], errors: [] };
  socket.on("state", (state, error) => seen.states.push(error ? `${state}: ${error.code}` : state));
  socket.on("transport", (transport) => seen.transports.push(transport));
  socket.on("error", (error) => seen.errors.push(error));
  t.after(() => socket.disconnect());
  return { socket, net, clock, seen, ws: () => FakeWebSocket.last, sockets: FakeWebSocket.made };
}

// open is begin with a connection over one transport.
export async function open(t, transport, options = {}) {
  const all = begin(t, { transport, ...options });
  all.socket.connect();
  all.peer = await Peer.meet(all.net, transport);
  all.again = (more) => Peer.meet(all.net, transport, more);
  return all;
}

// joined is open with a channel in it, and what it was handed.
export async function joined(t, transport, { topic = "room:1", params, response, ...options } = {}) {
  const all = await open(t, transport, options);
  all.room = all.socket.channel(topic, params);
  all.heard = [];
  all.room.on("*", (payload, { event, offset }) => all.heard.push([event, payload, offset]));
  const joining = all.room.join();
  all.joinRef = await all.peer.accept(topic, response);
  all.joinReply = await joining;
  return all;
}

// outcome of a promise, as something to compare: what it resolved with, or the code it was rejected with.
export function outcome(promise) {
  return promise.then((value) => value, ({ code, sent }) => (sent ? `${code}, sent` : code));
}

export const keeps = { grace_ms: 15_000 };

// lives is a joined channel on a server that keeps client sockets.
export async function lives(t, transport, options = {}) {
  const all = begin(t, { transport, ...options });
  all.socket.connect();
  all.peer = await Peer.meet(all.net, transport, { ...keeps, secret: "s1" });
  all.room = all.socket.channel("room:1");
  all.states = [];
  all.heard = [];
  all.gaps = 0;
  all.room.onGap(() => all.gaps++);
  all.room.onState((state) => all.states.push(state));
  all.room.on("*", (payload) => all.heard.push(payload));
  all.room.join();
  all.joinRef = await all.peer.accept("room:1");
  all.states.length = 0;
  all.meet = (name, more) => Peer.meet(all.net, name, { ...keeps, secret: "s2", ...more });
  all.resume = async (more, name = transport) => {
    await all.clock.pass(500);
    return all.meet(name, { resumed: true, received: 1, sent: 1, ...more });
  };
  all.reply = (peer, [joinRef, ref, topic], response = {}) => peer.say([joinRef, ref, topic, "phx_reply", { status: "ok", response }]);
  return all;
}

// shown is the secret with which a connection was asked for.
export const shown = (down) => (down.name === "sse" ? down.headers["Chime-Secret"] : down.protocols.find((name) => name.startsWith("chime.secret."))?.slice(13));

export const payloads = (frames) => frames.map((frame) => frame[4]);
