// How a socket finds its way to the server, and back to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Socket } from "../chime.js";
import { FakeWebSocket, Peer, secret, settle } from "./fakes.mjs";
import { begin, joined, open, outcome, transports } from "./setup.mjs";

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

for (const [code, name] of [[1007, "invalid"], [1009, "too_large"]]) {
  test(`a join that ends the WebSocket with ${code} is not sent again, and the others are`, async (t) => {
    const { socket, room, peer, clock, again, ws, sockets } = await joined(t, "websocket");
    const bad = socket.channel("room:bad");
    const heard = [];
    for (const channel of [room, bad]) channel.onState((state, error) => heard.push([channel.topic, state, error?.code, error?.status, error?.message]));
    const joining = bad.join();
    await peer.drop(); // and so the bad one is in the burst of the next connection, behind one that was let in before
    await clock.pass(500);
    const next = await again();
    assert.deepEqual(next.down.frames.map((frame) => frame[2]), ["room:1", "room:bad"]);
    heard.length = 0;
    await ws().end(code, "why");
    await assert.rejects(joining, { code: name, status: code, response: { reason: "why" }, sent: false });
    assert.deepEqual([heard, socket.state], [[["room:bad", "closed", name, code, "the server refused a frame: why"]], "connecting"]);
    await clock.pass(1_000);
    const last = await again();
    assert.deepEqual(last.down.frames.map((frame) => frame[2]), ["room:1"]);
    await last.accept("room:1");
    await clock.pass(20_000);
    assert.deepEqual([room.state, socket.state, sockets.length], ["joined", "open", 3]);
  });

  test(`a push that ends the WebSocket with ${code} is told why, and no join is blamed that is behind it`, async (t) => {
    const { socket, room, ws, clock, again } = await joined(t, "websocket");
    const heard = assert.rejects(room.push("a"), ({ code: fate, cause }) => fate === "outcome_unknown" && cause.status === code && cause.message === "why");
    const other = socket.channel("room:2");
    const joining = other.join();
    await ws().end(code, "why");
    await heard;
    assert.deepEqual([room.state, other.state], ["joining", "joining"]);
    await clock.pass(500);
    const next = await again();
    for (const topic of ["room:1", "room:2"]) await next.accept(topic, { topic });
    assert.deepEqual(await joining, { topic: "room:2" });
  });

  test(`if all joins were let in before, ${code} ends one after the other, not the socket for ever`, async (t) => {
    const { socket, room, peer, ws, clock, again } = await joined(t, "websocket");
    const other = socket.channel("room:2");
    other.join();
    await peer.accept("room:2");
    const codes = [];
    for (const channel of [room, other]) channel.onState((state, error) => state === "closed" && codes.push([channel.topic, error.code]));
    await peer.drop();
    for (let n = 0; n < 2; n++) {
      await clock.pass(1_000);
      await again();
      await ws().end(code, "why");
    }
    assert.deepEqual(codes, [["room:1", name], ["room:2", name]]);
  });
}

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

for (const status of [401, 403]) {
  test(`a connection refused with ${status} stays away until connect`, async (t) => {
    const { socket, net, ws, seen, clock, sockets } = begin(t);
    const room = socket.channel("room:1");
    const joining = outcome(room.join());
    socket.connect();
    await settle();
    await ws().drop();
    await net.stream.answer(status, { reason: "who are you" });
    assert.equal(await joining, "refused");
    assert.deepEqual(seen.states, ["connecting", "refused: refused"]);
    assert.deepEqual([seen.errors[0].status, seen.errors[0].response], [status, { reason: "who are you" }]);
    await clock.pass(60_000);
    assert.equal(sockets.length, 1);
    socket.connect();
    await settle();
    assert.equal(sockets.length, 2);
  });
}

