// The way up of the stream: one POST in flight, each frame applied once and in order.
import assert from "node:assert/strict";
import { test } from "node:test";
import { settle } from "./fakes.mjs";
import { begin, outcome } from "./setup.mjs";

// post is an open stream with a joined channel, whose POSTs the test answers.
async function post(t, hello) {
  const all = begin(t, { transport: "sse" });
  all.socket.connect();
  await settle();
  await all.net.stream.hello(hello);
  all.room = all.socket.channel("room:1");
  const joining = all.room.join();
  await settle();
  await all.net.post.apply();
  const [joinRef, ref] = all.net.post.frames[0];
  await all.net.stream.say([joinRef, ref, "room:1", "phx_reply", { status: "ok", response: {} }]);
  await joining;
  all.push = (n, options) => {
    const pushed = outcome(all.room.push("n", n, options));
    return Object.assign(pushed, { n });
  };
  all.reply = (frame, status = "ok", response = { n: frame[4] }) => all.net.stream.say([frame[0], frame[1], "room:1", "phx_reply", { status, response }]);
  // reopened is the next connection, with the channel joined again and the frames that followed.
  all.reopened = async (ms = 500) => {
    await all.clock.pass(ms);
    await all.net.stream.hello();
    const [join] = all.net.post.frames;
    await all.net.post.apply();
    await all.net.stream.say([join[0], join[1], "room:1", "phx_reply", { status: "ok", response: {} }]);
    return all.net.post;
  };
  return all;
}

const sent = (request) => [request.body.first, request.frames.map((frame) => frame[4])];

test("one POST is in flight; what comes meanwhile travels together", async (t) => {
  const { net, push } = await post(t);
  push(1);
  push(2);
  await settle();
  assert.deepEqual(sent(net.post), [2, [1, 2]]);
  push(3);
  await settle();
  push(4);
  await settle();
  assert.equal(net.posts.length, 2);
  await net.post.apply();
  assert.equal(net.posts.length, 3);
  assert.deepEqual(sent(net.post), [4, [3, 4]]);
  await net.post.apply();
  assert.equal(net.posts.length, 3);
});

test("every POST says what was received", async (t) => {
  const { net, push, reply } = await post(t);
  push(1);
  await settle();
  assert.equal(net.post.body.received, 1);
  await net.post.apply();
  await reply(net.post.frames[0]);
  push(2);
  await settle();
  assert.equal(net.post.body.received, 2);
});

test("a batch keeps to the server's limits", async (t) => {
  const { net, push, socket } = await post(t, { limits: { message_bytes: 1_000, batch_bytes: 1_000, batch_messages: 3 } });
  for (let n = 0; n < 5; n++) push(n);
  await settle();
  assert.deepEqual(sent(net.post), [2, [0, 1, 2]]);
  push("é".repeat(200));
  push("x".repeat(400));
  await net.post.apply();
  assert.deepEqual(sent(net.post), [5, [3, 4, "é".repeat(200)]]);
  assert.ok(Buffer.byteLength(net.post.text) <= 1_000);
  await net.post.apply();
  const frame = net.post.text.length - '{"first":8,"received":1,"frames":[]}'.length - 400; // around its payload
  const most = 1_000 - 66 - frame; // 66 with the longest numbers
  const [fits, beyond] = [push("x".repeat(most)), push("x".repeat(most + 1))];
  assert.equal(await beyond, "too_large");
  push("last");
  assert.deepEqual(sent(net.post), [8, ["x".repeat(400)]]);
  await net.post.apply();
  assert.deepEqual(sent(net.post), [9, ["x".repeat(most)]], "the largest goes alone");
  assert.ok(Buffer.byteLength(net.post.text) <= 1_000);
  await net.post.apply();
  assert.deepEqual(sent(net.post), [10, ["last"]], "what failed had no number");
  assert.equal(socket.state, "open");
  void fits;
});

