// How a socket finds its way to the server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Socket } from "../chime.js";
import { FakeWebSocket, Peer, secret, settle } from "./fakes.mjs";
import { begin } from "./setup.mjs";

test("a WebSocket carries params in its URL and the token in a subprotocol", async (t) => {
  const { socket, ws } = begin(t, { params: { v: 1, a: { b: [1, "x y"], c: null }, no: undefined }, token: "tök?en>" });
  socket.connect();
  await settle();
  assert.equal(decodeURIComponent(ws().url), "wss://chat.test/socket/websocket?v=1&a[b][]=1&a[b][]=x+y&a[c]=");
  assert.deepEqual(ws().protocols, ["chime.v1", "base64url.bearer.phx.dMO2az9lbj4"]);
  assert.equal(Buffer.from("dMO2az9lbj4", "base64url").toString(), "tök?en>");
});

test("without a token only the dialect is named", async (t) => {
  const { socket, ws } = begin(t, { token: () => null });
  socket.connect();
  await settle();
  assert.deepEqual(ws().protocols, ["chime.v1"]);
  assert.equal(ws().url, "wss://chat.test/socket/websocket");
});

test("the stream carries the token in a header, and no secret in a URL", async (t) => {
  const { socket, net } = begin(t, { transport: "sse", params: { v: 1 }, token: "tok" });
  socket.connect();
  await settle();
  assert.equal(net.stream.url, "https://chat.test/socket/sse?v=1");
  assert.deepEqual(net.stream.headers, { Accept: "text/event-stream", "Chime-Received": "0", Authorization: "Bearer tok" });
  await net.stream.hello();
  socket.channel("room:1").join();
  await settle();
  assert.equal(net.post.url, "https://chat.test/socket/sse?v=1");
  assert.deepEqual(net.post.headers, { "Content-Type": "application/json", "Chime-Secret": secret, Authorization: "Bearer tok" });
  assert.deepEqual(net.post.body, { first: 1, received: 0, frames: [["1", "1", "room:1", "phx_join", {}]] });
});

test("the URL may be relative to the page, of any scheme, and have a query of its own", async (t) => {
  for (const [url, want] of [["/socket/?k=1", "ws://page.test/socket/websocket?k=1"], ["wss://x.test/a", "wss://x.test/a/websocket"], ["http://x.test:8080", "ws://x.test:8080/websocket"]]) {
    const { ws } = begin(t);
    globalThis.location = { href: "http://page.test/rooms/1" };
    t.after(() => delete globalThis.location);
    const socket = new Socket(url, { transport: "websocket", WebSocket: FakeWebSocket });
    socket.connect();
    await settle();
    assert.equal(ws().url, want);
    socket.disconnect();
    t.mock.timers.reset();
  }
});

test("a mistake at set-up is a TypeError", () => {
  assert.throws(() => new Socket("/socket"), TypeError, "a relative URL outside a page");
  for (const url of [undefined, null, 42, {}, "ftp://x.test", "file:///socket", "mailto:x"]) assert.throws(() => new Socket(url), TypeError, String(url));
  for (const options of [null, "sse", { tranport: "sse" }]) assert.throws(() => new Socket("https://x.test", options), TypeError);
  assert.throws(() => new Socket("https://x.test", { transport: "pigeon" }), TypeError);
  assert.throws(() => new Socket("https://x.test").force("pigeon"), TypeError);
  for (const name of ["message", "toString"]) assert.throws(() => new Socket("https://x.test").on(name, () => {}), /socket\.on: the name is "(message|toString)": state or transport or error is needed/);
  for (const fn of [undefined, "fn"]) assert.throws(() => new Socket("https://x.test").on("state", fn), TypeError);
  if (!globalThis.WebSocket) assert.throws(() => new Socket("https://x.test", { transport: "websocket" }), TypeError);
});