for (const transport of transports) {
  const close = (peer, code, reason) => peer.close(code, reason);

  test(`a drop reconnects quickly, and more slowly while drops go on (${transport})`, async (t) => {
    const { socket, peer, seen, clock, again, sockets, net } = await open(t, transport);
    const tries = () => sockets.length + net.gets.length;
    await peer.drop();
    assert.deepEqual(seen.states, ["connecting", "open", "connecting: disconnected"]);
    assert.deepEqual(seen.transports, [transport, null]);
    await clock.pass(250);
    const second = await again();
    assert.equal(socket.state, "open");
    await second.drop(); // young: a server that greets and drops must not be hammered
    await clock.pass(499);
    assert.equal(tries(), 2);
    await clock.pass(1);
    assert.equal(tries(), 3);
    const third = await again();
    await clock.pass(10_000);
    await third.drop();
    await clock.pass(250);
    await again();
    assert.equal(socket.state, "open");
  });

  test(`going online retries at once (${transport})`, async (t) => {
    const page = new EventTarget();
    let listening = 0;
    globalThis.addEventListener = (...listener) => { listening++; page.addEventListener(...listener); };
    globalThis.removeEventListener = (...listener) => { listening--; page.removeEventListener(...listener); };
    t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
    const { socket, peer, again, sockets, net } = await open(t, transport);
    page.dispatchEvent(new Event("online"));
    assert.equal(socket.state, "open");
    await peer.drop();
    page.dispatchEvent(new Event("online"));
    await again();
    assert.equal(socket.state, "open");
    socket.disconnect();
    assert.equal(listening, 0);
    const before = sockets.length + net.gets.length;
    page.dispatchEvent(new Event("online"));
    await settle();
    assert.equal(sockets.length + net.gets.length, before);
  });

  test(`silence is a broken connection (${transport})`, async (t) => {
    const { socket, peer, clock } = await open(t, transport);
    await clock.pass(34_000);
    await peer.say([null, null, "chime", "heartbeat", { sent: 0 }]);
    await clock.pass(34_999);
    assert.equal(socket.state, "open");
    await clock.pass(1);
    assert.equal(socket.state, "connecting");
  });

  test(`a server that cannot tell for a while who connects gets its channels back (${transport})`, async (t) => {
    const { socket, room, peer, net, ws, clock, again } = await joined(t, transport);
    const states = [];
    room.onState((state) => states.push(state));
    await peer.drop();
    await clock.pass(250);
    // A browser does not say what a WebSocket was refused with.
    if (transport === "websocket") await ws().drop(1006);
    else await net.stream.answer(503, { reason: "try again later" }, { "Retry-After": "2" });
    const pushed = room.push("a");
    await clock.pass(3_000);
    const next = await again();
    await next.accept("room:1");
    await next.reply(await next.last(), { kept: true });
    assert.deepEqual([await pushed, socket.state, states], [{ kept: true }, "open", ["joining", "joined"]]);
  });

  test(`close code 4003 stays away, and joined channels come back when asked (${transport})`, async (t) => {
    const { socket, room, peer, seen, clock, again } = await joined(t, transport);
    await close(peer, 4003, "banned");
    assert.equal(socket.state, "refused");
    assert.deepEqual(seen.errors.map((e) => [e.code, e.status, e.message]), [["refused", 4003, "banned"]]);
    assert.equal(room.state, "closed");
    await clock.pass(60_000);
    assert.equal(socket.state, "refused");
    socket.connect();
    const next = await again();
    await next.accept("room:1");
    const pushed = room.push("a");
    await next.reply(await next.last(), { ok: 1 });
    assert.deepEqual(await pushed, { ok: 1 });
  });

  test(`a refusal closes the channels at once, and fails what waits for them (${transport})`, async (t) => {
    const { socket, room, peer, clock } = await joined(t, transport);
    const heard = [];
    const other = socket.channel("room:2");
    for (const channel of [room, other]) channel.onState((state, error) => heard.push([channel.topic, state, error?.code, error?.status, socket.state]));
    const join = outcome(other.join());
    const sent = outcome(room.push("a"));
    const waiting = other.push("a").catch((error) => error);
    await peer.frames();
    await close(peer, 4003, "banned");
    assert.deepEqual(heard, [
      ["room:2", "joining", undefined, undefined, "open"],
      ["room:1", "closed", "refused", 4003, "refused"], // and not "joining" first
      ["room:2", "closed", "refused", 4003, "refused"],
    ]);
    const { code, sent: arrived, cause } = await waiting;
    assert.deepEqual([await join, await sent, code, arrived, cause.code], ["refused", "outcome_unknown, sent", "closed", false, "refused"]);
    assert.equal(await outcome(room.push("a")), "closed");
    await clock.pass(60_000);
    assert.equal(heard.length, 3);
  });

  test(`refused while coming back, pushes that wait fail at once, and so again at the next refusal (${transport})`, async (t) => {
    const { socket, net, room, peer, clock, seen, again } = await joined(t, transport, { response: { "@history": { epoch: "e", offset: 4 } } });
    const states = [];
    room.onState((state, error) => states.push(error ? `${state}: ${error.code}` : state));
    await peer.drop();
    const refuse = async () => {
      await settle();
      if (transport === "sse") return net.stream.answer(401, { reason: "expired" });
      await FakeWebSocket.last.hello(); // a WebSocket learns of it after the upgrade only
      await FakeWebSocket.last.end(4003, "expired");
    };
    for (let refusals = 1; refusals <= 2; refusals++) {
      const push = outcome(room.push("a", {}, { timeout: 0 }));
      await clock.pass(250);
      await refuse();
      assert.deepEqual([await push, room.state, socket.state, seen.errors.length], ["closed", "closed", "refused", refusals]);
      socket.connect();
    }
    const next = await again();
    assert.deepEqual((await next.last())[4], { "@since": { epoch: "e", offset: 4 } });
    await next.accept("room:1");
    assert.deepEqual(states, ["joining: disconnected", "closed: refused", "joining", "closed: refused", "joining", "joined"]);
  });

  test(`a channel that was closed with its socket may be left, joined, or replaced by another (${transport})`, async (t) => {
    const { socket, room, peer, again } = await joined(t, transport);
    const [left, replaced] = ["room:2", "room:3"].map((topic) => socket.channel(topic));
    for (const channel of [left, replaced]) {
      channel.join();
      await peer.accept(channel.topic);
    }
    await close(peer, 4003, "");
    await left.leave();
    const joining = room.join();
    const other = socket.channel("room:3");
    other.join();
    await replaced.leave(); // its topic is the other's now
    socket.connect();
    const next = await again();
    assert.deepEqual((await next.frames()).map((frame) => frame[2]).sort(), ["room:1", "room:3"]);
    await next.accept("room:1", { anew: true });
    await next.accept("room:3");
    assert.deepEqual(await joining, { anew: true });
    assert.deepEqual([left, replaced, other].map((channel) => channel.state), ["closed", "closed", "joined"]);
  });

  test(`a listener that joins again when it hears of the refusal waits for connect (${transport})`, async (t) => {
    const { socket, room, peer, again } = await joined(t, transport);
    let joining, pushed;
    const undo = room.onState((state) => {
      if (state !== "closed") return;
      undo();
      joining = outcome(room.join());
      pushed = outcome(room.push("a"));
    });
    await close(peer, 4003, "");
    assert.equal(room.state, "joining");
    socket.connect();
    const next = await again();
    await next.accept("room:1", { anew: true });
    await next.reply(await next.last(), { kept: true });
    assert.deepEqual([await joining, await pushed], [{ anew: true }, { kept: true }]);
  });

  for (const what of ["state", "error", "channel"]) {
    test(`a ${what} listener that connects again when it hears of the refusal is obeyed (${transport})`, async (t) => {
      const { socket, room, peer, sockets, net, again } = await joined(t, transport);
      const other = socket.channel("room:2");
      other.join();
      await peer.accept("room:2");
      const connect = () => socket.state === "refused" && socket.connect();
      if (what === "channel") room.onState(connect);
      else socket.on(what, connect);
      await close(peer, 4003, "");
      assert.deepEqual([socket.state, room.state, other.state], ["connecting", "joining", "joining"]);
      const next = await again();
      for (const topic of ["room:1", "room:2"]) await next.accept(topic);
      assert.deepEqual([room.state, other.state, sockets.length + net.gets.length], ["joined", "joined", 2]);
    });
  }

  test(`a listener that disconnects while connect is being told is obeyed (${transport})`, async (t) => {
    const { socket, room, sockets, net } = await joined(t, transport);
    socket.disconnect();
    const before = sockets.length + net.gets.length;
    for (const listen of [(fn) => room.onState(fn), (fn) => socket.on("state", fn)]) {
      const undo = listen((state) => state !== "closed" && socket.disconnect());
      socket.connect();
      await settle();
      assert.deepEqual([socket.state, room.state, sockets.length + net.gets.length], ["closed", "closed", before]);
      undo();
    }
  });

  test(`one that was replaced does not fight (${transport})`, async (t) => {
    const { socket, room, peer, seen, clock } = await joined(t, transport);
    const heard = [];
    room.onState((state, error) => heard.push([state, error?.code]));
    await peer.say([null, null, "chime", "moved", {}]);
    assert.deepEqual([socket.state, seen.errors[0].code, heard], ["closed", "replaced", [["closed", "replaced"]]]);
    await clock.pass(60_000);
    assert.equal(socket.state, "closed");
  });

  for (const code of [1001, 1007, 1008, 1009, 1011, 1013]) {
    test(`close code ${code} comes back (${transport})`, async (t) => {
      const { socket, peer, clock, again } = await joined(t, transport);
      await close(peer, code, "why");
      await clock.pass(250);
      await again();
      assert.equal(socket.state, "open");
    });
  }

  test(`a drain is followed after the time it names (${transport})`, async (t) => {
    const { socket, peer, clock, sockets, net } = await joined(t, transport);
    const tries = () => sockets.length + net.gets.length;
    await peer.say([null, null, "chime", "drain", { retry_ms: 1_234 }]);
    await clock.pass(100);
    assert.equal(socket.state, "open", "it is the server that closes");
    await close(peer, 1012, "");
    const before = tries();
    await clock.pass(1_483); // and half of what chance adds
    assert.equal(tries(), before);
    await clock.pass(1);
    assert.equal(tries(), before + 1);
  });

  test(`disconnect closes cleanly, and connect brings the channels back (${transport})`, async (t) => {
    const { socket, room, peer, net, ws, again, seen } = await joined(t, transport, { token: "tok" });
    const states = [];
    room.onState((state, error) => states.push([state, error]));
    const sent = outcome(room.push("a"));
    await peer.frames();
    const other = socket.channel("room:2");
    const joining = outcome(other.join());
    await peer.frames();
    socket.disconnect();
    assert.deepEqual([socket.state, socket.transport, room.state, other.state], ["closed", null, "closed", "closed"]);
    assert.deepEqual(seen.states, ["connecting", "open", "closed"]);
    assert.deepEqual([await sent, await joining], ["outcome_unknown, sent", "closed"]);
    await settle();
    if (transport === "websocket") assert.deepEqual([ws().sent.at(-1), ws().closed, net.byes], [[null, null, "chime", "goodbye", {}], 1000, []]);
    else {
      const [bye] = net.byes;
      assert.deepEqual([bye.method, bye.text, bye.headers["Content-Type"], bye.keepalive, new URL(bye.url).pathname], ["POST", secret, "text/plain", true, "/socket/bye"]);
      assert.ok(!peer.down.aborted, "the server would take it for a client that vanished");
      await bye.answer(204);
      assert.ok(peer.down.aborted);
    }
    assert.deepEqual(seen.errors, []);
    socket.disconnect();
    socket.connect();
    const next = await again();
    await next.accept("room:1");
    assert.equal(room.state, "joined");
    assert.deepEqual(states, [["closed", undefined], ["joining", undefined], ["joined", undefined]]);
  });

  test(`listeners may turn the socket off and on again (${transport})`, async (t) => {
    const { socket, peer, clock, again, sockets, net } = await joined(t, transport);
    let once = true;
    socket.on("state", (state) => {
      if (state !== "connecting" || !once) return;
      once = false;
      socket.disconnect();
      socket.connect();
    });
    await peer.drop();
    await again();
    assert.equal(socket.state, "open");
    await clock.pass(1_000);
    assert.equal(socket.state, "open");
    assert.equal(sockets.length + net.gets.length, 2, "the retry that was overtaken does not happen");
  });

  test(`a listener that disconnects on open is obeyed, and the channel is not forgotten (${transport})`, async (t) => {
    const { socket, room, peer, clock, again } = await joined(t, transport);
    const never = outcome(socket.channel("room:2").join());
    const undo = socket.on("state", (state) => state === "open" && socket.disconnect());
    await peer.drop();
    await clock.pass(500);
    await again();
    assert.deepEqual([socket.state, room.state, await never], ["closed", "closed", "closed"]);
    undo();
    socket.connect();
    await (await again()).accept("room:1");
    assert.equal(room.state, "joined");
  });

  test(`a channel that is joined by a listener of open joins once (${transport})`, async (t) => {
    const { socket, net } = begin(t, { transport });
    const room = socket.channel("room:1");
    socket.on("state", (state) => state === "open" && room.join());
    socket.connect();
    const peer = await Peer.meet(net, transport);
    assert.equal((await peer.frames()).length, 1);
  });

  test(`a push made while the loss is being told waits (${transport})`, async (t) => {
    const { socket, room, peer, clock, again } = await joined(t, transport);
    const other = socket.channel("room:2");
    other.join();
    await peer.accept("room:2");
    const pushed = [];
    room.onState((state) => state === "joining" && pushed.push(outcome(other.push("a", { n: 1 }))));
    other.onState((state) => state === "joining" && pushed.push(outcome(room.push("a", { n: 2 }))));
    await peer.drop();
    await clock.pass(500);
    const next = await again();
    for (const topic of ["room:1", "room:2"]) await next.accept(topic);
    for (const frame of (await next.frames()).slice(2)) await next.reply(frame, frame[4]);
    assert.deepEqual(await Promise.all(pushed), [{ n: 1 }, { n: 2 }]);
  });
}

