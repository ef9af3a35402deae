// What an application is told of a network or a server that does not let it through, and how often.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWebSocket, Peer, settle } from "./fakes.mjs";
import { begin, joined, outcome, transports } from "./setup.mjs";

const html = { "Content-Type": "text/html" };

for (const [what, token, answer, status, hint] of [
  ["a header that is too large", "x".repeat(9_000), [400, "<html>", html], 400, /the token has 9000 bytes: many proxies take 8 KB of headers/],
  ["the same by its own status", "x".repeat(9_000), [431, ""], 431, /many proxies take 8 KB of headers/],
  ["a login page", "t", [200, "<html>Log in", html], 200, /a page answered: a login, or a proxy/],
  ["a redirect", "t", [302, "", { Location: "/login" }], 302, /a redirect is not followed: a login page?/],
  ["a path that nobody serves", "t", [404, "not found"], 404, /no Router is mounted there/],
  ["a path that leads nowhere, whatever the token", "x".repeat(9_000), [404, ""], 404, /no Router is mounted there/],
  ["a method that is not allowed", "t", [405, ""], 405, /refuses the method/],
  ["too many requests", "t", [429, { reason: "too many requests" }], 429, /sse: too many requests/],
  ["a failure of the server", "t", [500, "oops"], 500, /see the log of the server/],
]) {
  test(`${what} is named, once`, async (t) => {
    const { socket, net, ws, seen, clock } = begin(t, { token });
    socket.connect();
    for (let left = 60_000; left > 0; left -= 250) {
      await settle();
      if (ws().readyState === 0) await ws().drop();
      for (const get of net.gets) if (!get.answered) await get.answer(...answer);
      await clock.pass(250);
    }
    assert.ok(net.gets.length > 4);
    assert.equal(seen.errors.length, 1);
    const [error] = seen.errors;
    assert.deepEqual([error.code, error.status, error.transport], ["unreachable", status, "sse"]);
    assert.match(error.message, hint);
    assert.ok(!error.message.includes(token.repeat(2)), "the token is in no message");
  });
}

for (const [status, hint] of [[403, /a CSRF check or firewall refuses POSTs/], [405, /refuses the method/], [415, /refuses the Content-Type/], [500, /see the log of the server/]]) {
  test(`a stream whose POSTs are answered with ${status} is not open, and the application is told why, once`, async (t) => {
    const { socket, net, seen, clock } = begin(t, { transport: "sse" });
    net.mute = true;
    const join = outcome(socket.channel("room:1").join());
    const greeted = new Set();
    for (let left = 60_000; left > 0; left -= 250) {
      await settle();
      for (const get of net.gets) if (!greeted.has(get) && !get.aborted) await (greeted.add(get), get.hello());
      for (const post of net.posts) if (!post.answered) await post.answer(status, "<html>", html);
      assert.notEqual(socket.state, "open");
      await clock.pass(250);
    }
    assert.deepEqual(seen.errors.map((error) => [error.code, error.status, error.transport]), [["unreachable", status, "sse"]]);
    assert.match(seen.errors[0].message, hint);
    assert.equal(await join, "timeout", "and no join stays without an answer");
  });
}

test("the same cause is told again after a connection that worked", async (t) => {
  const { socket, net, seen, clock } = begin(t, { transport: "sse" });
  socket.connect();
  for (let outage = 0; outage < 2; outage++) {
    for (let tries = 0; tries < 2; tries++) {
      await settle();
      await net.stream.answer(502);
      await clock.pass(1_000);
    }
    await net.stream.hello();
    assert.equal(socket.state, "open");
    await net.stream.drop();
    await clock.pass(1_000);
  }
  assert.equal(seen.errors.length, 2);
});

test("without a listener of errors there is one warning for each cause", async (t) => {
  const { net } = begin(t);
  const { Socket } = await import("../chime.js");
  const warn = t.mock.method(console, "warn", () => {});
  const socket = new Socket("https://chat.test/socket", { transport: "sse", fetch: net.fetch });
  t.after(() => socket.disconnect());
  socket.connect();
  for (let tries = 0; tries < 3; tries++) {
    await settle();
    await net.stream.answer(404);
    t.mock.timers.tick(20_000);
  }
  assert.equal(warn.mock.callCount(), 1);
  assert.match(warn.mock.calls[0].arguments[0], /^chime: unreachable: sse: answered with status 404/);
});

