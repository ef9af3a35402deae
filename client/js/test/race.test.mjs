// A connection is used when it is proven to carry both ways, and what a network blocks is remembered.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWebSocket, greeting, Peer, settle } from "./fakes.mjs";
import { begin } from "./setup.mjs";

const keeps = { grace_ms: 15_000 };
const secretOf = (down) => (down.name === "sse" ? down.headers["Chime-Secret"] : down.protocols.find((name) => name.startsWith("chime.secret."))?.slice(13));

// deaf mutes every WebSocket that is made, until the test has ended.
function deaf(t) {
  FakeWebSocket.mute = true;
  t.after(() => (FakeWebSocket.mute = false));
}

// storage is a browser's localStorage.
function storage(t, refuses = false) {
  const kept = new Map();
  globalThis.localStorage = {
    getItem(key) { if (refuses) throw new Error("denied"); return kept.get(key) ?? null; },
    setItem(key, value) { if (refuses) throw new Error("denied"); kept.set(key, value); },
  };
  t.after(() => delete globalThis.localStorage);
}

test("a WebSocket that is greeted and carries one way gives way to the stream, on the same client socket", async (t) => {
  deaf(t);
  const { socket, net, ws, clock, seen } = begin(t);
  const room = socket.channel("room:1");
  room.join();
  await settle();
  await ws().hello({ ...keeps, secret: "s1" });
  assert.equal(ws().frames.length, 1, "the good case is not delayed by the proof");
  assert.deepEqual([socket.state, socket.transport], ["connecting", null]);
  await clock.pass(1_999);
  assert.equal(net.gets.length, 0);
  await clock.pass(1);
  assert.equal(secretOf(net.stream), "s1");
  const peer = await Peer.meet(net, "sse", { ...keeps, secret: "s2", resumed: true, received: 0, sent: 0 });
  assert.deepEqual([ws().closed, socket.state, socket.transport], [4000, "open", "sse"]);
  await peer.accept("room:1");
  assert.deepEqual([room.state, seen.transports, seen.errors], ["joined", ["sse"], []]);
});

test("of several that were greeted the first that is proven is used, and the others end without a trace", async (t) => {
  deaf(t);
  const { socket, net, ws, clock } = begin(t);
  socket.connect();
  await clock.pass(2_000);
  await ws().hello({ ...keeps, secret: "w" });
  net.mute = true;
  await net.stream.hello({ ...keeps, secret: "s" });
  assert.deepEqual([socket.state, ws().sent, net.post.frames], ["connecting", [], []], "each is only asked");
  const [, , , , nonce] = ws().probes[0];
  await ws().say([null, null, "chime", "probe_ok", nonce]);
  assert.deepEqual([socket.transport, net.stream.aborted, net.byes.length], ["websocket", true, 0]);
});

test("a stream that is held back after its hello gives way to long-polling, and the push is taken once", async (t) => {
  const { socket, net, ws, clock, seen } = begin(t);
  net.polling = net.mute = true;
  const room = socket.channel("room:1");
  room.join();
  const started = Date.now();
  await settle();
  await ws().drop();
  await net.stream.hello({ ...keeps, secret: "s1" });
  await net.post.answer(200, { applied: 1, sent: 1 }); // what it is answered with is held back
  await clock.pass(2_000);
  assert.deepEqual([net.polls.length, socket.state], [0, "connecting"]);
  await clock.pass(1_000);
  const [poll] = net.polls;
  assert.deepEqual([poll.headers["Chime-Secret"], poll.headers["Chime-Received"], poll.headers["Chime-Hold"]], ["s1", "0", "0"]);
  await poll.reply(1, greeting({ ...keeps, secret: "s2", resumed: true, received: 1, sent: 1 }));
  await settle();
  const [post] = net.pollPosts;
  assert.deepEqual([post.headers["Chime-Secret"], post.frames], ["s2", []], "the join is there already");
  await post.answer(200, { applied: 1, sent: 1 });
  await net.polls[1].reply(1, ["1", "1", "room:1", "phx_reply", { status: "ok", response: {} }]);
  assert.deepEqual([socket.transport, room.state, Date.now() - started, seen.errors], ["longpoll", "joined", 3_000, []]);
  assert.ok(net.stream.aborted);
});