test("a goodbye that does not get through does not hold the stream open", async (t) => {
  const { socket, peer, net, clock } = await joined(t, "sse");
  socket.disconnect();
  await clock.pass(999);
  assert.deepEqual([net.byes.length, peer.down.aborted], [1, false]);
  await clock.pass(1);
  assert.ok(peer.down.aborted);
});

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

test("force switches to a new client socket where the server keeps none, and the channels go on from where they were", async (t) => {
  const { socket, net, ws, seen, sockets } = begin(t);
  const room = socket.channel("room:1");
  const states = [];
  room.onState((state) => states.push(state));
  room.join();
  socket.connect();
  const first = await Peer.meet(net, "websocket");
  await first.accept("room:1", { "@history": { epoch: "e", offset: 4 } });

  socket.force("websocket");
  assert.equal(socket.state, "open", "what is asked for is there already");
  socket.force("sse");
  await settle();
  assert.deepEqual([ws().closed, socket.state, room.state], [null, "open", "joined"], "until the new connection is there");
  const second = await Peer.meet(net, "sse");
  assert.equal(ws().closed, 1000);
  assert.deepEqual((await second.last())[4], { "@since": { epoch: "e", offset: 4 } });
  await second.accept("room:1", { "@history": { epoch: "e", offset: 4, recovered: true } });

  socket.force("auto");
  await settle();
  assert.equal(sockets.length, 2);
  await Peer.meet(net, "websocket");
  assert.equal(net.byes.length, 1);
  assert.deepEqual(seen.transports, ["websocket", "sse", "websocket"]);
  assert.deepEqual(seen.states, ["connecting", "open"]);
  assert.deepEqual(states, ["joining", "joined", "joining", "joined", "joining"]);
  assert.deepEqual(seen.errors, []);
});

test("force while connecting starts anew, and while closed only takes note", async (t) => {
  const { socket, net, ws, sockets } = begin(t);
  socket.force("sse");
  assert.equal(socket.state, "closed");
  socket.connect();
  await settle();
  assert.deepEqual([sockets.length, net.gets.length], [0, 1]);
  socket.force("websocket");
  await settle();
  assert.ok(net.stream.aborted);
  assert.equal(sockets.length, 1);
  await ws().hello();
  assert.equal(socket.transport, "websocket");
});
