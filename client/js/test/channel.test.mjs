// What a channel does, which is the same over every transport.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ChimeError } from "../chime.js";
import { Peer, settle } from "./fakes.mjs";
import { begin, joined, open, outcome, transports } from "./setup.mjs";

function each(name, fn) {
  for (const transport of transports) test(`${name} (${transport})`, (t) => fn(t, transport));
}

const history = (more) => ({ "@history": { epoch: "e1", offset: 40, ...more } });

each("a channel may be joined before the socket is connected", async (t, transport) => {
  const { socket, net } = begin(t, { transport });
  const room = socket.channel("room:1", { name: "Ann" });
  const joining = room.join();
  assert.equal(room.state, "joining");
  socket.connect();
  const peer = await Peer.meet(net, transport); // the fakes throw at anything sent before hello
  await peer.accept("room:1", { ok: true });
  assert.deepEqual(await joining, { ok: true });
});

each("a join connects a socket that never was, and after disconnect waits for connect", async (t, transport) => {
  const { socket, net, clock, sockets } = begin(t, { transport });
  const room = socket.channel("room:1");
  const joining = room.join();
  await (await Peer.meet(net, transport)).accept("room:1", { ok: true });
  assert.deepEqual([await joining, socket.state], [{ ok: true }, "open"]);
  socket.disconnect();
  const later = room.join();
  await clock.pass(19_999);
  assert.deepEqual([socket.state, room.state, sockets.length + net.gets.length], ["closed", "joining", 1]);
  await clock.pass(1);
  await assert.rejects(later, { code: "timeout", message: "room:1 phx_join: no answer within 20000 ms: the socket is closed: connect() is needed; joining goes on" });
  const last = room.join({ timeout: 0 });
  await clock.pass(120_000);
  socket.connect();
  await (await Peer.meet(net, transport)).accept("room:1", { ok: 2 });
  assert.deepEqual([await last, room.state], [{ ok: 2 }, "joined"]);
});

each("join resolves with the reply, without what is the module's own", async (t, transport) => {
  const { room, joinReply, peer } = await joined(t, transport, { params: { name: "Ann" }, response: { topic: "tea", ...history() } });
  assert.deepEqual(joinReply, { topic: "tea" });
  assert.equal(room.state, "joined");
  const [joinRef, ref, topic, event, payload] = (await peer.frames())[0];
  assert.equal(joinRef, ref);
  assert.deepEqual([topic, event, payload], ["room:1", "phx_join", { name: "Ann" }]);
});

each("params may be a function, called at each join", async (t, transport) => {
  let calls = 0;
  const { peer, clock, again } = await joined(t, transport, { params: () => ({ call: ++calls }) });
  assert.deepEqual((await peer.frames())[0][4], { call: 1 });
  await peer.drop();
  await clock.pass(500);
  assert.deepEqual((await (await again()).frames())[0][4], { call: 2 });
});

each("a refused join rejects with the server's answer and is not tried again", async (t, transport) => {
  const { socket, peer, clock } = await open(t, transport);
  const room = socket.channel("room:1");
  const states = [];
  room.onState((state, error) => states.push([state, error?.code]));
  const joining = room.join();
  const frame = await peer.last();
  await peer.reply([null, ...frame.slice(1)], { reason: "full" }, "error"); // as unmatched topics are answered: without join_ref
  await assert.rejects(joining, (error) => {
    assert.ok(error instanceof ChimeError && error instanceof Error);
    assert.deepEqual([error.code, error.response], ["refused", { reason: "full" }]);
    return true;
  });
  assert.deepEqual(states, [["joining", undefined], ["closed", "refused"]]);
  await clock.pass(15_000);
  assert.equal((await peer.frames()).length, 1);
});

each("a join that crashed rejects the first time, and is tried again later", async (t, transport) => {
  const first = await open(t, transport);
  const room = first.socket.channel("room:1");
  const joining = room.join();
  await first.peer.reply(await first.peer.last(), { reason: "join crashed" }, "error");
  assert.equal(await outcome(joining), "error, sent");
  assert.equal(room.state, "closed");

  const again = room.join();
  const joinRef = await first.peer.accept("room:1");
  await again;
  await first.peer.say([joinRef, joinRef, "room:1", "phx_error", { reason: "channel_crash" }]);
  await first.clock.pass(250);
  await first.peer.reply(await first.peer.last(), { reason: "join crashed" }, "error");
  assert.equal(room.state, "joining");
  await first.clock.pass(500);
  await first.peer.accept("room:1");
  assert.equal(room.state, "joined");
});

