// A channel reads older messages, page by page.
import assert from "node:assert/strict";
import { each, joined, open, outcome } from "./setup.mjs";

const at = (offset, more) => ({ "@history": { epoch: "e1", offset, ...more } });
const message = (offset) => ({ offset, at: "2026-01-01T00:00:00.000Z", event: "m", payload: { n: offset } });
const page = (offsets, more = true, epoch = "e1") => ({ epoch, complete: true, more, messages: offsets.map(message) });
const read = (...args) => ({ ...page(...args), before: args[0][0] }); // as history() resolves with it

each("history goes back from where the join began, page by page", async (t, transport) => {
  const { room, peer, joinRef, heard } = await joined(t, transport, { response: at(40) });
  await peer.say([null, "@41", "room:1", "m", 1]);
  const first = room.history();
  const [ref, , topic, event, payload] = await peer.last();
  assert.deepEqual([ref, topic, event, payload], [joinRef, "room:1", "@history", { before: { epoch: "e1", offset: 41 } }]);
  await peer.reply(await peer.last(), page([30, 38]));
  assert.deepEqual(await first, read([30, 38]));
  const second = room.history({ limit: 2 });
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 30 }, limit: 2 });
  await peer.reply(await peer.last(), page([], false));
  assert.deepEqual(await second, read([], false));
  room.history({ before: 35 }).catch(() => {});
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 35 } });
  await peer.reply(await peer.last(), page([31]));
  room.history().catch(() => {});
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 30 } }, "what was read again is not where it goes on");
  assert.deepEqual(heard.map(([, n]) => n), [1]);
  assert.deepEqual(room.position, { epoch: "e1", offset: 41 });
});

each("pages that are asked for at once follow each other, also behind one that failed", async (t, transport) => {
  const { room, peer } = await joined(t, transport, { response: at(40) });
  const pages = [room.history(), room.history({ limit: 0 }), room.history(), room.history()].map(outcome);
  assert.equal((await peer.frames()).length, 2);
  await peer.reply(await peer.last(), page([30]));
  const second = await peer.last();
  assert.deepEqual(second[4], { before: { epoch: "e1", offset: 30 } });
  await peer.reply(second, { reason: "unavailable" }, "error");
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 30 } });
  await peer.reply(await peer.last(), page([20]));
  assert.deepEqual((await Promise.all(pages)).map((p) => p?.messages?.[0].offset ?? p), [30, undefined, "error, sent", 20]);
});

each("a page whose join ends is asked for again, from where the next join begins", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport, { response: at(40) });
  const [first, second] = [room.history(), room.history({ before: 33 })];
  assert.equal((await peer.last())[3], "@history");
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  await next.accept("room:1", { "@history": { epoch: "e2", offset: 7, recovered: false } });
  assert.deepEqual((await next.last())[4], { before: { epoch: "e2", offset: 8 } });
  await next.reply(await next.last(), page([5], true, "e2"));
  assert.deepEqual(await first, read([5], true, "e2"));
  assert.deepEqual((await next.last())[4], { before: { epoch: "e1", offset: 33 } }, "an offset is of the epoch in which it was given");
  const nothing = { ...page([], false, "e2"), complete: false };
  await next.reply(await next.last(), nothing);
  assert.deepEqual(await second, { ...nothing, before: undefined });
});

each("a rejoin without a gap goes on where history had come to", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport, { response: at(40) });
  const first = room.history();
  await peer.reply(await peer.last(), page([30]));
  await first;
  await peer.drop();
  await clock.pass(500);
  const waits = room.history();
  const next = await again();
  await next.accept("room:1", at(40, { recovered: true }));
  assert.deepEqual((await next.last())[4], { before: { epoch: "e1", offset: 30 } });
  await next.reply(await next.last(), page([]));
  assert.deepEqual(await waits, read([]));
});

each("history is refused where there is none, and where nobody has joined", async (t, transport) => {
  const { socket, peer } = await open(t, transport);
  const room = socket.channel("room:1");
  await assert.rejects(room.history(), { code: "closed", sent: false, message: "room:1 @history: not joined: join() is needed" });
  room.join();
  const early = room.history();
  await peer.accept("room:1");
  assert.deepEqual((await peer.last())[4], {});
  await peer.reply(await peer.last(), { reason: "no history" }, "error");
  await assert.rejects(early, { code: "error", message: "room:1 @history: no history", sent: true });
  const late = room.history();
  const asked = await peer.last();
  room.leave();
  const never = outcome(room.history());
  await peer.reply(asked, page([7])); // the server answers what it was sent before the leave
  assert.deepEqual(await late, read([7]));
  assert.equal(await never, "closed");
});

each("history has a timeout, which does not hold up the next page", async (t, transport) => {
  const { room, peer, clock } = await joined(t, transport, { response: at(40) });
  const slow = room.history({ timeout: 100 });
  const next = room.history();
  assert.equal((await peer.frames()).length, 2);
  await clock.pass(100);
  await assert.rejects(slow, { code: "timeout", sent: true });
  const [, late] = await peer.frames();
  await peer.reply(late, page([1]));
  assert.deepEqual((await peer.last())[4], { before: { epoch: "e1", offset: 41 } });
  await peer.reply(await peer.last(), page([30]));
  assert.deepEqual(await next, read([30]));
});

each("what history is asked by mistake is a TypeError, and is not sent", async (t, transport) => {
  const { room, peer } = await joined(t, transport, { response: at(40) });
  for (const wrong of [0, -1, 1.5, 2 ** 53, NaN, Infinity, "7", null, { epoch: "e1", offset: 7 }, [7], true]) {
    for (const name of ["before", "limit"]) await assert.rejects(room.history({ [name]: wrong }), TypeError, `${name}: ${JSON.stringify(wrong)}`);
  }
  for (const options of [null, 7, { after: 7 }, { timeout: "1" }]) await assert.rejects(room.history(options), TypeError, JSON.stringify(options));
  for (const name of ["@history", "@", "@x"]) {
    await assert.rejects(room.push(name), TypeError);
    assert.throws(() => room.on(name, () => {}), TypeError);
  }
  assert.equal((await peer.frames()).length, 1);
});
