// A page is left, put aside, put to sleep or brought back: what becomes of its client socket.
import assert from "node:assert/strict";
import { test } from "node:test";
import { settle } from "./fakes.mjs";
import { joined, lives, open, shown, transports } from "./setup.mjs";

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
