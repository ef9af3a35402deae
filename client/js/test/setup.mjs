import { Socket } from "../chime.js";
import { Clock, FakeFetch, FakeWebSocket, Peer } from "./fakes.mjs";

export const transports = ["websocket", "sse"];

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
