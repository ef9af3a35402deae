// What may be pushed and listened to, and what a push is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Peer, settle } from "./fakes.mjs";
import { begin, each, joined, open, outcome } from "./setup.mjs";

each("push resolves with its own reply, in whatever order they come", async (t, transport) => {
  const { room, peer, joinRef } = await joined(t, transport);
  const [one, two, three] = [room.push("a", { n: 1 }), room.push("b"), room.push("c", null)];
  two.catch(() => {});
  const frames = (await peer.frames()).slice(1);
  assert.deepEqual(frames.map(([jr, , topic, event, payload]) => [jr, topic, event, payload]),
    [[joinRef, "room:1", "a", { n: 1 }], [joinRef, "room:1", "b", {}], [joinRef, "room:1", "c", null]]);
  await peer.reply(frames[2], { c: true });
  await peer.reply(frames[0], { a: true });
  await peer.reply(frames[1], { reason: "no" }, "error");
  await peer.reply(frames[0], { late: true });
  assert.deepEqual(await one, { a: true });
  assert.deepEqual(await three, { c: true });
  await assert.rejects(two, { name: "ChimeError", code: "error", response: { reason: "no" }, sent: true, message: "room:1 b: no" });
});

each("a payload is what it was when it was pushed", async (t, transport) => {
  const { socket, peer } = await open(t, transport);
  const room = socket.channel("room:1");
  room.join();
  const payload = { list: [1] };
  room.push("a", payload).catch(() => {});
  payload.list.push(2);
  await peer.accept("room:1");
  assert.deepEqual((await peer.last())[4], { list: [1] });
});

each("pushes made before the join wait for it and keep their order", async (t, transport) => {
  const { socket, peer } = await open(t, transport);
  const room = socket.channel("room:1");
  room.join();
  for (let n = 0; n < 250; n++) room.push("n", { n }).catch(() => {});
  assert.equal((await peer.frames()).length, 1);
  await peer.accept("room:1");
  const frames = (await peer.frames()).slice(1);
  assert.deepEqual(frames.map((frame) => frame[4].n), Array.from({ length: 250 }, (_, n) => n));
});

each("a push is refused at once when there is nothing it could wait for", async (t, transport) => {
  const { socket, room } = await joined(t, transport);
  assert.equal(await outcome(socket.channel("room:2").push("a")), "closed");
  await assert.rejects(room.push("a", () => {}), TypeError);
  const loop = {};
  loop.loop = loop;
  await assert.rejects(room.push("a", loop), TypeError);
  assert.equal(await outcome(room.push("a", "x".repeat(70_000))), "too_large");
  const waiting = Array.from({ length: 500 }, () => outcome(room.push("a")));
  assert.equal(await outcome(room.push("a")), "full");
  socket.disconnect();
  for (const how of await Promise.all(waiting)) assert.match(how, /^(closed|outcome_unknown, sent)$/);
});

// What the server could not take would end the client socket, and so the joins of all channels.
const names = ["", "a\nb", "\u0085", "\u2028", "\ud800", "é".repeat(128), undefined, null, 1, Symbol("a"), {}];

test("a topic is what the server takes for one, and not the protocol's own", (t) => {
  const { socket } = begin(t);
  for (const topic of [...names, "chime", "phoenix"]) assert.throws(() => socket.channel(topic), TypeError, JSON.stringify(topic));
  for (const topic of ["chime:1", "комната:日本語🎈", "x".repeat(255)]) assert.equal(socket.channel(topic).topic, topic);
});

each("what is pushed by mistake is a TypeError, and costs nothing else", async (t, transport) => {
  const { socket, room, peer } = await joined(t, transport);
  for (const event of [...names, "phx_leave"]) await assert.rejects(room.push(event), TypeError, String(event));
  for (const options of [null, 1_000, { timeuot: 1 }, { timeout: "1" }, { timeout: null }, { timeout: -1 }, { timeout: NaN }]) {
    await assert.rejects(room.push("a", {}, options), TypeError, JSON.stringify(options));
  }
  const deep = Array.from({ length: 50_000 }).reduce((inner) => [inner], 0);
  for (const payload of [() => {}, 1n, { toJSON: () => { throw new Error("oops"); } }, deep]) await assert.rejects(room.push("a", payload), TypeError);
  for (const base64 of ["?", "3q2-7w==", "3q2+7w", "3q2+7w===", "\"", "===="]) await assert.rejects(room.push("a", { "@binary": base64 }), TypeError, base64);
  for (const text of ["3q2+7w==", "3q2+\r\n7w==", ""]) room.push("a", { "@binary": text }).catch(() => {});
  for (const payload of [{ "@binary": "?", more: 1 }, { "@binary": 1 }]) room.push("a", payload).catch(() => {});
  assert.deepEqual([room.state, socket.state, (await peer.frames()).length], ["joined", "open", 6]);
});

test("a listener is a function, of what can come", (t) => {
  const room = begin(t).socket.channel("room:1");
  for (const fn of [undefined, null, "fn"]) {
    for (const listen of [() => room.on("a", fn), () => room.onState(fn), () => room.onGap(fn)]) assert.throws(listen, TypeError);
  }
  for (const event of [...names, "phx_error"]) assert.throws(() => room.on(event, () => {}), TypeError, String(event));
});

