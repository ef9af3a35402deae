// How a socket comes back after a drop, a drain, a silence, or because it is told to.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Peer, secret, settle } from "./fakes.mjs";
import { begin, joined, open, outcome, transports } from "./setup.mjs";

for (const transport of transports) {
  test(`a drop reconnects quickly, and more slowly while drops go on (${transport})`, async (t) => {
    const { socket, peer, seen, clock, again, sockets, net } = await open(t, transport);
    const tries = () => sockets.length + net.gets.length;
    await peer.drop();
    assert.deepEqual(seen.states, ["connecting", "open", "connecting: disconnected"]);
    assert.deepEqual(seen.transports, [transport, null]);
    await clock.pass(250);
    const second = await again();
    assert.equal(socket.state, "open");
    await second.drop(); // young: a server that greets and drops must not be hammered
    await clock.pass(499);
    assert.equal(tries(), 2);
    await clock.pass(1);
    assert.equal(tries(), 3);
    const third = await again();
    await clock.pass(10_000);
    await third.drop();
    await clock.pass(250);
    await again();
    assert.equal(socket.state, "open");
  });

  test(`going online retries at once (${transport})`, async (t) => {
    const page = new EventTarget();
    let listening = 0;
    globalThis.addEventListener = (...listener) => { listening++; page.addEventListener(...listener); };
    globalThis.removeEventListener = (...listener) => { listening--; page.removeEventListener(...listener); };
    t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
    const { socket, peer, again, sockets, net } = await open(t, transport);
    page.dispatchEvent(new Event("online"));
    assert.equal(socket.state, "open");
    await peer.drop();
    page.dispatchEvent(new Event("online"));
    await again();
    assert.equal(socket.state, "open");
    socket.disconnect();
    assert.equal(listening, 0);
    const before = sockets.length + net.gets.length;
    page.dispatchEvent(new Event("online"));
    await settle();
    assert.equal(sockets.length + net.gets.length, before);
  });

  test(`silence is a broken connection (${transport})`, async (t) => {
    const { socket, peer, clock } = await open(t, transport);
    await clock.pass(34_000);
    await peer.say([null, null, "chime", "heartbeat", { sent: 0 }]);
    await clock.pass(34_999);
    assert.equal(socket.state, "open");
    await clock.pass(1);
    assert.equal(socket.state, "connecting");
  });

  test(`a server that cannot tell for a while who connects gets its channels back (${transport})`, async (t) => {
    const { socket, room, peer, net, ws, clock, again } = await joined(t, transport);
    const states = [];
    room.onState((state) => states.push(state));
    await peer.drop();
    await clock.pass(250);
    // A browser does not say what a WebSocket was refused with.
    if (transport === "websocket") await ws().drop(1006);
    else await net.stream.answer(503, { reason: "try again later" }, { "Retry-After": "2" });
    const pushed = room.push("a");
    await clock.pass(3_000);
    const next = await again();
    await next.accept("room:1");
    await next.reply(await next.last(), { kept: true });
    assert.deepEqual([await pushed, socket.state, states], [{ kept: true }, "open", ["joining", "joined"]]);
  });

  test(`one that was replaced does not fight (${transport})`, async (t) => {
    const { socket, room, peer, seen, clock } = await joined(t, transport);
    const heard = [];
    room.onState((state, error) => heard.push([state, error?.code]));
    await peer.say([null, null, "chime", "moved", {}]);
    assert.deepEqual([socket.state, seen.errors[0].code, heard], ["closed", "replaced", [["closed", "replaced"]]]);
    await clock.pass(60_000);
    assert.equal(socket.state, "closed");
  });

  for (const code of [1001, 1007, 1008, 1009, 1011, 1013]) {
    test(`close code ${code} comes back (${transport})`, async (t) => {
      const { socket, peer, clock, again } = await joined(t, transport);
      await peer.close(code, "why");
      await clock.pass(250);
      await again();
      assert.equal(socket.state, "open");
    });
  }

  test(`a drain is followed after the time it names (${transport})`, async (t) => {
    const { socket, peer, clock, sockets, net } = await joined(t, transport);
    const tries = () => sockets.length + net.gets.length;
    await peer.say([null, null, "chime", "drain", { retry_ms: 1_234 }]);
    await clock.pass(100);
    assert.equal(socket.state, "open", "it is the server that closes");
    await peer.close(1012, "");
    const before = tries();
    await clock.pass(1_483); // and half of what chance adds
    assert.equal(tries(), before);
    await clock.pass(1);
    assert.equal(tries(), before + 1);
  });

  test(`disconnect closes cleanly, and connect brings the channels back (${transport})`, async (t) => {
    const { socket, room, peer, net, ws, again, seen } = await joined(t, transport, { token: "tok" });
    const states = [];
    room.onState((state, error) => states.push([state, error]));
    const sent = outcome(room.push("a"));
    await peer.frames();
    const other = socket.channel("room:2");
    const joining = outcome(other.join());
    await peer.frames();
    socket.disconnect();
    assert.deepEqual([socket.state, socket.transport, room.state, other.state], ["closed", null, "closed", "closed"]);
    assert.deepEqual(seen.states, ["connecting", "open", "closed"]);
    assert.deepEqual([await sent, await joining], ["outcome_unknown, sent", "closed"]);
    await settle();
    if (transport === "websocket") assert.deepEqual([ws().sent.at(-1), ws().closed, net.byes], [[null, null, "chime", "goodbye", {}], 1000, []]);
    else {
      const [bye] = net.byes;
      assert.deepEqual([bye.method, bye.text, bye.headers["Content-Type"], bye.keepalive, new URL(bye.url).pathname], ["POST", secret, "text/plain", true, "/socket/bye"]);
      assert.ok(!peer.down.aborted, "the server would take it for a client that vanished");
      await bye.answer(204);
      assert.ok(peer.down.aborted);
    }
    assert.deepEqual(seen.errors, []);
    socket.disconnect();
    socket.connect();
    const next = await again();
    await next.accept("room:1");
    assert.equal(room.state, "joined");
    assert.deepEqual(states, [["closed", undefined], ["joining", undefined], ["joined", undefined]]);
  });

  test(`listeners may turn the socket off and on again (${transport})`, async (t) => {
    const { socket, peer, clock, again, sockets, net } = await joined(t, transport);
    let once = true;
    socket.on("state", (state) => {
      if (state !== "connecting" || !once) return;
      once = false;
      socket.disconnect();
      socket.connect();
    });
    await peer.drop();
    await again();
    assert.equal(socket.state, "open");
    await clock.pass(1_000);
    assert.equal(socket.state, "open");
    assert.equal(sockets.length + net.gets.length, 2, "the retry that was overtaken does not happen");
  });

  test(`a listener that disconnects on open is obeyed, and the channel is not forgotten (${transport})`, async (t) => {
    const { socket, room, peer, clock, again } = await joined(t, transport);
    const never = outcome(socket.channel("room:2").join());
    const undo = socket.on("state", (state) => state === "open" && socket.disconnect());
    await peer.drop();
    await clock.pass(500);
    await again();
    assert.deepEqual([socket.state, room.state, await never], ["closed", "closed", "closed"]);
    undo();
    socket.connect();
    await (await again()).accept("room:1");
    assert.equal(room.state, "joined");
  });

  test(`a channel that is joined by a listener of open joins once (${transport})`, async (t) => {
    const { socket, net } = begin(t, { transport });
    const room = socket.channel("room:1");
    socket.on("state", (state) => state === "open" && room.join());
    socket.connect();
    const peer = await Peer.meet(net, transport);
    assert.equal((await peer.frames()).length, 1);
  });

  test(`a push made while the loss is being told waits (${transport})`, async (t) => {
    const { socket, room, peer, clock, again } = await joined(t, transport);
    const other = socket.channel("room:2");
    other.join();
    await peer.accept("room:2");
    const pushed = [];
    room.onState((state) => state === "joining" && pushed.push(outcome(other.push("a", { n: 1 }))));
    other.onState((state) => state === "joining" && pushed.push(outcome(room.push("a", { n: 2 }))));
    await peer.drop();
    await clock.pass(500);
    const next = await again();
    for (const topic of ["room:1", "room:2"]) await next.accept(topic);
    for (const frame of (await next.frames()).slice(2)) await next.reply(frame, frame[4]);
    assert.deepEqual(await Promise.all(pushed), [{ n: 1 }, { n: 2 }]);
  });
}