for (const [name, fail, wait] of [
  ["a network error", (request) => request.fail(), 125],
  ["a 500", (request) => request.answer(500), 125],
  ["a 503 with Retry-After", (request) => request.answer(503, "", { "Retry-After": "2" }), 2_125],
  ["a 429 with Retry-After", (request) => request.answer(429, "", { "Retry-After": "1" }), 1_125],
  ["a 408", (request) => request.answer(408), 125],
  ["a 200 that is not the server's", (request) => request.answer(200, "<html>"), 125],
]) {
  test(`after ${name} the same batch is sent again`, async (t) => {
    const { net, push, clock, reply } = await post(t);
    const pushed = push(1);
    await settle();
    push(2);
    await fail(net.post);
    await clock.pass(wait - 1);
    assert.equal(net.posts.length, 2);
    await clock.pass(1);
    assert.equal(net.posts.length, 3);
    assert.deepEqual(sent(net.post), [2, [1]], "the same: a proxy may have delivered the first");
    await net.post.apply();
    assert.deepEqual(sent(net.post), [3, [2]]);
    await reply(net.posts[2].frames[0]);
    assert.deepEqual(await pushed, { n: 1 });
  });
}

test("a POST that is not answered is sent again after 10 s", async (t) => {
  const { net, push, clock } = await post(t);
  push(1);
  await clock.pass(9_999);
  assert.equal(net.posts.length, 2);
  await clock.pass(1);
  assert.ok(net.posts[1].aborted);
  await clock.pass(125);
  assert.deepEqual(sent(net.post), [2, [1]], "also when the push itself has timed out: its number must not be missing");
});

test("until a POST was answered one is sent again after 2 s, and then after 4: it may have got a connection that is dead", async (t) => {
  const { socket, net, clock } = begin(t, { transport: "sse" });
  net.mute = true;
  socket.connect();
  await settle();
  await net.stream.hello();
  for (const [n, ms] of [2_000, 4_000].entries()) {
    await clock.pass(ms - 1);
    assert.deepEqual([net.posts.length, net.post.aborted], [n + 1, false]);
    await clock.pass(1);
    assert.equal(net.post.aborted, true);
    await clock.pass(125 << n);
    assert.equal(net.posts.length, n + 2);
  }
  await net.post.apply({ sent: 0 });
  await net.stream.say([null, null, "chime", "probe_ok", net.post.probes[0][4]]);
  assert.equal(socket.state, "open");
});

test("the tries grow apart, and end with the connection", async (t) => {
  const { net, push, clock, socket } = await post(t);
  push(1);
  await settle();
  const started = Date.now();
  for (const wait of [125, 250, 500, 1_000, 2_000, 2_500, 2_500, 2_500]) {
    await net.post.answer(502);
    const before = net.posts.length;
    await clock.pass(wait - 1);
    assert.equal(net.posts.length, before);
    await clock.pass(1);
    assert.equal(net.posts.length, before + 1);
    await net.stream.say([null, null, "chime", "heartbeat", { sent: 1 }]);
  }
  while (Date.now() - started <= 35_000) {
    assert.equal(socket.state, "open");
    await net.post.answer(502);
    await clock.pass(2_500);
    await net.stream.say([null, null, "chime", "heartbeat", { sent: 1 }]);
  }
  await net.post.answer(502);
  assert.equal(socket.state, "connecting");
});

test("each heartbeat is answered by a POST, or by the one that follows the one under way", async (t) => {
  const { net, push, clock } = await post(t);
  const beat = () => net.stream.say([null, null, "chime", "heartbeat", { sent: 1, received: 1 }]);
  await clock.pass(10_000);
  await net.post.apply();
  for (let beats = 1; beats <= 4; beats++) {
    await clock.pass(15_000);
    await beat();
    assert.deepEqual([net.posts.length, net.post.body], [2 + beats, { first: 2, received: 1, frames: [] }]);
    await net.post.apply();
  }
  push(1);
  await settle();
  await beat();
  await beat();
  assert.equal(net.posts.length, 7, "one POST at a time");
  await net.post.apply();
  assert.deepEqual([net.posts.length, net.post.body], [8, { first: 3, received: 1, frames: [] }]);
  await net.post.apply();
  assert.equal(net.posts.length, 8);
});

test("an acknowledgement that does not get through costs no connection, and frames do not wait for it", async (t) => {
  const { net, push, clock, socket } = await post(t);
  for (let beats = 0; beats < 8; beats++) {
    await net.stream.say([null, null, "chime", "heartbeat", { sent: 1, received: 1 }]);
    for (const until = Date.now() + 15_000; Date.now() < until; await clock.pass(250)) if (!net.post.answered) await net.post.answer(503);
  }
  assert.equal(socket.state, "open");
  const tries = net.posts.length;
  assert.ok(tries > 30 && tries < 80, `${tries} POSTs in two minutes`);
  push(1);
  await clock.pass(2_500);
  if (!net.post.frames.length) await net.post.answer(503);
  await clock.pass(2_500);
  assert.deepEqual([net.post.body.first, net.post.frames.length], [2, 1]);
  await net.post.answer(410);
  assert.equal(socket.state, "connecting", "the server has judged");
});