test("a stream of which the first bytes pass alone gives way to long-polling, though its probe came back among them", async (t) => {
  const { socket, net, ws, clock, seen } = begin(t);
  net.polling = net.holds = true;
  socket.connect();
  await settle();
  await ws().drop();
  await net.stream.hello({ ...keeps, secret: "s1" });
  await clock.pass(2_999);
  assert.deepEqual([net.probes.length, net.polls.length, socket.state], [1, 0, "connecting"]);
  await clock.pass(1);
  await net.polls[0].reply(1, greeting({ ...keeps, secret: "s2", resumed: true, received: 0, sent: 0 }));
  await settle();
  const [post] = net.pollPosts;
  await post.answer(200, { applied: 0, sent: 0 });
  await net.polls[1].reply(1, [null, null, "chime", "probe_ok", post.probes[0][4]]);
  assert.deepEqual([socket.transport, socket.state, seen.errors, net.stream.aborted], ["longpoll", "open", [], true]);
});

for (const [transport, starts] of [["websocket", [0, 2_000, 4_000, 6_000]], ["sse", [0, 2_000, 4_000, 6_000]], ["auto", [0, 2_000, 5_000, 7_000]]]) {
  test(`connections that hang delay nothing: four at the most (${transport})`, async (t) => {
    const { socket, net, clock, sockets } = begin(t, { transport });
    net.polling = true;
    socket.connect();
    const made = () => sockets.length + net.gets.length + net.polls.length;
    for (const [n, at] of starts.entries()) {
      await clock.pass(Math.max(0, at - (starts[n - 1] ?? 0) - (n ? 1 : 0)));
      assert.equal(made(), n || 1, `before ${at} ms`);
      if (n) await clock.pass(1);
      assert.equal(made(), n + 1, `after ${at} ms`);
    }
    await clock.pass(2_000);
    assert.equal(made(), 4);
    assert.ok(sockets.every(({ closed }) => closed === null), "none gives way to another");
  });
}

test("beside one that was greeted each other transport starts once", async (t) => {
  deaf(t);
  const { socket, net, ws, clock, sockets } = begin(t);
  net.polling = true;
  socket.connect();
  await settle();
  await ws().hello({ ...keeps, transports: ["websocket", "sse", "longpoll"] });
  await clock.pass(9_000);
  assert.deepEqual([sockets.length, net.gets.length, net.polls.length], [1, 1, 1]);
});

test("a stream whose POSTs are not answered is not proven by what comes down", async (t) => {
  const { socket, net } = begin(t, { transport: "sse" });
  net.mute = true;
  socket.connect();
  await settle();
  await net.stream.hello(keeps);
  await net.stream.say([null, null, "chime", "probe_ok", net.post.probes[0][4]]);
  assert.equal(socket.state, "connecting");
  await net.post.answer(200, { applied: 0, sent: 0 });
  assert.equal(socket.state, "open");
  await net.stream.drop();
  assert.equal(socket.diagnosis.attempts[0].code, 1006);
});

test("where the server is far away the fallback waits for four times the way there and back", async (t) => {
  deaf(t);
  const { socket, net, ws, clock } = begin(t);
  socket.connect();
  await settle();
  await ws().hello(keeps);
  await clock.pass(1_000);
  await ws().say([null, null, "chime", "probe_ok", ws().probes[0][4]]);
  assert.equal(socket.state, "open");
  await clock.pass(10_000);
  await ws().drop();
  await clock.pass(250 + 3_999);
  assert.equal(net.gets.length, 0);
  await clock.pass(1);
  assert.equal(net.gets.length, 1);
});

for (const refuses of [false, true]) {
  test(`two WebSockets that die young are a network that cuts them${refuses ? "" : ", for other pages too"}`, async (t) => {
    storage(t, refuses);
    const { socket, net, ws, clock, sockets } = begin(t);
    socket.connect();
    for (let deaths = 0; deaths < 2; deaths++) {
      await settle();
      await ws().hello({ ...keeps, resumed: deaths > 0 });
      await clock.pass(100);
      await ws().drop();
      await clock.pass(500);
    }
    assert.deepEqual([sockets.length, net.gets.length], [2, 1]);
    await net.stream.hello({ ...keeps, resumed: true });
    assert.deepEqual([socket.transport, socket.diagnosis.blocked], ["sse", ["websocket"]]);
    t.mock.timers.reset();
    const other = begin(t);
    other.socket.connect();
    await settle();
    assert.deepEqual([other.sockets.length, other.net.gets.length], refuses ? [1, 0] : [0, 1]);
  });
}