each("a join beyond the server's rate is tried again later, the first time too", async (t, transport) => {
  const { socket, peer, clock } = await open(t, transport);
  const room = socket.channel("room:1");
  const joining = room.join();
  await peer.reply(await peer.last(), { reason: "rate_limited" }, "error");
  assert.equal(room.state, "joining");
  await clock.pass(500);
  await peer.accept("room:1");
  await joining;
  assert.equal(room.state, "joined");
});

each("join while joining or joined gives the same promise", async (t, transport) => {
  const { room, joinReply, peer } = await joined(t, transport, { response: { ok: 1 } });
  assert.equal(room.join(), room.join());
  assert.deepEqual(await room.join(), joinReply);
  assert.equal((await peer.frames()).length, 1);
});

each("a topic is joined by one channel at a time", async (t, transport) => {
  const { socket, room } = await joined(t, transport);
  const other = socket.channel("room:1");
  assert.equal(await outcome(other.join()), "duplicate");
  assert.equal(other.state, "closed");
  assert.equal(room.state, "joined");
});

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

each("messages reach their listeners in order, with what is known of them", async (t, transport) => {
  const { room, peer, joinRef, heard } = await joined(t, transport);
  const own = [];
  const undo = room.on("new", (payload, meta) => own.push([payload, meta]));
  await peer.say(
    [joinRef, null, "room:1", "pushed", { n: 1 }],
    [null, null, "room:1", "new", { n: 2 }],
    [null, null, "room:2", "new", { not: "ours" }],
    [null, "@7", "room:1", "new", { n: 3 }],
  );
  undo();
  await peer.say([null, null, "room:1", "new", { n: 4 }]);
  assert.deepEqual(heard, [["pushed", { n: 1 }, null], ["new", { n: 2 }, null], ["new", { n: 3 }, 7], ["new", { n: 4 }, null]]);
  assert.deepEqual(own, [[{ n: 2 }, { event: "new", offset: null }], [{ n: 3 }, { event: "new", offset: 7 }]]);
});

each("a listener that is added while a message is handed out gets the next one", async (t, transport) => {
  const { room, peer } = await joined(t, transport);
  const got = [];
  const add = (depth) => room.on("m", ({ n }) => {
    got.push([depth, n]);
    if (depth < 3) add(depth + 1);
  });
  const undo = add(0);
  await peer.say([null, null, "room:1", "m", { n: 1 }]);
  undo();
  await peer.say([null, null, "room:1", "m", { n: 2 }]);
  assert.deepEqual(got, [[0, 1], [1, 2]]);
});

each("the code behind an await runs before the next message is handed out", async (t, transport) => {
  const { socket, peer } = await open(t, transport);
  const room = socket.channel("room:1");
  const order = [];
  const app = (async () => {
    await room.join();
    room.on("m", () => order.push("message"));
    await room.push("a");
    order.push("reply");
  })();
  const [joinRef, ref] = await peer.last();
  await peer.say([joinRef, ref, "room:1", "phx_reply", { status: "ok", response: {} }], [null, null, "room:1", "m", {}]);
  const frame = await peer.last();
  await peer.say([frame[0], frame[1], "room:1", "phx_reply", { status: "ok", response: {} }], [null, null, "room:1", "m", {}]);
  await app;
  assert.deepEqual(order, ["message", "reply", "message"]);
});

each("a listener that throws harms nothing and is reported", async (t, transport) => {
  const { room, peer, heard, seen } = await joined(t, transport, { response: history() });
  const after = [];
  room.on("m", () => { throw new Error("oops"); });
  room.on("m", (payload) => after.push(payload.n));
  await peer.say([null, "@41", "room:1", "m", { n: 1 }], [null, "@42", "room:1", "m", { n: 2 }]);
  assert.deepEqual(after, [1, 2]);
  assert.equal(heard.length, 2);
  assert.deepEqual(room.position, { epoch: "e1", offset: 42 });
  assert.deepEqual(seen.errors.map(({ code, cause }) => [code, cause.message]), [["handler", "oops"], ["handler", "oops"]]);
});

