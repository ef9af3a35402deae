// A client socket outlives its connections: what the client does at each turn of that. schedule.test.mjs has the turns at random.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWebSocket, Peer, settle } from "./fakes.mjs";
import { keeps, lives, outcome, payloads, shown, transports } from "./setup.mjs";

const other = { websocket: "sse", sse: "websocket" };

const word = ({ down }, net) => (down.name === "sse" ? [net.heard.at(-1).headers["Chime-Secret"], net.heard.at(-1).body.received] : down.acks);

for (const code of [1000, 1001, 1005, 1007, 1012, 1013, 4001, 4003]) {
  test(`a WebSocket that is closed with ${code}, and no frame says so, is a broken connection`, async (t) => {
    const { room, peer, resume, reply, states, seen } = await lives(t, "websocket");
    const pushed = outcome(room.push("a"));
    const [, push] = await peer.frames();
    await peer.down.drop(code, "moved");
    const again = await resume();
    assert.equal(shown(again.down), "s1");
    assert.deepEqual(payloads(await again.frames()), [push[4]]);
    await reply(again, push);
    assert.deepEqual([await pushed, states, seen.errors], [{}, [], []]);
  });
}

test("a drain without closed behind it is an end too", async (t) => {
  const { room, peer, meet, clock } = await lives(t, "websocket");
  const pushed = outcome(room.push("a"));
  await peer.frames();
  await peer.say([null, null, "chime", "drain", { retry_ms: 2_000 }]);
  await peer.drop();
  assert.equal(await pushed, "outcome_unknown, sent");
  await clock.pass(2_500);
  assert.equal(shown((await meet("websocket")).down), undefined);
});