test("params and token are evaluated at each connect, and may be async", async (t) => {
  let calls = 0;
  const { socket, sockets, clock } = begin(t, { token: async () => `t${++calls}`, params: async () => ({ call: calls }), transport: "websocket" });
  socket.connect();
  await settle();
  await sockets[0].hello();
  await sockets[0].drop();
  await clock.pass(250);
  assert.equal(calls, 2);
  assert.notDeepEqual(sockets[0].protocols, sockets[1].protocols);
});

test("a token that cannot be had is reported, and asked for again", async (t) => {
  let calls = 0;
  const { socket, seen, clock, sockets } = begin(t, { token: async () => { if (++calls < 3) throw new Error("no session"); return "t"; } });
  socket.connect();
  await clock.pass(750);
  assert.equal(calls, 3);
  assert.deepEqual(seen.errors.map((e) => [e.code, e.cause.message]), [["credentials", "no session"]], "once for one cause");
  assert.equal(sockets.length, 1);
});

test("disconnecting while the token is on its way starts nothing", async (t) => {
  let give;
  const { socket, sockets, net } = begin(t, { token: () => new Promise((resolve) => (give = resolve)) });
  socket.connect();
  await settle();
  socket.disconnect();
  give("t");
  await settle();
  assert.deepEqual([sockets.length, net.requests.length, socket.state], [0, 0, "closed"]);
});

test("where the WebSocket works nothing else is tried", async (t) => {
  const { socket, ws, net, seen, clock } = begin(t);
  assert.deepEqual([socket.state, socket.transport], ["closed", null]);
  socket.connect();
  socket.connect();
  await clock.pass(1_999);
  await ws().hello();
  await clock.pass(5_000);
  assert.deepEqual([socket.state, socket.transport, net.requests.length], ["open", "websocket", 0]);
  assert.deepEqual([seen.states, seen.transports], [["connecting", "open"], ["websocket"]]);
});

test("a WebSocket that is refused gives way to the stream at once", async (t) => {
  const { socket, ws, net, seen } = begin(t);
  socket.connect();
  await settle();
  await ws().drop();
  await net.stream.hello();
  assert.deepEqual([socket.state, socket.transport], ["open", "sse"]);
  assert.deepEqual([seen.states, seen.transports], [["connecting", "open"], ["sse"]]);
});

test("a WebSocket that cannot even be made gives way too", async (t) => {
  const { socket, net } = begin(t, { WebSocket: class { constructor() { throw new Error("blocked"); } } });
  socket.connect();
  await settle();
  await net.stream.hello();
  assert.equal(socket.transport, "sse");
});

test("a WebSocket that opens and says nothing gives way after two seconds", async (t) => {
  const { socket, ws, net, clock } = begin(t);
  socket.connect();
  await settle();
  ws().readyState = 1;
  await clock.pass(1_999);
  assert.equal(net.requests.length, 0);
  await clock.pass(1);
  await net.stream.hello();
  assert.equal(socket.transport, "sse");
  assert.equal(ws().closed, 4000);
  await ws().say([null, null, "chime", "hello", {}]);
  assert.equal(socket.transport, "sse", "a hello that comes too late changes nothing");
});

test("a WebSocket that is only slow still wins over a stream that is slower", async (t) => {
  const { socket, ws, net, clock } = begin(t);
  socket.connect();
  await clock.pass(3_000);
  assert.equal(net.gets.length, 1);
  await ws().hello();
  assert.equal(socket.transport, "websocket");
  assert.ok(net.stream.aborted);
  assert.equal(net.byes.length, 0, "there is nothing to say goodbye to");
});

test("without a WebSocket class the stream is used", async (t) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "WebSocket"); // of a Node that has one
  if (own) {
    delete globalThis.WebSocket;
    t.after(() => Object.defineProperty(globalThis, "WebSocket", own));
  }
  const { socket, net } = begin(t, { WebSocket: undefined });
  socket.connect();
  await settle();
  await net.stream.hello();
  assert.equal(socket.transport, "sse");
});

