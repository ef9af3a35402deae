// What a channel does, which is the same over every transport.
import assert from "node:assert/strict";
import { ChimeError } from "../chime.js";
import { Peer } from "./fakes.mjs";
import { begin, each, joined, open, outcome } from "./setup.mjs";

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
  const { room, joinReply, peer } = await joined(t, transport, { params: { name: "Ann" }, response: { topic: "tea", "@history": { epoch: "e1", offset: 40 } } });
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
  const { room, peer, heard, seen } = await joined(t, transport, { response: { "@history": { epoch: "e1", offset: 40 } } });
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

each("joins that fail are asked for later and later, and at once after one that lasted 10 s", async (t, transport) => {
  const { room, peer, clock, joinRef: first } = await joined(t, transport);
  const joins = async () => (await peer.frames()).filter((frame) => frame[3] === "phx_join").length;
  let joinRef = first;
  for (const [lasted, wait] of [[0, 250], [0, 500], [9_999, 1_000], [10_000, 250]]) {
    await clock.pass(lasted);
    await peer.say([joinRef, null, "room:1", "phx_error", {}]);
    const before = await joins();
    await clock.pass(wait - 1);
    assert.equal(await joins(), before, `after a join of ${lasted} ms`);
    await clock.pass(1);
    assert.equal(await joins(), before + 1);
    joinRef = await peer.accept("room:1");
  }
  assert.equal(room.state, "joined");
});