for (const transport of transports) {
  // drained pushes 1, which the server takes, and then 2 and 3, which it does not, since it drains.
  const drained = async (t, drain, meanwhile = () => {}) => {
    const all = await lives(t, transport);
    const { room, peer, net } = all;
    all.pushes = [outcome(room.push("a", 1))];
    const first = await peer.last();
    all.pushes.push(...[2, 3].map((n) => outcome(room.push("a", n))));
    await settle();
    if (transport === "sse") await net.posts.at(-1).answer(503, { reason: "shutting down" }, { "Retry-After": "2" });
    await peer.say([null, null, "chime", "drain", { retry_ms: 2_000, ...drain }]);
    await meanwhile(all, first);
    await peer.say([null, null, "chime", "closed", { code: 1012, reason: "drain" }]);
    return all;
  };

  test(`what a server that drains has not taken is sent again to the next one, in order (${transport})`, async (t) => {
    const { room, pushes, meet, clock, reply } = await drained(t, { received: 2 }, async ({ room, peer, pushes, reply }, first) => {
      pushes.push(outcome(room.push("a", 4)));
      await reply(peer, first, first[4]);
    });
    pushes.push(outcome(room.push("a", 5)));
    await clock.pass(2_500);
    const next = await meet(transport);
    await next.accept("room:1");
    const again = (await next.frames()).filter((frame) => frame[3] === "a");
    assert.deepEqual(payloads(again), [2, 3, 4, 5]);
    for (const frame of again) await reply(next, frame, frame[4]);
    assert.deepEqual(await Promise.all(pushes), [1, 2, 3, 4, 5]);
  });

  for (const drain of [{ received: 2 }, {}]) {
    test(`what a server that drains has taken and not answered is in doubt, and all where it does not say (${transport}, ${JSON.stringify(drain)})`, async (t) => {
      const { pushes } = await drained(t, drain);
      const fates = await Promise.all(pushes.map((push) => Promise.race([push, settle().then(() => "waits")])));
      assert.deepEqual(fates, ["outcome_unknown, sent", ...Array(2).fill(drain.received ? "waits" : "outcome_unknown, sent")]);
    });
  }

  for (const next of transports) {
    test(`a broken connection is followed by another, and the channel notices nothing (${transport}, then ${next})`, async (t) => {
      const all = await lives(t, transport);
      const { socket, room, peer, net, clock, seen, states, heard, meet, reply } = all;
      const pushes = [1, 2].map((n) => room.push("a", n));
      const [, first, second] = await peer.frames();
      await peer.say([null, null, "room:1", "m", "one"]);
      await peer.drop();
      assert.deepEqual([socket.state, socket.transport, room.state], ["connecting", null, "joined"]);
      pushes.push(room.push("a", 3));
      socket.force(next);
      await settle();
      assert.equal(shown(next === "sse" ? net.stream : FakeWebSocket.last), "s1");
      if (next === "sse") assert.equal(net.stream.headers["Chime-Received"], "2");
      const received = transport === "sse" ? 3 : 2; // a POST's answer has said so; of a WebSocket a part may arrive
      const again = await meet(next, { resumed: true, received, sent: 2 });
      assert.deepEqual(payloads(await again.frames()), [2, 3].slice(received - 2), "what the server has is not sent again");
      if (next === "sse") assert.deepEqual([net.posts.at(-1).headers["Chime-Secret"], net.posts.at(-1).body.first, net.posts.at(-1).body.received], ["s2", received + 1, 2]);
      else assert.deepEqual(again.down.sent[0], [null, null, "chime", "ack", { received: 2 }], "the acknowledgement comes first");
      const third = await again.last();
      await again.say([null, null, "room:1", "m", "two"]);
      for (const frame of [first, second, third]) await reply(again, frame, frame[4]);
      assert.deepEqual(await Promise.all(pushes), [1, 2, 3]);
      assert.deepEqual([heard, states, all.gaps, room.recovered, socket.state, socket.transport], [["one", "two"], [], 0, null, "open", next]);
      assert.deepEqual(seen.states, ["connecting", "open", "connecting: disconnected", "open"]);
      assert.deepEqual([seen.transports, seen.errors], [[transport, null, next], []]);
      await clock.pass(1_000);
      await again.frames();
      await again.drop();
      socket.force(transport);
      await settle();
      assert.equal(shown(transport === "sse" ? net.stream : FakeWebSocket.last), "s2", "the secret of the hello that was answered");
    });
  }

  test(`no URL has the secret, of whatever connection (${transport})`, async (t) => {
    const { socket, room, peer, net, meet, clock, sockets } = await lives(t, transport, { params: { v: 1 }, token: "tok" });
    let [before, n] = [peer, 1];
    for (const next of [transport, other[transport], transport]) {
      await before.drop();
      socket.force(next);
      await settle();
      const down = next === "sse" ? net.stream : FakeWebSocket.last;
      assert.equal(shown(down), `s${n}`, "it is a resume");
      before = await meet(next, { resumed: true, received: 1, sent: 1, secret: `s${++n}` });
      await before.frames();
    }
    room.push("a").catch(() => {});
    await before.frames();
    socket.disconnect();
    await clock.pass(1_000);
    const urls = [...sockets, ...net.requests].map(({ url }) => url);
    assert.deepEqual([sockets.length, net.gets.length], transport === "websocket" ? [3, 1] : [1, 3]);
    for (const url of urls) assert.match(url, /^(wss:\/\/chat\.test\/socket\/websocket|https:\/\/chat\.test\/socket\/(sse|bye))\?v=1$/);
  });

  test(`a promotion needs no frames (${transport})`, async (t) => {
    const { peer, net, resume } = await lives(t, transport);
    await peer.drop();
    const again = await resume();
    await again.frames();
    assert.deepEqual(word(again, net), transport === "sse" ? ["s2", 1] : [1]);
    if (transport === "sse") assert.deepEqual(net.heard.at(-1).body, { first: 2, received: 1, frames: [] });
  });

  test(`a hello that does not come changes nothing (${transport})`, async (t) => {
    const { room, peer, net, clock, resume, ws, states } = await lives(t, transport);
    const pushed = outcome(room.push("a"));
    await peer.frames();
    await peer.drop();
    await clock.pass(500);
    if (transport === "sse") await net.stream.fail();
    else await ws().drop();
    const again = await resume({ received: 2 });
    assert.equal(shown(again.down), "s1");
    assert.deepEqual(await again.frames(), []);
    await again.reply([again.joinRef, "2", "room:1"]);
    assert.deepEqual([await pushed, states], [{}, []]);
  });

  test(`while the server waits the tries do not grow far apart (${transport})`, async (t) => {
    const { peer, net, clock, sockets } = await lives(t, transport);
    await peer.drop();
    const tries = () => sockets.length + net.gets.length;
    const fail = () => (transport === "sse" ? net.stream.fail() : FakeWebSocket.last.drop());
    for (const wait of [250, 500, 1_000, 1_875, 1_875, 1_875, 1_875, 1_875, 1_875, 1_875, 1_875, 10_000, 10_000]) { // half of what chance allows
      const before = tries();
      await clock.pass(wait - 1);
      assert.equal(tries(), before);
      await clock.pass(1);
      assert.equal(tries(), before + 1, `after ${wait} ms`);
      await fail();
    }
  });

  test(`a server that does not know the secret gets the channels anew, and what was sent is told (${transport})`, async (t) => {
    const all = await lives(t, transport);
    const { room, peer, resume, states } = all;
    await peer.say([null, "@7", "room:1", "m", {}]);
    const sent = outcome(room.push("a", "sent", { timeout: 0 }));
    await peer.frames();
    await peer.drop();
    const unsent = room.push("a", "unsent", { timeout: 0 });
    t.mock.timers.setTime(Date.now() + 3_600_000);
    assert.deepEqual(states, []);
    const again = await resume({ resumed: false, received: 0, sent: 0 });
    assert.equal(shown(again.down), "s1", "however long it took: it is the server that knows");
    assert.equal(await sent, "outcome_unknown, sent");
    assert.deepEqual(states, ["joining"]);
    await again.accept("room:1");
    assert.deepEqual(payloads(await again.frames()).at(-1), "unsent");
    await again.reply(await again.last(), { done: true });
    assert.deepEqual([await unsent, states, all.gaps], [{ done: true }, ["joining", "joined"], 1]);
  });

  test(`an answer that comes while another connection is asked for makes nothing be forgotten (${transport})`, async (t) => {
    const { socket, room, peer, net, meet, reply } = await lives(t, transport);
    socket.force(other[transport]);
    await settle();
    const [one, two] = [room.push("a", 1), room.push("a", 2)];
    const frames = (await peer.frames()).slice(1);
    for (const frame of frames) await reply(peer, frame);
    await Promise.all([one, two]);
    const again = await meet(other[transport], { resumed: true, received: 1, sent: 3 });
    // On a WebSocket the frame after the hello's number must come first, or the count is off.
    assert.deepEqual(payloads(await again.frames()), other[transport] === "websocket" ? [1, 2] : []);
    if (other[transport] === "sse") assert.equal(net.heard.at(-1).body.first, 4);
    await again.drop();
    socket.force(transport);
    const third = await meet(transport, { resumed: true, received: 3, sent: 3, secret: "s3" });
    assert.deepEqual(await third.frames(), []);
  });

  test(`what the server's heartbeat says it has is not kept (${transport})`, async (t) => {
    const { room, peer, resume, socket } = await lives(t, transport);
    for (const n of [1, 2]) room.push("a", n).catch(() => {});
    await peer.frames();
    await peer.say([null, null, "chime", "heartbeat", { sent: 1, received: 2 }]);
    await peer.drop();
    const again = await resume({ received: 1 }); // no such server: it had 2
    assert.equal(again.down.name === "sse" ? again.down.aborted : again.down.closed, again.down.name === "sse" ? true : 4000);
    assert.equal(socket.state, "connecting");
    await settle();
    assert.equal(shown(transport === "sse" ? peer.down : FakeWebSocket.last), undefined, "a secret of no use is not shown again");
  });

  test(`force moves without a gap, and the former connection says nothing more (${transport})`, async (t) => {
    const { socket, room, peer, joinRef, net, seen, states, heard, meet } = await lives(t, transport);
    const pushed = room.push("a", 1);
    const [, frame] = await peer.frames();
    await peer.say([joinRef, null, "room:1", "m", "one"]);
    socket.force(other[transport]);
    await settle();
    await peer.say([joinRef, null, "room:1", "m", "two"]);
    assert.deepEqual([socket.transport, heard], [transport, ["one", "two"]]);
    const again = await meet(other[transport], { resumed: true, received: 2, sent: 3 });
    await peer.say([joinRef, null, "room:1", "m", "three"], [null, null, "chime", "moved", {}]).catch(() => {}); // an aborted stream takes no more
    if (transport === "websocket") assert.equal(peer.down.closed, 4000);
    else assert.ok(peer.down.aborted);
    assert.deepEqual([socket.transport, heard, net.byes], [other[transport], ["one", "two"], []]);
    await again.say([joinRef, null, "room:1", "m", "three"]);
    await again.reply(frame, { done: true });
    assert.deepEqual([await pushed, heard], [{ done: true }, ["one", "two", "three"]]);
    assert.deepEqual(word(again, net), other[transport] === "sse" ? ["s2", 3] : [3]);
    assert.deepEqual([states, seen.states, seen.transports, seen.errors], [[], ["connecting", "open"], [transport, other[transport]], []]);
  });

  for (const [what, fail] of [
    ["cannot be had", (down) => (down.name === "sse" ? down.answer(502) : down.drop())],
    ["is refused", (down) => (down.name === "sse" ? down.answer(403, { reason: "no" }) : down.end(4003))],
    ["does not continue the client socket", (down) => down.hello({ ...keeps, secret: "s9" })],
    ["says nothing", (down, clock) => clock.pass(16_250)], // four, beside each other
  ]) {
    test(`a move to what ${what} leaves all as it is, and is reported (${transport})`, async (t) => {
      const { socket, room, peer, net, clock, seen, states } = await lives(t, transport);
      socket.force(other[transport]);
      await settle();
      await fail(other[transport] === "sse" ? net.stream : FakeWebSocket.last, clock);
      assert.deepEqual(seen.errors.map(({ code }) => code), ["unreachable"]);
      const pushed = room.push("a");
      await peer.reply(await peer.last(), { here: true });
      await clock.pass(5_000);
      assert.deepEqual([await pushed, states, socket.state, socket.transport], [{ here: true }, [], "open", transport]);
      assert.deepEqual(seen.states, ["connecting", "open"]);
    });
  }

  test(`a move that loses its ground in mid-flight is a resume (${transport})`, async (t) => {
    const { socket, peer, meet, states, sockets, net, seen } = await lives(t, transport);
    socket.force(other[transport]);
    await settle();
    const tries = sockets.length + net.gets.length;
    await peer.drop();
    assert.equal(socket.state, "connecting");
    await meet(other[transport], { resumed: true, received: 1, sent: 1 });
    assert.deepEqual([states, sockets.length + net.gets.length, socket.transport], [[], tries, other[transport]]);
    assert.deepEqual(seen.states, ["connecting", "open", "connecting: disconnected", "open"]);
  });

  test(`forced back while it moves, it stays (${transport})`, async (t) => {
    const { socket, peer, room, net, seen } = await lives(t, transport);
    socket.force(other[transport]);
    await settle();
    socket.force(transport);
    const left = other[transport] === "sse" ? net.stream : FakeWebSocket.last;
    if (left.name === "sse") assert.ok(left.aborted);
    else assert.equal(left.closed, 4000);
    const pushed = room.push("a");
    await peer.reply(await peer.last());
    await pushed;
    assert.deepEqual([seen.transports, seen.errors], [[transport], []]);
  });

  for (const code of [1001, 1007, 1008, 1009, 1012, 1013]) {
    test(`after close code ${code} the client socket is over (${transport})`, async (t) => {
      const { socket, room, peer, net, clock, meet } = await lives(t, transport);
      const pushed = outcome(room.push("a"));
      await peer.frames();
      await peer.close(code, "why");
      assert.deepEqual([await pushed, room.state, socket.state], ["outcome_unknown, sent", "joining", "connecting"]);
      await clock.pass(500);
      assert.equal(shown(transport === "sse" ? net.stream : FakeWebSocket.last), undefined);
      await (await meet(transport)).accept("room:1");
      assert.equal(room.state, "joined");
    });
  }

  test(`4001 on a connection whose promotion the server never got is a loss, else somebody else has taken over (${transport})`, async (t) => {
    const { socket, peer, resume, joinRef, net, seen, clock } = await lives(t, transport);
    const end = (one, reason) => (reason === "moved" ? one.say([null, null, "chime", "moved", {}]) : one.close(4001, reason));
    await peer.drop();
    await settle();
    net.mute = FakeWebSocket.mute = true; // its promotion stays unanswered
    t.after(() => (FakeWebSocket.mute = false));
    const unheard = (t.mock.method(Peer.prototype, "frames", async () => []), await resume());
    t.mock.restoreAll();
    t.mock.method(Math, "random", () => 0.5);
    net.mute = FakeWebSocket.mute = false;
    await end(unheard, "moved");
    assert.equal(socket.state, "connecting");
    const heard = await resume({ secret: "s3" });
    assert.equal(shown(heard.down), "s2");
    await heard.say([joinRef, null, "room:1", "m", {}]);
    await end(heard, "not used"); // our word came when the server had given up waiting for it
    assert.equal(socket.state, "connecting");
    await clock.pass(500); // the tries grow apart
    const again = await resume({ secret: "s4", sent: 2 });
    await again.say([joinRef, null, "room:1", "m", {}]);
    await end(again, "moved");
    assert.deepEqual([socket.state, seen.errors.map(({ code }) => code)], ["closed", ["unreachable", "replaced"]]);
  });

  test(`a frame that is none ends the client socket: sent again it would be none again (${transport})`, async (t) => {
    const { peer, net, room, states } = await lives(t, transport);
    await peer.say("{");
    assert.deepEqual([states, room.state], [["joining"], "joining"]);
    if (transport === "websocket") assert.equal(peer.down.closed, 1000);
    else assert.deepEqual(net.byes.map(({ text }) => text), ["s1"]);
  });

  test(`joins, leaves and pushes made meanwhile go out with the resume, in order (${transport})`, async (t) => {
    const { socket, room, peer, resume, joinRef } = await lives(t, transport);
    await peer.drop();
    room.push("a", 1).catch(() => {});
    const left = room.leave();
    const two = socket.channel("room:2");
    const joining = two.join();
    const late = outcome(two.push("a", 2, { timeout: 100 }));
    const again = await resume();
    const frames = await again.frames();
    assert.deepEqual(frames.map(([ref, , topic, event]) => [ref === joinRef, topic, event]), [[true, "room:1", "a"], [true, "room:1", "phx_leave"], [false, "room:2", "phx_join"]]);
    await again.reply(frames[1]);
    await left;
    await again.accept("room:2", { in: true });
    assert.deepEqual([await joining, await late], [{ in: true }, "timeout"]);
  });

  test(`a push that times out before it is sent is not sent, one that was keeps its place (${transport})`, async (t) => {
    const { room, peer, resume, clock } = await lives(t, transport);
    const sent = outcome(room.push("a", "sent", { timeout: 300 }));
    await settle();
    await peer.drop();
    const unsent = outcome(room.push("a", "unsent", { timeout: 300 }));
    room.push("a", "patient").catch(() => {});
    await clock.pass(300);
    assert.deepEqual([await sent, await unsent], ["timeout, sent", "timeout"]);
    assert.deepEqual(payloads(await (await resume()).frames()), ["sent", "patient"]);
  });

  test(`disconnect says goodbye also while there is no connection, and forgets (${transport})`, async (t) => {
    const { socket, room, peer, net, meet } = await lives(t, transport, { token: "tok" });
    const pushed = outcome(room.push("a"));
    await peer.frames();
    await peer.drop();
    socket.disconnect();
    await settle();
    assert.deepEqual([await pushed, room.state, net.byes.map(({ text, headers }) => [text, headers.Authorization])], ["outcome_unknown, sent", "closed", [["s1", "Bearer tok"]]]);
    socket.connect();
    const again = await meet(transport);
    assert.equal(shown(again.down), undefined);
    await again.accept("room:1");
    assert.equal(room.state, "joined");
  });
}