for (const [host, hint] of [
  ["192.168.1.5:4000", "the browser denies https://page.test local network access to 192.168.1.5:4000"],
  ["printer.local:4000", "the browser denies https://page.test local network access to printer.local:4000"],
  ["chat.test", "if the server is up, its WithOrigins may not name https://page.test"],
]) test(`a browser that denies the local network is named instead of WithOrigins (${host})`, async (t) => {
  globalThis.location = { origin: "https://page.test" };
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { permissions: { query: async ({ name }) => ({ state: name === "local-network-access" ? "denied" : "granted" }) } } });
  t.after(() => {
    delete globalThis.location;
    if (navigator) Object.defineProperty(globalThis, "navigator", navigator);
    else delete globalThis.navigator;
  });
  const { net } = begin(t);
  const { Socket } = await import("../chime.js");
  const errors = [];
  const socket = new Socket(`http://${host}/socket`, { token: () => "t", WebSocket: FakeWebSocket, fetch: net.fetch });
  t.after(() => socket.disconnect());
  socket.on("error", (error) => errors.push(error));
  socket.connect();
  await settle();
  await FakeWebSocket.last.drop();
  await net.stream.fail();
  assert.ok(errors[0].message.endsWith(`; ${hint}`), errors[0].message);
  assert.equal(net.gets.length, 1, "a stream that was not refused is not asked for again");
});

// refuses answers an attempt with a status; a browser's WebSocket does not say it, so a stream is asked.
async function refuses({ net }, transport, status) {
  await settle();
  if (transport === "websocket") await FakeWebSocket.last.drop();
  await net.stream.answer(status, { reason: "expired" });
}

for (const transport of transports) {
  test(`a refused token of a function is asked for again after 0.5 and 2 s, and nothing is lost (${transport})`, async (t) => {
    let calls = 0;
    const told = [];
    const all = await joined(t, transport, { token: (refused) => (told.push(refused), `t${++calls}`) });
    const { socket, net, clock, seen } = all;
    const states = [];
    all.room.onState((state) => states.push(state));
    socket.disconnect();
    socket.connect();
    const peer = await Peer.meet(net, transport, { grace_ms: 15_000, secret: "s1" });
    await peer.accept("room:1");
    states.length = 0;
    const pushed = all.room.push("a", 1, { timeout: 0 });
    const frame = await peer.last();
    await peer.drop();
    await clock.pass(250);
    const before = calls;
    await refuses(all, transport, 401);
    assert.equal(socket.state, "connecting");
    await clock.pass(499);
    assert.equal(calls, before);
    await clock.pass(1);
    assert.equal(calls, before + 1);
    await refuses(all, transport, 401);
    await clock.pass(2_000);
    assert.equal(calls, before + 2);
    assert.deepEqual(told.slice(-3), [false, true, true]);
    const next = await Peer.meet(net, transport, { grace_ms: 15_000, secret: "s2", resumed: true, received: 2, sent: 1 });
    await next.reply(frame, { kept: true });
    assert.deepEqual([await pushed, states, socket.state, seen.errors], [{ kept: true }, [], "open", []]);
    for (let refusals = 0; refusals < 3; refusals++) {
      if (!refusals) await next.drop();
      await clock.pass(2_000);
      assert.equal(told.at(-1), refusals > 0);
      await refuses(all, transport, 401);
    }
    assert.deepEqual([socket.state, seen.errors.map(({ code, status }) => [code, status])], ["refused", [["refused", 401]]]);
  });
}

test("a token that is no function is refused at once, and so is a 403", async (t) => {
  for (const [token, status] of [["t", 401], [() => "t", 403]]) {
    const all = begin(t, { transport: "sse", token });
    all.socket.connect();
    await refuses(all, "sse", status);
    assert.equal(all.socket.state, "refused");
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});