test("a first frame that is no hello is not taken for the server", async (t) => {
  const { socket, ws, net } = begin(t);
  socket.connect();
  await settle();
  ws().readyState = 1;
  await ws().say([null, null, "phoenix", "hello", {}]);
  assert.equal(ws().closed, 4000);
  assert.equal(net.gets.length, 1);
  assert.equal(socket.state, "connecting");
});

test("when nothing works the application is told why, and the tries grow apart up to 20 s", async (t) => {
  const { socket, ws, net, seen, clock, sockets } = begin(t);
  socket.connect();
  for (const wait of [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    await settle();
    const before = sockets.length;
    await ws().drop(1006);
    await net.stream.answer(502, "<html>");
    await clock.pass(wait - 1);
    assert.equal(sockets.length, before);
    await clock.pass(1);
    assert.equal(sockets.length, before + 1, `after ${wait} ms`);
  }
  assert.deepEqual([seen.errors[0].code, seen.errors[0].message, seen.errors[0].status], ["unreachable", "websocket: 1006; sse: answered with status 502: 200 and text/event-stream are expected; longpoll: Failed to fetch; a proxy gets no answer", 502]);
  assert.deepEqual(seen.states, ["connecting"]);
});

for (const [what, page, fail, hinted] of [
  ["of another origin without an answer", "https://page.test", (net) => net.stream.fail("Failed to fetch"), true],
  ["of another origin with an answer", "https://page.test", (net) => net.stream.answer(502), false],
  ["of another origin with a stream that says nothing", "https://page.test", async (net) => { await net.stream.open(); await net.stream.drop(); }, false],
  ["of its own origin", "https://chat.test", (net) => net.stream.fail("Failed to fetch"), false],
  ["outside a page", undefined, (net) => net.stream.fail("fetch failed"), false],
]) {
  test(`where nothing works, WithOrigins is ${hinted ? "hinted at" : "not spoken of"}: ${what}`, async (t) => {
    const { socket, ws, net, seen } = begin(t);
    if (page) globalThis.location = { origin: page };
    t.after(() => delete globalThis.location);
    socket.connect();
    await settle();
    await ws().drop();
    await fail(net);
    const [{ code, message }] = seen.errors;
    assert.equal(code, "unreachable");
    assert.match(message, /^websocket: 1006; sse: /);
    assert.equal(/WithOrigins/.test(message) && message.includes(page), hinted, message);
  });
}

test("a WebSocket alone hints at WithOrigins too, but not when it says nothing for ten seconds", async (t) => {
  const { socket, ws, seen, clock } = begin(t, { transport: "websocket" });
  globalThis.location = { origin: "https://page.test" };
  t.after(() => delete globalThis.location);
  socket.connect();
  await settle();
  await ws().drop();
  await clock.pass(16_250); // four, beside each other
  assert.deepEqual(seen.errors.map(({ message }) => /WithOrigins/.test(message)), [true, false]);
});

test("what answers 200 but is no event stream is not the server", async (t) => {
  const { socket, net, seen, clock } = begin(t, { transport: "sse" });
  socket.connect();
  await settle();
  await net.stream.answer(200, "<html>Please log in</html>", { "Content-Type": "text/html" });
  assert.equal(seen.errors[0].code, "unreachable");
  await clock.pass(250);
  assert.equal(net.gets.length, 2);
});

test("a stream that is held back is given up after ten seconds", async (t) => {
  const { socket, net, clock } = begin(t, { transport: "sse" });
  socket.connect();
  await settle();
  await net.stream.open();
  await clock.pass(10_000);
  assert.deepEqual(net.gets.map(({ aborted }) => aborted), [true, false, false, false], "others have begun beside it");
});

test("Retry-After is honoured when the stream is refused for now, and chance added", async (t) => {
  const { socket, net, clock } = begin(t, { transport: "sse" });
  socket.connect();
  await settle();
  await net.stream.answer(503, "", { "Retry-After": "7" });
  await clock.pass(7_249); // half of what chance adds
  assert.equal(net.gets.length, 1);
  await clock.pass(1);
  assert.equal(net.gets.length, 2);
  await net.stream.answer(429, "", { "Retry-After": new Date(Date.now() + 3_000).toUTCString() });
  await clock.pass(3_249); // the header has no milliseconds
  assert.equal(net.gets.length, 2);
  await clock.pass(1);
  assert.equal(net.gets.length, 3);
  await net.stream.fail();
  await clock.pass(3_749); // what was asked for last is still the least
  assert.equal(net.gets.length, 3);
  await clock.pass(1);
  assert.equal(net.gets.length, 4);
});

for (const order of ["websocket first", "sse first"]) {
  test(`a server that cannot tell yet who connects is come back to when it says, whatever else failed (${order})`, async (t) => {
    const { socket, ws, net, seen, clock, sockets } = begin(t);
    const room = socket.channel("room:1");
    const joining = room.join();
    socket.connect();
    await settle();
    if (order === "sse first") await clock.pass(2_000); // the WebSocket is slow, and fails last
    else await ws().drop();
    await net.stream.answer(503, { reason: "try again later" }, { "Retry-After": "7" });
    if (order === "sse first") await ws().drop();
    assert.deepEqual([socket.state, room.state, seen.errors[0].code, seen.errors[0].status], ["connecting", "joining", "unreachable", 503]);
    await clock.pass(7_249);
    assert.deepEqual([sockets.length, net.gets.length], [1, 1]);
    await clock.pass(1);
    assert.equal(sockets.length, 2);
    await (await Peer.meet(net, "websocket")).accept("room:1", { in: true });
    assert.deepEqual([await joining, seen.states], [{ in: true }, ["connecting", "open"]]);
  });
}

test("a socket on which a WebSocket once worked tries it first again", async (t) => {
  const { socket, ws, net, clock, sockets } = begin(t);
  socket.connect();
  await settle();
  await ws().hello();
  await ws().drop();
  await clock.pass(250);
  await ws().drop();
  await net.stream.hello();
  assert.equal(socket.transport, "sse");
  await net.stream.drop();
  const before = sockets.length;
  await clock.pass(500);
  assert.equal(sockets.length, before + 1);
});

test("a network that lets no WebSocket through is remembered for 30 minutes", async (t) => {
  const { socket, ws, net, clock, sockets } = begin(t);
  socket.connect();
  await settle();
  await ws().drop();
  await net.stream.hello();
  for (let beat = 0; beat < 58; beat++) {
    await clock.pass(30_000);
    await net.stream.say([null, null, "chime", "heartbeat", { sent: 0 }]);
  }
  await net.stream.drop();
  await clock.pass(250);
  assert.equal(net.gets.length, 2, "29 minutes later: the stream at once");
  await net.stream.hello();
  await clock.pass(30_000);
  await net.stream.say([null, null, "chime", "heartbeat", { sent: 0 }]);
  await clock.pass(30_000);
  await net.stream.drop();
  const before = sockets.length;
  await clock.pass(250);
  assert.deepEqual([sockets.length - before, net.gets.length], [1, 2], "30 minutes later: the WebSocket first");
});

test("a remembered stream that fails lets the WebSocket try", async (t) => {
  const { socket, ws, net, clock, sockets } = begin(t);
  socket.connect();
  await settle();
  await ws().drop();
  await net.stream.hello();
  await net.stream.drop();
  await clock.pass(250);
  await net.stream.answer(502);
  assert.equal(sockets.length, 2);
  await ws().hello();
  assert.equal(socket.transport, "websocket");
  await ws().drop();
  await clock.pass(500);
  assert.deepEqual([sockets.length, net.gets.length], [3, 2], "which is then no longer remembered");
});