for (const status of [403, 401]) {
  test(`a secret that is refused with ${status} is ${status === 403 ? "forgotten, and who we are is asked once more" : "a refusal"}`, async (t) => {
    const { socket, room, peer, net, clock, seen, meet, sockets } = await lives(t, "websocket");
    const pushed = outcome(room.push("a"));
    await peer.drop();
    socket.force("auto");
    await settle();
    assert.equal(shown(sockets.at(-1)), "s1");
    await sockets.at(-1).drop(); // a browser does not say why
    await net.stream.answer(status, { reason: "another identity" });
    assert.equal(await pushed, "outcome_unknown, sent");
    if (status === 401) return assert.deepEqual([socket.state, room.state], ["refused", "closed"]);
    assert.deepEqual([socket.state, room.state, seen.errors.length, shown(sockets.at(-1))], ["connecting", "joining", 0, undefined]);
    await (await meet("websocket")).accept("room:1");
    assert.equal(room.state, "joined");

    await sockets.at(-1).drop();
    await clock.pass(500);
    await sockets.at(-1).drop();
    await net.stream.answer(403);
    await settle();
    await sockets.at(-1).drop();
    await net.stream.answer(403, { reason: "banned" });
    assert.deepEqual([socket.state, seen.errors[0].message, room.state], ["refused", "banned", "closed"]);
  });
}