each("frames of an earlier join, and broadcasts before the reply, are dropped", async (t, transport) => {
  const { room, peer, joinRef, heard, clock } = await joined(t, transport);
  await peer.say([joinRef, joinRef, "room:1", "phx_error", { reason: "overrun" }]);
  await clock.pass(250);
  await peer.say([null, null, "room:1", "m", { early: true }]);
  const next = await peer.accept("room:1");
  assert.notEqual(next, joinRef);
  await peer.say([joinRef, null, "room:1", "m", { stale: true }], [joinRef, joinRef, "room:1", "phx_close", {}], [next, null, "room:1", "m", { ours: true }]);
  assert.deepEqual(heard.map(([, payload]) => payload), [{ ours: true }]);
  assert.equal(room.state, "joined");
});

each("after phx_error the channel rejoins, later and later, and pushes wait", async (t, transport) => {
  const { room, peer, joinRef, clock } = await joined(t, transport);
  const broken = outcome(room.push("boom"));
  await peer.frames();
  await peer.say([joinRef, joinRef, "room:1", "phx_error", { reason: "channel_crash" }]);
  assert.equal(await broken, "outcome_unknown, sent");
  assert.equal(room.state, "joining");
  const waiting = room.push("a", {}, { timeout: 0 });
  for (const wait of [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    const before = (await peer.frames()).length;
    await clock.pass(wait - 1);
    assert.equal((await peer.frames()).length, before);
    await clock.pass(1);
    const frame = await peer.last();
    assert.equal(frame[3], "phx_join");
    await peer.say([null, null, "chime", "heartbeat", { sent: 0 }]);
    await peer.frames();
    await peer.say([frame[0], frame[0], "room:1", "phx_error", {}]);
  }
  await clock.pass(10_000);
  await peer.accept("room:1");
  await peer.reply(await peer.last(), { late: true });
  assert.deepEqual(await waiting, { late: true });
});

// A handler that panicked, one that was sent too much, and one that left with a reason of its own.
for (const reason of ["channel_crash", "overloaded", "moved"]) {
  each(`a channel whose join the server ends is told why: ${reason}`, async (t, transport) => {
    const { room, peer, joinRef, clock, seen } = await joined(t, transport);
    const heard = [];
    room.onState((state, error) => heard.push([state, error?.code, error?.response, error?.message]));
    const broken = room.push("a");
    await peer.frames();
    peer.say([joinRef, joinRef, "room:1", "phx_error", { reason }]);
    await assert.rejects(broken, ({ code, sent, cause }) => {
      assert.deepEqual([code, sent, cause instanceof ChimeError, cause.code, cause.response], ["outcome_unknown", true, true, "error", { reason }]);
      return true;
    });
    await clock.pass(250);
    await peer.accept("room:1");
    assert.deepEqual(heard, [["joining", "error", { reason }, `room:1: ${reason}`], ["joined", undefined, undefined, undefined]]);
    assert.deepEqual(seen.errors, []);
  });
}

each("a channel whose client socket ends is told why, and so are its pushes", async (t, transport) => {
  const { room, peer } = await joined(t, transport);
  const heard = [];
  room.onState((state, error) => heard.push([state, error?.code]));
  const sent = room.push("a");
  await peer.frames();
  peer.drop();
  await assert.rejects(sent, ({ code, cause }) => code === "outcome_unknown" && cause.code === "disconnected");
  assert.deepEqual(heard, [["joining", "disconnected"]]);
});

each("phx_close ends the channel for good", async (t, transport) => {
  const { room, peer, joinRef, clock } = await joined(t, transport);
  const states = [];
  room.onState((state, error) => states.push([state, error?.code]));
  const sent = outcome(room.push("a"));
  await peer.frames();
  await peer.say([joinRef, joinRef, "room:1", "phx_close", {}]);
  assert.deepEqual(states, [["closed", "closed"]]);
  assert.equal(await sent, "outcome_unknown, sent");
  await clock.pass(5_000);
  assert.equal((await peer.frames()).length, 2);
});

each("leave tells the server and resolves with its answer", async (t, transport) => {
  const { room, peer, joinRef, heard, socket } = await joined(t, transport);
  const pushed = room.push("a");
  const left = room.leave();
  assert.equal(room.state, "closed");
  const [a, leave] = (await peer.frames()).slice(1);
  assert.deepEqual([leave[0], leave[2], leave[3]], [joinRef, "room:1", "phx_leave"]);
  await peer.reply(a, { done: true });
  await peer.say([null, null, "room:1", "m", {}]);
  await peer.reply(leave);
  await left;
  assert.deepEqual(await pushed, { done: true });
  assert.deepEqual(heard, []);
  await room.leave();

  const again = socket.channel("room:1");
  const joining = again.join();
  await peer.accept("room:1", { again: true });
  assert.deepEqual(await joining, { again: true });
});

each("leave before the answer rejects the join, and a late answer is nothing", async (t, transport) => {
  const { socket, peer } = await open(t, transport);
  const room = socket.channel("room:1");
  const joining = outcome(room.join());
  const waiting = outcome(room.push("a"));
  const join = await peer.last();
  room.leave();
  assert.equal(await joining, "closed");
  assert.equal(await waiting, "closed");
  assert.equal((await peer.last())[3], "phx_leave");
  await peer.reply(join);
  assert.equal(room.state, "closed");
});

each("leave resolves when the connection is lost", async (t, transport) => {
  const { room, peer } = await joined(t, transport);
  const left = room.leave();
  await peer.frames();
  await peer.drop();
  await left;
});

each("a rejoin asks for what came after the last position, and drops what it already had", async (t, transport) => {
  const { room, peer, heard, clock, again } = await joined(t, transport, { params: { "@last": 2, name: "Ann" }, response: history({ offset: 9 }) });
  assert.deepEqual((await peer.frames())[0][4], { name: "Ann", "@last": 2 });
  assert.equal(room.recovered, null);
  assert.deepEqual(room.position, { epoch: "e1", offset: 9 }, "the place before the first message of the replay");
  await peer.say([null, "@10", "room:1", "m", 1], [null, "@12", "room:1", "m", 2], [null, "@15", "room:1", "m", 3]);
  assert.deepEqual(heard, [["m", 1, 10], ["m", 2, 12], ["m", 3, 15]]);
  assert.deepEqual(room.position, { epoch: "e1", offset: 15 });

  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual((await next.frames())[0][4], { name: "Ann", "@since": { epoch: "e1", offset: 15 } });
  let gaps = 0;
  room.onGap(() => gaps++);
  await next.accept("room:1", history({ offset: 15, recovered: true }));
  assert.equal(room.recovered, true);
  assert.deepEqual(room.position, { epoch: "e1", offset: 15 });
  await next.say([null, "@12", "room:1", "m", 2], [null, "@15", "room:1", "m", 3], [null, "@17", "room:1", "m", 4], [null, "@20", "room:1", "m", 5], [null, "@20", "room:1", "m", 5], [null, "@21", "room:1", "m", 6]);
  assert.deepEqual(heard.slice(3), [["m", 4, 17], ["m", 5, 20], ["m", 6, 21]]);
  assert.equal(gaps, 0);
});

each("a break in mid-replay goes on from there", async (t, transport) => {
  const { peer, heard, clock, again } = await joined(t, transport, { response: history({ offset: 8 }) });
  await peer.say([null, "@10", "room:1", "m", 1]);
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual((await next.frames())[0][4], { "@since": { epoch: "e1", offset: 10 } });
  await next.accept("room:1", history({ offset: 10, recovered: true }));
  await next.say([null, "@12", "room:1", "m", 2]);
  assert.deepEqual(heard.map(([, payload]) => payload), [1, 2]);
});

each("after the reply to a join the position is the one in it", async (t, transport) => {
  const { room } = await joined(t, transport, { response: history({ offset: 40 }) });
  assert.deepEqual(room.position, { epoch: "e1", offset: 40 });
});

each("when history cannot cover the position the application is told first", async (t, transport) => {
  const { room, peer, heard, clock, again } = await joined(t, transport, { response: history({ offset: 40 }) });
  const order = [];
  room.onGap(() => order.push(`gap in ${room.state}`));
  room.on("m", (payload) => order.push(payload));
  await peer.say([null, "@41", "room:1", "m", 1]);
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  // Another epoch: the server lost its history, and its offsets began anew, below ours.
  await next.accept("room:1", history({ epoch: "e2", offset: 1, recovered: false }));
  await next.say([null, "@2", "room:1", "m", 2], [null, "@3", "room:1", "m", 3]);
  assert.deepEqual(order, [1, "gap in joining", 2, 3]);
  assert.equal(room.recovered, false);
  assert.deepEqual(room.position, { epoch: "e2", offset: 3 });
  assert.deepEqual(heard.slice(1), [["m", 2, 2], ["m", 3, 3]]);
});

each("a server that says nothing of the position asked for has not covered it", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport, { response: history() });
  let gaps = 0;
  room.onGap(() => gaps++);
  await peer.drop();
  await clock.pass(500);
  await (await again()).accept("room:1", {});
  assert.deepEqual([gaps, room.recovered, room.position], [1, false, null]);
});

