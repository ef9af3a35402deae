// A channel with a history has a position: what it asks for when it joins again, and what it tells of a gap.
import assert from "node:assert/strict";
import { each, joined, open } from "./setup.mjs";

const history = (more) => ({ "@history": { epoch: "e1", offset: 40, ...more } });

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

each("what is withheld moves the position, and is seen by nobody", async (t, transport) => {
  const { room, peer, heard } = await joined(t, transport, { response: history({ offset: 8 }) });
  room.on("*", (payload, { event }) => assert.equal(event, "m"));
  await peer.say([null, "@9", "room:1", "m", 1], [null, "@12", "room:1", "@position", {}]);
  assert.deepEqual([heard, room.position], [[["m", 1, 9]], { epoch: "e1", offset: 12 }]);
  const reading = room.history();
  const [joinRef, ref] = (await peer.frames()).find((frame) => frame[3] === "@history");
  const at = "2026-01-01T00:00:00.000Z";
  const messages = [{ offset: 3, at, event: "@position", payload: {} }, { offset: 5, at, event: "m", payload: { n: 5 } }];
  await peer.say([joinRef, ref, "room:1", "phx_reply", { status: "ok", response: { epoch: "e1", complete: true, more: true, messages } }]);
  assert.deepEqual((await reading).messages, messages.slice(1));
  room.history().catch(() => {});
  await Promise.resolve();
  assert.equal((await peer.frames()).findLast((frame) => frame[3] === "@history")[4].before.offset, 3, "it goes on before what is withheld");
});

each("a page of which all is withheld says where to go on", async (t, transport) => {
  const { room, peer } = await joined(t, transport, { response: history({ offset: 8 }) });
  const at = "2026-01-01T00:00:00.000Z";
  const reading = room.history({ before: 7 });
  await peer.reply(await peer.last(), { epoch: "e1", complete: true, more: true, messages: [{ offset: 3, at, event: "@position", payload: {} }] });
  const page = await reading;
  assert.deepEqual(page, { epoch: "e1", complete: true, more: true, before: 3, messages: [] });
  const rest = room.history({ before: page.before });
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 3 } });
  const messages = [{ offset: 1, at, event: "m", payload: { n: 1 } }];
  await peer.reply(await peer.last(), { epoch: "e1", complete: true, more: false, messages });
  assert.deepEqual(await rest, { epoch: "e1", complete: true, more: false, before: 1, messages });
});