test("two transports race with the same secret; the first hello is promoted, the other goes without a goodbye", async (t) => {
  const { socket, net, ws, clock, meet, peer, states } = await lives(t, "websocket");
  await peer.drop();
  socket.force("auto");
  await clock.pass(2_000);
  const slow = ws();
  assert.deepEqual([shown(slow), shown(net.stream)], ["s1", "s1"]);
  const again = await meet("sse", { resumed: true, received: 1, sent: 1 });
  assert.deepEqual([slow.closed, word(again, net), net.byes, states], [4000, ["s2", 1], [], []]);
  await slow.hello({ ...keeps, resumed: true, secret: "late" });
  await again.drop();
  await clock.pass(500);
  assert.deepEqual([shown(ws()), socket.state], ["s2", "connecting"], "a hello that comes too late is nothing");
});

test("a POST in flight is sent again elsewhere, under the same numbers", async (t) => {
  const { socket, room, net, meet } = await lives(t, "sse");
  for (const n of [1, 2]) room.push("a", n).catch(() => {});
  await settle();
  assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [2, [1, 2]]);
  socket.force("websocket");
  await meet("websocket", { resumed: true, received: 1, sent: 1 });
  assert.ok(net.post.aborted);
  assert.deepEqual(payloads(FakeWebSocket.last.frames), [1, 2]);
});