// Without a history there is no position to ask from, and nobody else would tell that something is missing.
each("a topic without history that has to be joined again has a gap", async (t, transport) => {
  const { socket, room, peer, joinRef, clock, again } = await joined(t, transport);
  const gaps = [];
  room.onGap(() => gaps.push(room.recovered));
  assert.deepEqual([gaps, room.recovered], [[], null], "the first join missed nothing");

  await peer.say([joinRef, joinRef, "room:1", "phx_error", { reason: "overloaded" }]);
  await clock.pass(250);
  await peer.accept("room:1");
  assert.deepEqual([gaps, room.recovered], [[false], false]);

  await peer.drop();
  await clock.pass(500);
  const next = await again();
  await next.accept("room:1");
  assert.deepEqual(gaps, [false, false]);

  room.leave();
  room.join();
  await next.accept("room:1");
  assert.deepEqual([gaps.length, room.recovered], [2, null], "what comes between leave and join was not asked for");

  socket.disconnect();
  socket.connect();
  await (await again()).accept("room:1");
  assert.deepEqual([gaps.length, room.recovered], [3, false], "as after a rejoin without connect()");
});

each("a join that was not answered before the client socket ended is still the first", async (t, transport) => {
  const { socket, peer, clock, again } = await open(t, transport);
  const room = socket.channel("room:1");
  room.onGap(() => assert.fail("gap"));
  room.join();
  await peer.frames();
  await peer.drop();
  await clock.pass(500);
  await (await again()).accept("room:1");
  assert.deepEqual([room.state, room.recovered], ["joined", null]);
});

