// A page is left, put aside, put to sleep or brought back: what becomes of its client socket.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWebSocket, settle } from "./fakes.mjs";
import { begin, joined, keeps, lives, open, shown, transports } from "./setup.mjs";

// page is a browser's window and its document, as far as they are listened to.
function page(t) {
  const listening = new Map();
  const targets = [globalThis, (globalThis.document = { visibilityState: "visible" })].map((it) => {
    const target = new EventTarget();
    it.addEventListener = (type, listener) => { listening.set(type, listener); target.addEventListener(type, listener); };
    it.removeEventListener = (type, listener) => { listening.delete(type); target.removeEventListener(type, listener); };
    return target;
  });
  const beacons = [];
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { sendBeacon: (url, body) => beacons.push([url, body]) && page.beacons } });
  page.beacons = true;
  t.after(() => {
    for (const name of ["addEventListener", "removeEventListener", "document"]) delete globalThis[name];
    if (navigator) Object.defineProperty(globalThis, "navigator", navigator);
    else delete globalThis.navigator;
  });
  const fire = async (type, more) => {
    const [window, document] = targets;
    if (["resume", "visibilitychange"].includes(type)) document.dispatchEvent(new Event(type));
    if (type !== "resume") window.dispatchEvent(Object.assign(new Event(type), more)); // it does not bubble
    await settle();
  };
  return { fire, beacons, listening };
}

for (const transport of transports) {
  test(`a page that goes says goodbye with a beacon (${transport})`, async (t) => {
    const { fire, beacons, listening } = page(t);
    const { socket, peer, net } = await lives(t, transport, { params: { v: 1 } });
    await fire("pagehide", { persisted: false });
    assert.deepEqual(beacons, [["https://chat.test/socket/bye?v=1", "s1"]]);
    assert.deepEqual([socket.state, net.byes, listening.size], ["closed", [], 0]);
    if (transport === "websocket") assert.equal(peer.down.closed, 1000);
    else assert.ok(peer.down.aborted);
  });

  test(`a page whose beacon is not taken posts its goodbye (${transport})`, async (t) => {
    const { fire } = page(t);
    page.beacons = false;
    const { net } = await lives(t, transport);
    await fire("pagehide", { persisted: false });
    assert.deepEqual(net.byes.map(({ text, keepalive }) => [text, keepalive]), [["s1", true]]);
  });

  test(`a page that goes while there is no connection says goodbye (${transport})`, async (t) => {
    const { fire, beacons } = page(t);
    const { peer } = await lives(t, transport);
    await peer.drop();
    await fire("pagehide", { persisted: false });
    assert.equal(beacons.length, 1);
  });

  test(`a page that is put aside keeps its client socket, and goes on when it is shown (${transport})`, async (t) => {
    const { fire, beacons } = page(t);
    const { socket, room, peer, net, clock, states, meet, sockets } = await lives(t, transport);
    const pushed = room.push("a", 1, { timeout: 0 });
    await settle();
    await fire("pagehide", { persisted: true });
    if (transport === "websocket") assert.equal(peer.down.closed, 4000);
    else assert.ok(peer.down.aborted);
    const tries = sockets.length + net.gets.length;
    await clock.pass(60_000);
    assert.deepEqual([socket.state, states, beacons, net.byes, sockets.length + net.gets.length], ["connecting", [], [], [], tries]);
    await fire("pageshow", { persisted: true });
    const again = await meet(transport, { resumed: true, received: 1, sent: 1 });
    assert.equal(shown(again.down), "s1");
    await again.reply(await again.last(), { done: true });
    assert.deepEqual([await pushed, states, socket.state], [{ done: true }, [], "open"]);
  });

  test(`a page that is put aside leaves a server that would not wait for it, and joins again (${transport})`, async (t) => {
    const { fire, beacons } = page(t);
    const { socket, room, again } = await joined(t, transport);
    await fire("pagehide", { persisted: true });
    assert.deepEqual([beacons.length, room.state, socket.state], [1, "joining", "connecting"]);
    await fire("pageshow", { persisted: true });
    await (await again()).accept("room:1");
    assert.equal(room.state, "joined");
  });

  test(`where the connection may be dead it is asked, and replaced if it does not answer (${transport})`, async (t) => {
    const { fire } = page(t);
    const { socket, peer, clock, resume, states, net } = await lives(t, transport);
    const first = peer.probes.length; // that proved it
    peer.mute();
    const probes = async () => (await peer.frames(), peer.probes.slice(first));
    document.visibilityState = "hidden";
    await fire("visibilitychange");
    await fire("offline");
    await fire("pageshow", { persisted: false });
    assert.deepEqual(await probes(), []);
    document.visibilityState = "visible";
    for (const type of ["online", "visibilitychange", "resume"]) {
      await fire(type);
      await fire(type);
      const [, , topic, , { nonce }] = (await probes()).at(-1);
      assert.equal(topic, "chime");
      await clock.pass(1_999);
      await peer.say([null, null, "chime", "probe_ok", { nonce }]);
    }
    assert.equal((await probes()).length, 3);
    await clock.pass(2_000);
    assert.equal(socket.state, "open");
    await fire("online");
    await clock.pass(1_999);
    assert.equal(socket.state, "open");
    await clock.pass(1);
    assert.equal(socket.state, "connecting");
    peer.mute(false);
    const again = await resume();
    assert.deepEqual([socket.state, states, (await again.frames())], ["open", [], []], "the probe is not sent again");
  });

  for (const type of ["online", "visibilitychange", "resume"]) {
    test(`${type} ends the wait for the next attempt, unless the server has named a time (${transport})`, async (t) => {
      const { fire } = page(t);
      const { peer, sockets, net, clock, meet } = await lives(t, transport);
      await peer.drop();
      const tries = () => sockets.length + net.gets.length;
      await fire(type);
      assert.equal(tries(), 2);
      const next = await meet(transport, { resumed: true, received: 1, sent: 1 });
      await next.say([null, null, "chime", "drain", { retry_ms: 3_000 }]);
      await next.close(1012, "drain");
      await clock.pass(2_999);
      await fire(type);
      assert.equal(tries(), 2);
      await clock.pass(1);
      await fire(type);
      assert.equal(tries(), 3);
    });
  }

  test(`a server that keeps no client sockets is not asked (${transport})`, async (t) => {
    const { fire } = page(t);
    const { socket, clock, peer } = await open(t, transport);
    await fire("online");
    await clock.pass(10_000);
    assert.deepEqual([socket.state, await peer.frames()], ["open", []]);
  });

  test(`after a sleep the connection is asked, not judged (${transport})`, async (t) => {
    const { socket, peer, clock, states } = await lives(t, transport);
    const sleep = async (ms) => {
      t.mock.timers.setTime(Date.now() + ms);
      await clock.pass(1); // now all that was due meanwhile is late
    };
    peer.mute();
    await clock.pass(1_000);
    await sleep(3_600_000);
    assert.equal(socket.state, "open");
    await peer.frames();
    await peer.say([null, null, "chime", "probe_ok", {}]);
    await clock.pass(14_000);
    await peer.say([null, null, "chime", "heartbeat", { sent: 1, received: 1 }]);
    assert.equal(socket.state, "open");
    await clock.pass(1_000);
    await sleep(3_600_000);
    await clock.pass(2_000);
    assert.deepEqual([socket.state, states], ["connecting", []]);
  });
}