test("an answer that takes more than its POST had is one of a server that heard the rest elsewhere", async (t) => {
  const { socket, room, net, clock, peer } = await lives(t, "websocket");
  const pushes = [1, 2, 3].map((n) => room.push("a", n));
  const frames = (await peer.frames()).slice(1);
  socket.force("sse");
  await settle();
  await net.stream.hello({ ...keeps, secret: "s2", resumed: true, received: 1, limits: { batch_messages: 2 } });
  assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [2, [1, 2]]);
  await net.post.answer(200, { applied: 4, sent: 1 });
  await clock.pass(500);
  assert.equal(net.posts.length, 1);
  for (const [joinRef, ref] of frames) await net.stream.say([joinRef, ref, "room:1", "phx_reply", { status: "ok", response: {} }]);
  await Promise.all(pushes);
  assert.equal(socket.transport, "sse");
});

test("a frame that no POST can carry ends the client socket, with a goodbye", async (t) => {
  const { room, net, socket } = await lives(t, "sse");
  const pushed = outcome(room.push("a"));
  await settle();
  await net.post.answer(400, { frame: 1, reason: "no" });
  await settle();
  assert.deepEqual([await pushed, net.byes.map(({ text }) => text), room.state, socket.state], ["invalid", ["s1"], "joining", "connecting"]);
});

for (const [status, body] of [[400, { frame: 0, reason: "no batch" }], [413, ""]]) {
  test(`a batch that is refused as a whole (${status}) keeps the numbers that a former connection gave`, async (t) => {
    const { room, net, clock, peer } = await lives(t, "sse");
    const late = outcome(room.push("a", 1, { timeout: 400 }));
    await settle();
    assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [2, [1]]);
    await peer.drop();
    outcome(room.push("a", 2));
    await clock.pass(500);
    assert.equal(await late, "timeout, sent");
    await net.stream.hello({ ...keeps, secret: "s2", resumed: true, received: 1, sent: 1 });
    assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [2, [1, 2]]);
    await net.post.answer(status, body);
    assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [2, [1]], "the server may have got it by the first POST");
    await net.post.apply();
    assert.deepEqual([net.post.body.first, payloads(net.post.frames)], [3, [2]]);
  });
}