each("a break before the first message of a replay goes on from where the join began", async (t, transport) => {
  const { room, peer, heard, clock, again } = await joined(t, transport, { response: history({ offset: 9 }) });
  let gaps = 0;
  room.onGap(() => gaps++);
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual((await next.frames())[0][4], { "@since": { epoch: "e1", offset: 9 } });
  await next.accept("room:1", history({ offset: 9, recovered: true }));
  await next.say([null, "@10", "room:1", "m", 1]);
  assert.deepEqual([gaps, room.recovered, room.position, heard], [0, true, { epoch: "e1", offset: 10 }, [["m", 1, 10]]]);
});

each("a break in the replay that fills a gap goes on from there, and is no second gap", async (t, transport) => {
  const { room, peer, heard, clock, again } = await joined(t, transport, { response: history() });
  let gaps = 0;
  room.onGap(() => gaps++);
  await peer.drop();
  await clock.pass(500);
  const second = await again();
  await second.accept("room:1", history({ epoch: "e2", offset: 6, recovered: false }));
  await second.say([null, "@7", "room:1", "m", 1]);
  await second.drop();
  await clock.pass(1_000);
  const third = await again();
  assert.deepEqual((await third.frames())[0][4], { "@since": { epoch: "e2", offset: 7 } });
  await third.accept("room:1", history({ epoch: "e2", offset: 7, recovered: true }));
  await third.say([null, "@8", "room:1", "m", 2]);
  assert.deepEqual([gaps, heard.map(([, payload]) => payload)], [1, [1, 2]]);
});