test("a goodbye that does not get through does not hold the stream open", async (t) => {
  const { socket, peer, net, clock } = await joined(t, "sse");
  socket.disconnect();
  await clock.pass(999);
  assert.deepEqual([net.byes.length, peer.down.aborted], [1, false]);
  await clock.pass(1);
  assert.ok(peer.down.aborted);
});

test("force switches to a new client socket where the server keeps none, and the channels go on from where they were", async (t) => {
  const { socket, net, ws, seen, sockets } = begin(t);
  const room = socket.channel("room:1");
  const states = [];
  room.onState((state) => states.push(state));
  room.join();
  socket.connect();
  const first = await Peer.meet(net, "websocket");
  await first.accept("room:1", { "@history": { epoch: "e", offset: 4 } });

  socket.force("websocket");
  assert.equal(socket.state, "open", "what is asked for is there already");
  socket.force("sse");
  await settle();
  assert.deepEqual([ws().closed, socket.state, room.state], [null, "open", "joined"], "until the new connection is there");
  const second = await Peer.meet(net, "sse");
  assert.equal(ws().closed, 1000);
  assert.deepEqual((await second.last())[4], { "@since": { epoch: "e", offset: 4 } });
  await second.accept("room:1", { "@history": { epoch: "e", offset: 4, recovered: true } });

  socket.force("auto");
  await settle();
  assert.equal(sockets.length, 2);
  await Peer.meet(net, "websocket");
  assert.equal(net.byes.length, 1);
  assert.deepEqual(seen.transports, ["websocket", "sse", "websocket"]);
  assert.deepEqual(seen.states, ["connecting", "open"]);
  assert.deepEqual(states, ["joining", "joined", "joining", "joined", "joining"]);
  assert.deepEqual(seen.errors, []);
});

test("force while connecting starts anew, and while closed only takes note", async (t) => {
  const { socket, net, ws, sockets } = begin(t);
  socket.force("sse");
  assert.equal(socket.state, "closed");
  socket.connect();
  await settle();
  assert.deepEqual([sockets.length, net.gets.length], [0, 1]);
  socket.force("websocket");
  await settle();
  assert.ok(net.stream.aborted);
  assert.equal(sockets.length, 1);
  await ws().hello();
  assert.equal(socket.transport, "websocket");
});
