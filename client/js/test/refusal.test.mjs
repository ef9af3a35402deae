// A server refuses a frame, or the client: what is sent no more, and who is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWebSocket, settle } from "./fakes.mjs";
import { begin, joined, outcome, transports } from "./setup.mjs";

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
  test(`close code 4003 stays away, and joined channels come back when asked (${transport})`, async (t) => {
    const { socket, room, peer, seen, clock, again } = await joined(t, transport);
    await peer.close(4003, "banned");
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
    await peer.close(4003, "banned");
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
    await peer.close(4003, "");
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
    await peer.close(4003, "");
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
      await peer.close(4003, "");
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
}