each("a payload is nested no deeper than the server reads it in a POST", async (t, transport) => {
  const { socket, room, peer } = await joined(t, transport);
  const { stringify } = JSON;
  t.mock.method(JSON, "stringify", (value) => value?.json ?? stringify(value)); // not every Node has the stack for so deep an array
  const levels = (n, inner = "") => ({ json: "[".repeat(n) + inner + "]".repeat(n) });
  for (const payload of [levels(9_998), levels(9_997, '{"]\\"]":"}"}'), levels(40_000)]) await assert.rejects(room.push("a", payload), TypeError);
  await assert.rejects(socket.channel("room:2", levels(9_998)).join(), TypeError);
  for (const payload of [levels(9_997), levels(9_996, '{"[\\"[":"{"}'), Array(20_000).fill([]), '"['.repeat(10_000)]) room.push("a", payload).catch(() => {});
  assert.deepEqual([room.state, socket.state, (await peer.frames()).length], ["joined", "open", 5]);
});

each("a join whose params are no payload rejects, and the others go on", async (t, transport) => {
  const { socket, room } = await joined(t, transport);
  for (const params of [{ n: 1n }, { "@binary": "?" }]) await assert.rejects(socket.channel("room:2", params).join(), TypeError);
  assert.deepEqual([room.state, socket.state], ["joined", "open"]);
});

// What fits no POST fails on a WebSocket too: the client may come back on a stream, which would have to send it again.
for (const limits of [{ message_bytes: 1_000, batch_bytes: 2_000 }, { message_bytes: 2_000, batch_bytes: 1_000 }]) {
  each(`what is too large for the server fails alone, and is not sent: ${JSON.stringify(limits)}`, async (t, transport) => {
    const { socket, net } = begin(t, { transport });
    socket.connect();
    const peer = await Peer.meet(net, transport, { limits });
    const [room, large] = [socket.channel("room:1"), socket.channel("room:2", { text: "x".repeat(1_000) })];
    room.join();
    const waits = outcome(room.push("a", "é".repeat(500)));
    assert.equal(await outcome(large.join()), "too_large");
    await peer.accept("room:1");
    assert.equal(await waits, "too_large");
    assert.equal(await outcome(room.push("a", "é".repeat(500))), "too_large");
    const last = room.push("a", "x".repeat(800));
    const frames = await peer.frames();
    assert.deepEqual(frames.map((frame) => [frame[2], frame[3]]), [["room:1", "phx_join"], ["room:1", "a"]]);
    await peer.reply(frames[1], { ok: true });
    assert.deepEqual([await last, room.state, large.state, socket.state], [{ ok: true }, "joined", "closed", "open"]);
    if (transport === "sse") assert.deepEqual(net.posts.map(({ body }) => body.first), [1, 2], "what failed had no number");
  });
}

each("a push without an answer times out, sent or not", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport);
  const quick = outcome(room.push("a", {}, { timeout: 1_000 }));
  const slow = outcome(room.push("a"));
  const never = room.push("a", {}, { timeout: 0 });
  const patient = [Infinity, 2 ** 31].map((timeout) => room.push("a", {}, { timeout }));
  const frames = (await peer.frames()).slice(1);
  await clock.pass(1_000);
  assert.equal(await quick, "timeout, sent");
  await peer.reply(frames[0], {}); // too late, and harmless
  await clock.pass(19_000);
  assert.equal(await slow, "timeout, sent");
  await clock.pass(10_000);
  await peer.reply(frames[2], { at: "last" });
  assert.deepEqual(await never, { at: "last" });
  for (const frame of frames.slice(3)) await peer.reply(frame);
  assert.deepEqual(await Promise.all(patient), [{}, {}]);

  await peer.drop();
  assert.equal(await Promise.race([outcome(room.push("lost", {}, { timeout: 100 })), clock.pass(100).then(settle)]), "timeout");
  await clock.pass(500);
  const next = await again();
  await next.accept("room:1");
  assert.equal((await next.frames()).length, 1, "a push that timed out is not sent later");
});

each("a lost connection tells what was sent from what was not", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport);
  const sent = outcome(room.push("a", { n: 1 }));
  await peer.frames();
  await peer.drop();
  assert.equal(await sent, "outcome_unknown, sent");
  assert.equal(room.state, "joining");
  const waited = room.push("a", { n: 2 });
  await clock.pass(500);
  const next = await again();
  await next.accept("room:1");
  const frame = await next.last();
  assert.deepEqual(frame[4], { n: 2 });
  await next.reply(frame, { kept: true });
  assert.deepEqual(await waited, { kept: true });
});

each("a key goes with the payload, and is one", async (t, transport) => {
  const { room, peer } = await joined(t, transport);
  const again = room.push("say", { text: "hi", list: ["}"] }, { key: 'k "1"' });
  room.push("say", {}, { key: "é" }).catch(() => {});
  const frames = (await peer.frames()).slice(-2);
  assert.deepEqual(frames.map((frame) => frame[4]), [{ "@key": 'k "1"', text: "hi", list: ["}"] }, { "@key": "é" }]);
  const refused = assert.rejects(again, { code: "error", sent: true });
  await peer.reply(frames[0], { reason: "key is that of another message" }, "error");
  await refused;
  for (const key of ["", "a\nb", "é".repeat(128), null, 7, {}]) await assert.rejects(room.push("say", {}, { key }), TypeError);
  for (const payload of [null, [1], "x", { "@binary": "3q2+7w==" }]) await assert.rejects(room.push("say", payload, { key: "k" }), /an object/);
});