for (const [transport, more] of [["websocket", ["websocket", "sse", "websocket"]], ["sse", ["sse", "sse"]]]) {
  test(`a page that comes online with a token that has grown old is back half a second later (${transport})`, async (t) => {
    const { fire } = page(t);
    let old = false;
    const { socket, room, peer, net, clock, sockets, states, meet } = await lives(t, transport, { token: (refused) => (old && !refused ? "old" : "new") });
    const requests = () => socket.diagnosis.attempts.map(({ transport: name }) => name);
    await peer.drop();
    for (let tries = 0; tries < 6; tries++) { // the network is gone
      await clock.pass(4_000);
      for (const one of sockets) if (one.readyState === 0) await one.drop();
      for (const one of net.gets.slice(1)) if (!one.answered && !one.aborted) await one.fail();
    }
    while (hanging(sockets, net)) await clock.pass(250);
    const pushed = room.push("a", 1, { timeout: 0 });
    old = true;
    const [before, at] = [requests().length, Date.now()];
    await fire("online");
    if (transport === "websocket") await sockets.at(-1).drop();
    await net.stream.answer(401, { reason: "expired" });
    old = false;
    await clock.pass(500);
    assert.deepEqual([requests().slice(before), Date.now() - at], [more, 500]);
    const next = await meet(transport, { resumed: true, received: 1, sent: 1 });
    await next.reply(await next.last(), { done: true });
    assert.deepEqual([await pushed, socket.state, states], [{ done: true }, "open", []]);
  });
}

// started has when each connection of a socket that woke up at `at` started, in seconds after that.
const started = (socket, at) => socket.diagnosis.attempts.filter((attempt) => attempt.at >= at).map(({ transport, at: then }) => `${transport} ${(then - at) / 1_000}`);
const opening = (sockets) => sockets.filter(({ readyState }) => readyState === 0).length;
const hanging = (sockets, net) => opening(sockets) + net.gets.filter(({ aborted }) => !aborted).length;