each("a channel that is left and joined anew by a listener of onGap belongs to the new join", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport, { response: history() });
  let rejoined;
  room.onGap(() => {
    room.leave();
    rejoined = room.join();
  });
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  await next.accept("room:1", history({ epoch: "e2", recovered: false }));
  assert.equal(room.state, "joining");
  assert.deepEqual((await next.frames()).map((frame) => frame[3]), ["phx_join", "phx_leave", "phx_join"]);
  await next.accept("room:1", { second: true, ...history({ epoch: "e2", recovered: true }) });
  assert.deepEqual(await rejoined, { second: true });
});

each("a page that was rendered with a position goes on from it", async (t, transport) => {
  const since = { epoch: "e1", offset: 30 };
  const { room, peer, heard } = await joined(t, transport, { params: { "@since": since }, response: history({ offset: 30, recovered: true }) });
  assert.deepEqual((await peer.frames())[0][4], { "@since": since });
  assert.deepEqual(room.position, since);
  await peer.say([null, "@30", "room:1", "m", "had"], [null, "@31", "room:1", "m", "new"]);
  assert.deepEqual(heard.map(([, payload]) => payload), ["new"]);
});

each("all channels come back, each from its own position", async (t, transport) => {
  const { socket, peer, clock, again, room } = await joined(t, transport, { response: history({ offset: 5 }) });
  const other = socket.channel("room:2");
  other.join();
  await peer.accept("room:2", history({ epoch: "e1", offset: 9 }));
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual((await next.frames()).map((frame) => [frame[2], frame[4]["@since"].offset]), [["room:1", 5], ["room:2", 9]]);
  await next.accept("room:1", history({ offset: 5, recovered: true }));
  await next.accept("room:2", history({ offset: 9, recovered: true }));
  assert.deepEqual([room.state, other.state], ["joined", "joined"]);
});

each("a rejoin that is refused closes the channel and says why", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport);
  const states = [];
  room.onState((state, error) => states.push(`${state}: ${error.response?.reason ?? error.code}`));
  await peer.drop();
  const waiting = outcome(room.push("a"));
  await clock.pass(500);
  const next = await again();
  await next.reply(await next.last(), { reason: "banned" }, "error");
  assert.deepEqual(states, ["joining: disconnected", "closed: banned"]);
  assert.equal(await waiting, "closed");
});

each("64 frames, or 10 seconds, are acknowledged", async (t, transport) => {
  const { peer, joinRef, net, ws, clock } = await joined(t, transport);
  const acks = () => (transport === "websocket" ? ws().acks : net.posts.slice(1).map((post) => post.body.received));
  const m = (n) => Array.from({ length: n }, () => [joinRef, null, "room:1", "m", {}]);
  await peer.say(...m(62)); // and the join reply: 63
  assert.deepEqual(acks(), []);
  await peer.say(...m(1));
  assert.deepEqual(acks(), [64]);
  await peer.frames();
  await peer.say(...m(1));
  await clock.pass(9_999);
  assert.deepEqual(acks(), [64]);
  await clock.pass(1);
  await peer.frames();
  assert.deepEqual(acks(), [64, 65]);
  await peer.say([null, null, "chime", "heartbeat", { sent: 65 }]);
  await peer.frames();
  await clock.pass(10_000);
  assert.deepEqual(acks(), [64, 65, 65], "a heartbeat is answered, if there is nothing new too");
  if (transport === "sse") assert.deepEqual([net.post.frames, net.post.body.first], [[], 2]);
});

each("an undecodable frame costs the connection, nothing else", async (t, transport) => {
  for (const bad of ["{", "{}", "[1,2]", "null"]) {
    const { peer, socket, clock, room, again } = await joined(t, transport);
    await peer.say(bad);
    assert.equal(socket.state, "connecting");
    await clock.pass(500);
    await (await again()).accept("room:1");
    assert.equal(room.state, "joined");
    socket.disconnect();
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});