test("an answer that took part of the batch has the rest sent", async (t) => {
  const { net, push } = await post(t);
  [1, 2, 3].forEach((n) => push(n));
  await settle();
  push(4);
  await net.post.answer(200, { applied: 3, sent: 1 });
  assert.deepEqual(sent(net.post), [4, [3, 4]]);
});

test("409: what the server wants is sent from there", async (t) => {
  const { net, push, socket } = await post(t);
  [1, 2, 3].forEach((n) => push(n));
  await settle();
  await net.post.answer(409, { want: 4 });
  assert.deepEqual(sent(net.post), [4, [3]]);
  assert.equal(socket.state, "open");
});

test("409: what is no longer here costs the connection", async (t) => {
  const { net, push, reopened } = await post(t);
  const lost = push(1);
  await settle();
  await net.post.answer(409, { want: 1 });
  assert.equal(await lost, "outcome_unknown, sent");
  assert.deepEqual(sent(await reopened()), [1, [{}]]);
});

test("409 that asks for what it was sent is not answered in a hot loop", async (t) => {
  const { net, push, clock } = await post(t);
  push(1);
  await settle();
  await net.post.answer(409, { want: 2 });
  assert.equal(net.posts.length, 2);
  await clock.pass(125);
  assert.equal(net.posts.length, 3);
});

for (const status of [401, 403, 404, 410]) {
  test(`${status}: the connection is lost, and the next one learns whether we are refused`, async (t) => {
    const { net, push, socket, reopened, seen } = await post(t);
    const lost = push(1);
    await settle();
    const waits = push(2, { timeout: 0 });
    await net.post.answer(status, { reason: "no" });
    assert.equal(await lost, "outcome_unknown, sent");
    assert.equal(socket.state, "connecting");
    assert.deepEqual(seen.errors, []);
    assert.deepEqual(sent(await reopened()), [2, [waits.n]], "what no POST carried waits for the next connection");
  });
}

test("400: the frame it names fails, the others are sent on a new connection", async (t) => {
  const { net, push, reopened, socket } = await post(t);
  const [one, two] = [push(1, { timeout: 0 }), push(2)];
  await settle();
  push(3);
  await net.post.answer(400, { frame: 2, reason: "nested too deep" });
  assert.equal(await two, "invalid");
  assert.equal(socket.state, "connecting");
  const next = await reopened();
  assert.deepEqual(sent(next), [2, [1, 3]]);
  void one;
});

for (const frame of [0, 3]) {
  test(`400 that names no frame of the batch (${frame}) has it sent in halves, until the bad one is alone`, async (t) => {
    const { net, push, socket, reopened } = await post(t);
    const [one, two] = [push(1), push(2)];
    await settle();
    push(3);
    const joining = socket.channel("room:2").join();
    await net.post.answer(400, { frame, reason: "no batch" });
    assert.deepEqual(sent(net.post), [2, [1]]);
    await net.post.apply();
    assert.deepEqual(sent(net.post), [3, [2]]);
    await net.post.answer(400, { frame: 0, reason: "no batch" });
    assert.deepEqual([await two, await one], ["invalid", "outcome_unknown, sent"]);
    const next = await reopened();
    assert.deepEqual(next.frames.map(([, , topic, event]) => [topic, event]), [["room:1", "n"]], "the push behind it waited for its channel");
    const join = net.posts.at(-2).frames.find(([, , topic]) => topic === "room:2");
    await net.stream.say([join[0], join[1], "room:2", "phx_reply", { status: "ok", response: {} }]);
    await joining;
  });
}

test("400 that names no frame takes the numbers back of what is no longer wanted", async (t) => {
  const { net, push, clock } = await post(t);
  const late = push(1, { timeout: 100 });
  [2, 3, 4].forEach((n) => push(n));
  await clock.pass(100);
  assert.equal(await late, "timeout, sent");
  await net.post.answer(400, { frame: 0, reason: "no batch" });
  assert.deepEqual(sent(net.post), [2, [2, 3]]);
  await net.post.apply();
  assert.deepEqual(sent(net.post), [4, [4]]);
});