for (const [transport, kinds] of [["auto", ["websocket", "websocket", "websocket", "sse", "websocket", "sse", "websocket", "sse"]], ["sse", Array(6).fill("sse")]]) {
  test(`a page that woke up to connections that hang gives up the oldest for another (${transport})`, async (t) => {
    const { fire } = page(t);
    const { socket, peer, net, clock, sockets, seen } = await lives(t, transport === "auto" ? "websocket" : transport, { transport });
    peer.mute();
    await clock.pass(1);
    const at = Date.now();
    await fire("online");
    for (let ms = 0; ms < 16_000; ms += 250) {
      await clock.pass(250);
      assert.ok(hanging(sockets, net) <= 4 + (ms < 2_000), `${hanging(sockets, net)} after ${ms} ms`);
      assert.ok(opening(sockets) <= 1, "a browser opens one WebSocket after the other");
      if (ms === 4_000 && transport === "sse") assert.equal(hanging(sockets, net), 4, "streams open beside each other");
    }
    assert.deepEqual(started(socket, at).slice(0, kinds.length), kinds.map((kind, n) => `${kind} ${[0.5, 1.5, 2.5, 3.5, 5.5, 7.5, 9.5, 11.5][n]}`));
    assert.deepEqual(seen.errors, []);
    peer.mute(false);
    const next = net.gets.findLast(({ aborted }) => !aborted);
    await next.hello({ grace_ms: 15_000, resumed: true, received: 1, sent: 1 });
    assert.deepEqual([socket.state, hanging(sockets, net)], ["open", 1]);
  });
}

test("a page that woke up does not wait for what the network refuses, or does not carry", async (t) => {
  const { fire } = page(t);
  const { socket, peer, net, sockets } = await lives(t, "websocket", { transport: "auto" });
  await peer.drop();
  await fire("online");
  await sockets.at(-1).drop();
  assert.deepEqual([sockets.length, net.gets.length], [2, 1], "the stream's turn");
  await net.stream.fail();
  assert.deepEqual([socket.state, sockets.length, net.gets.length], ["connecting", 2, 1], "not at once again");
});

test("a page that woke up tries the stream beside a WebSocket that opens and carries one way", async (t) => {
  const { fire } = page(t);
  const { socket, peer, clock, ws } = await lives(t, "websocket", { transport: "auto" });
  FakeWebSocket.mute = true;
  t.after(() => (FakeWebSocket.mute = false));
  await clock.pass(1);
  const at = Date.now();
  await peer.drop();
  await fire("online");
  await ws().hello({ ...keeps, resumed: true, received: 1, sent: 1 });
  await clock.pass(2_000);
  assert.deepEqual(started(socket, at), ["websocket 0", "sse 1"], "neither is tried again");
});

test("a connection that breaks when the page has woken up is replaced in the same hurry", async (t) => {
  const { fire } = page(t);
  const { socket, peer, clock, sockets } = await lives(t, "websocket", { transport: "auto" });
  await clock.pass(1);
  const at = Date.now();
  await fire("resume");
  await peer.drop(); // as Chromium does with one of a page that was frozen
  await clock.pass(3_000);
  assert.deepEqual(started(socket, at), ["websocket 0.25", "websocket 1.25", "websocket 2.25"]);
  assert.deepEqual(sockets.map(({ readyState }) => readyState), [3, 3, 3, 0]);
});

for (const [ms, kinds] of [[9_500, ["websocket 9.75", "websocket 10.75"]], [10_000, ["websocket 10.25", "sse 12.25"]]]) {
  test(`a page that woke up ${ms} ms ago hurries ${ms < 10_000 ? "still" : "no more"}`, async (t) => {
    const { fire } = page(t);
    const { socket, peer, clock } = await lives(t, "websocket", { transport: "auto" });
    await clock.pass(1);
    const at = Date.now();
    peer.mute();
    await fire("online");
    await clock.pass(1);
    await peer.say([null, null, "chime", "probe_ok", {}]);
    await clock.pass(ms - 1);
    await peer.drop();
    await clock.pass(2_250);
    assert.deepEqual(started(socket, at).slice(0, 2), kinds);
  });
}

test("a page that wakes up while connections hang has more of them, in a hurry", async (t) => {
  const { fire } = page(t);
  const { socket, peer, clock } = await lives(t, "websocket", { transport: "auto" });
  await clock.pass(1);
  const at = Date.now();
  await peer.drop();
  await clock.pass(3_000);
  await fire("visibilitychange");
  await clock.pass(8_500);
  assert.deepEqual(started(socket, at), ["websocket 0.25", "sse 2.25", "websocket 4", "websocket 5", "websocket 7", "sse 9", "websocket 11"]);
});

test("where the server is far away a page that woke up waits for four times the way there and back", async (t) => {
  const { fire } = page(t);
  FakeWebSocket.mute = true;
  t.after(() => (FakeWebSocket.mute = false));
  const { socket, ws, clock } = begin(t, { transport: "websocket" });
  socket.connect();
  await settle();
  await ws().hello(keeps);
  await clock.pass(1_000);
  await ws().say([null, null, "chime", "probe_ok", ws().probes[0][4]]);
  const at = Date.now();
  await fire("online");
  await clock.pass(4_500);
  assert.deepEqual(started(socket, at), ["websocket 0.5", "websocket 4.5"]);
});

test("a probe overtakes the pause between two POSTs", async (t) => {
  const { fire } = page(t);
  const { room, net, clock } = await lives(t, "sse");
  room.push("a").catch(() => {});
  await settle();
  for (let tries = 0; tries < 3; tries++) {
    await net.post.answer(502);
    await clock.pass(125 * 2 ** tries);
  }
  await net.post.answer(502);
  const before = net.posts.length;
  await fire("online");
  assert.equal(net.posts.length, before + 1);
});