test("a WebSocket that grew old, or that the server ended, is no sign of the network", async (t) => {
  const { socket, ws, clock, sockets } = begin(t);
  socket.connect();
  for (const end of [() => clock.pass(30_000), () => ws().say([null, null, "chime", "closed", { code: 1001, reason: "" }]), () => clock.pass(30_000)]) {
    await settle();
    await ws().hello({ ...keeps, resumed: false });
    await end();
    if (!ws().closed) await ws().drop();
    await clock.pass(1_000);
  }
  assert.deepEqual([sockets.length, socket.diagnosis.blocked], [4, []]);
});

test("from the stream the way back is tried beside it, later and later, and taken when a WebSocket works", async (t) => {
  const { socket, net, ws, clock, sockets, seen } = begin(t);
  socket.connect();
  await settle();
  await ws().drop();
  await net.stream.hello({ ...keeps, secret: "s1" });
  const beat = async (ms) => {
    for (let left = ms; left > 0; left -= 15_000) {
      await clock.pass(Math.min(left, 15_000));
      await net.stream.say([null, null, "chime", "heartbeat", { sent: 0, received: 0 }]);
      if (!net.post?.answered) await net.post?.apply();
    }
  };
  let made = sockets.length;
  for (const wait of [5_000, 60_000, 300_000]) {
    await beat(wait - 1);
    assert.equal(sockets.length, made);
    await clock.pass(1);
    assert.equal(sockets.length, ++made, `after ${wait} ms`);
    await ws().drop();
  }
  await beat(900_000);
  assert.equal(secretOf(ws()), undefined, "on a client socket of its own");
  await ws().hello({ ...keeps, secret: "x" });
  await clock.pass(1);
  assert.deepEqual([sockets.at(-2).closed, secretOf(ws())], [4000, "s1"]);
  await ws().hello({ ...keeps, secret: "s2", resumed: true });
  assert.deepEqual([socket.transport, net.stream.aborted, seen.transports, seen.states], ["websocket", true, ["sse", "websocket"], ["connecting", "open"]]);
  assert.deepEqual([seen.errors, socket.diagnosis.blocked], [[], []]);
});

test("where WebSockets were cut the way back is taken when one has lasted two heartbeats", async (t) => {
  const { socket, net, ws, clock, sockets } = begin(t);
  socket.connect();
  for (let deaths = 0; deaths < 2; deaths++) {
    await settle();
    await ws().hello({ ...keeps, resumed: deaths > 0 });
    await ws().drop();
    await clock.pass(500);
  }
  await net.stream.hello({ ...keeps, resumed: true });
  const wait = async (ms) => {
    for (let left = ms; left > 0; left -= 5_000) {
      await clock.pass(Math.min(left, 5_000));
      for (const down of [net.stream, ws()]) if (down.closed == null && down.readyState !== 0 && down.readyState !== 3) await down.say([null, null, "chime", "heartbeat", { sent: 0, received: 0 }]);
      if (net.post && !net.post.answered) await net.post.apply();
    }
  };
  await clock.pass(5_000);
  assert.equal(sockets.length, 3);
  await ws().hello(keeps);
  await wait(30_000);
  assert.deepEqual([sockets.length, socket.transport], [3, "sse"]);
  await wait(5_001);
  assert.equal(sockets.length, 4);
  await ws().hello({ ...keeps, resumed: true });
  assert.equal(socket.transport, "websocket");
});

test("diagnosis has the facts", async (t) => {
  const { socket, net, ws, clock } = begin(t);
  socket.connect();
  await settle();
  await ws().drop();
  await clock.pass(100);
  await net.stream.hello();
  assert.deepEqual(socket.diagnosis, {
    transport: "sse", rttMs: 0, order: ["sse", "websocket"], blocked: ["websocket"], pingMs: null, serviceWorker: false,
    attempts: [
      { transport: "websocket", at: 1_000_000_000_000, outcome: "failed", lastedMs: 0, code: 1006, status: undefined, reason: "" },
      { transport: "sse", at: 1_000_000_000_000, outcome: "works", helloMs: 100, provenMs: 100 },
    ],
  });
});