test("400 without a frame, for ever: each client socket costs one frame, so it ends", async (t) => {
  const { net, push, reopened } = await post(t);
  const both = [push(1, { timeout: 0 }), push(2, { timeout: 0 })];
  await settle();
  await net.post.answer(400);
  await net.post.answer(400);
  assert.equal(await both[0], "invalid");
  assert.deepEqual(sent(await reopened()), [2, [2]]);
  await net.post.answer(400);
  assert.equal(await both[1], "invalid");
});

test("400 for a join rejects it", async (t) => {
  const { net, socket } = await post(t);
  const bad = outcome(socket.channel("room:bad").join());
  await settle();
  await net.post.answer(400, { frame: 1, reason: "topic" });
  assert.equal(await bad, "invalid");
});

test("413: the batch is halved, and one frame that is still too large fails", async (t) => {
  const { net, push, reopened } = await post(t);
  const four = [1, 2, 3, 4].map((n) => push(n));
  await settle();
  await net.post.answer(413);
  assert.deepEqual(sent(net.post), [2, [1, 2]]);
  await net.post.answer(413);
  assert.deepEqual(sent(net.post), [2, [1]]);
  await net.post.apply();
  assert.deepEqual(sent(net.post), [3, [2]]);
  await net.post.answer(413);
  assert.equal(await four[1], "too_large");
  assert.deepEqual(sent(await reopened()), [2, [3, 4]]);
  assert.equal(await four[0], "outcome_unknown, sent");
});

test("what timed out before a POST took it is not sent", async (t) => {
  const { net, push, clock } = await post(t);
  push(1);
  await settle();
  const late = push(2, { timeout: 100 });
  push(3);
  await clock.pass(100);
  assert.equal(await late, "timeout");
  await net.post.apply();
  assert.deepEqual(sent(net.post), [3, [3]]);
});

test("what phx_error overtakes before a POST took it belongs to the next join", async (t) => {
  const { net, push, clock, room } = await post(t);
  const first = push(1);
  await settle();
  push(2);
  const [joinRef] = net.post.frames[0];
  await net.stream.say([joinRef, joinRef, "room:1", "phx_error", {}]);
  assert.equal(await first, "outcome_unknown, sent");
  await net.post.apply();
  assert.equal(net.posts.length, 2);
  await clock.pass(250);
  const [join] = net.post.frames;
  await net.post.apply();
  await net.stream.say([join[0], join[1], "room:1", "phx_reply", { status: "ok", response: {} }]);
  assert.equal(room.state, "joined");
  assert.deepEqual(sent(net.post), [4, [2]]);
  assert.equal(net.post.frames[0][0], join[0]);
});

test("frames that come by the hundred cost one acknowledgement at a time", async (t) => {
  const { net, room } = await post(t);
  let heard = 0;
  room.on("m", () => heard++);
  await net.stream.say(...Array.from({ length: 300 }, () => [null, null, "room:1", "m", {}]));
  assert.equal(heard, 300);
  assert.equal(net.posts.length, 2);
  assert.deepEqual(net.post.body, { first: 2, received: 64, frames: [] });
  await net.post.apply();
  assert.equal(net.post.body.received, 301);
  await net.post.apply();
  assert.equal(net.posts.length, 3);
});

test("what a POST in flight acknowledges is not acknowledged again", async (t) => {
  const { net, push, clock } = await post(t);
  await net.stream.say([null, null, "room:1", "m", {}]);
  await clock.pass(9_500);
  push(1);
  await clock.pass(500);
  assert.equal(net.post.body.received, 2);
  await net.post.apply();
  assert.equal(net.posts.length, 2);
});

test("an acknowledgement that fails is sent again", async (t) => {
  const { net, clock } = await post(t);
  await net.stream.say([null, null, "room:1", "m", {}]);
  await clock.pass(10_000);
  assert.deepEqual(net.post.body, { first: 2, received: 2, frames: [] });
  await net.post.fail();
  await clock.pass(125);
  assert.equal(net.posts.length, 3);
  assert.deepEqual(net.post.body, { first: 2, received: 2, frames: [] });
});

test("disconnecting abandons the POST in flight", async (t) => {
  const { net, push, socket } = await post(t);
  const pushed = push(1);
  await settle();
  const waiting = push(2);
  socket.disconnect();
  assert.ok(net.posts[1].aborted);
  assert.deepEqual([await pushed, await waiting], ["outcome_unknown, sent", "closed"]);
  await settle();
  assert.equal(net.posts.length, 2);
});
