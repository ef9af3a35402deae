// Who is present.
import assert from "node:assert/strict";
import { test } from "node:test";
import { presence } from "../src/presence.js";
import { each, joined } from "./setup.mjs";

const push = (event, payload) => [null, null, "room:1", event, payload];
const meta = (ref, more) => ({ phx_ref: ref, ...more });
// people makes of {ann: ["1"]} what is on the wire; it may have any keys.
const people = (keys) => JSON.parse(`{${Object.entries(keys).map(([key, refs]) => `${JSON.stringify(key)}:${JSON.stringify({ metas: refs.map((ref) => meta(ref)) })}`).join()}}`);
const state = (keys) => push("presence_state", people(keys));
const diff = (joins, leaves = {}) => push("presence_diff", { joins: people(joins), leaves: people(leaves) });
const refs = (who) => who.list().map(({ key, metas }) => `${key} ${metas.map(({ phx_ref: ref }) => ref).join()}`);

function watch(who) {
  const calls = [];
  who.onJoin((key, metas) => calls.push(`+${key} ${metas.map(({ phx_ref: ref }) => ref)}`));
  who.onLeave((key, metas) => calls.push(`-${key} ${metas.map(({ phx_ref: ref }) => ref)}`));
  who.onSync(() => calls.push("sync"));
  return () => calls.splice(0);
}

each("keys come and go, and a further connection of one is neither", async (t, transport) => {
  const { room, peer, heard } = await joined(t, transport);
  const who = room.presence;
  const seen = watch(who);
  assert.equal(room.presence, who);
  assert.deepEqual(who.list(), []);
  await peer.say(state({ bob: ["1"], ann: ["2"] }));
  assert.deepEqual([refs(who), seen()], [["bob 1", "ann 2"], ["+bob 1", "+ann 2", "sync"]]);
  await peer.say(diff({ ann: ["3"] })); // a second tab
  assert.deepEqual([refs(who), seen()], [["bob 1", "ann 2,3"], ["sync"]]);
  await peer.say(diff({ ann: ["4"] }, { ann: ["2"] })); // an update of the first
  assert.deepEqual([refs(who), seen()], [["bob 1", "ann 3,4"], ["sync"]]);
  await peer.say(diff({}, { ann: ["3"] }), diff({ cat: ["5"] }, { ann: ["4"], bob: ["1"] }));
  assert.deepEqual([refs(who), seen()], [["cat 5"], ["sync", "+cat 5", "-bob 1", "-ann 4", "sync"]]);
  assert.equal(heard.length, 5, "the events are events, too");
});

each("a rejoin tells what has changed meanwhile, and a leave nothing", async (t, transport) => {
  const { room, peer, clock, again } = await joined(t, transport);
  const seen = watch(room.presence);
  await peer.say(state({ ann: ["1"], bob: ["2"], me: ["3"] }));
  seen();
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual([refs(room.presence), seen()], [["ann 1", "bob 2", "me 3"], []], "until it is known");
  await next.accept("room:1");
  await next.say(state({ ann: ["1", "7"], cat: ["8"], me: ["9"] }));
  assert.deepEqual([refs(room.presence), seen()], [["ann 1,7", "cat 8", "me 9"], ["+cat 8", "-bob 2", "sync"]]);
  await next.say(state({ ann: ["1"], me: ["9"] })); // this client had no room for diffs
  assert.deepEqual([refs(room.presence), seen()], [["ann 1", "me 9"], ["-cat 8", "sync"]]);
  void room.leave();
  assert.deepEqual([room.presence.list(), seen()], [[], []]);
});

each("disconnect keeps who is known, for connect to tell what has changed", async (t, transport) => {
  const { socket, room, peer, again } = await joined(t, transport);
  const seen = watch(room.presence);
  await peer.say(state({ ann: ["1"], me: ["2"] }));
  seen();
  socket.disconnect();
  socket.connect();
  const next = await again();
  await next.accept("room:1");
  await next.say(state({ me: ["3"] }));
  assert.deepEqual([refs(room.presence), seen()], [["me 3"], ["-ann 1", "sync"]]);
  await next.say([await joinRefOf(next), null, "room:1", "phx_close", {}]);
  assert.deepEqual([room.state, room.presence.list(), seen()], ["closed", [], []]);
});

async function joinRefOf(peer) {
  return (await peer.frames()).findLast((frame) => frame[3] === "phx_join")[0];
}

each("keys may be what objects inherit", async (t, transport) => {
  const { room, peer } = await joined(t, transport);
  const seen = watch(room.presence);
  for (const key of ["__proto__", "constructor", "toString", "hasOwnProperty", "1", ""]) {
    await peer.say(push("presence_state", {}));
    seen();
    const one = (ref) => JSON.parse(`{${JSON.stringify(key)}:{"metas":[{"phx_ref":"${ref}"}]}}`);
    await peer.say(push("presence_diff", { joins: one("1"), leaves: {} }), push("presence_diff", { joins: one("2"), leaves: one("1") }));
    assert.deepEqual([refs(room.presence), seen()], [[`${key} 2`], [`+${key} 1`, "sync", "sync"]]);
    await peer.say(push("presence_diff", { joins: {}, leaves: one("2") }));
    assert.deepEqual([room.presence.list(), seen()], [[], [`-${key} 2`, "sync"]]);
  }
  assert.equal({}.metas, undefined);
});

each("a listener that throws or is removed affects nothing else", async (t, transport) => {
  const { room, peer, seen: socket } = await joined(t, transport);
  const who = room.presence;
  who.onJoin(() => { throw new Error("mine"); });
  const undo = who.onSync(() => assert.fail("it was removed"));
  undo();
  const seen = watch(who);
  await peer.say(state({ ann: ["1"] }));
  assert.deepEqual([seen(), socket.errors.map(({ code, cause }) => [code, cause.message])], [["+ann 1", "sync"], [["handler", "mine"]]]);
  assert.throws(() => who.onLeave("x"), TypeError);
  assert.throws(() => { "use strict"; who.list = null; }, TypeError);
});

each("events of these names that are something else are passed on, and harm nothing", async (t, transport) => {
  const { room, peer, heard, seen } = await joined(t, transport);
  for (const payload of [{ ann: 1 }, { ann: null }, { ann: { metas: 1 } }, { joins: "x", leaves: [1] }, {}]) {
    await peer.say(push("presence_state", payload), push("presence_diff", payload));
  }
  assert.deepEqual([room.presence.list(), heard.length, seen.errors], [[], 10, []]);
});

// A server and a client at random: what is shown is what is there, and who listens can count.
test("at random", () => {
  const seed = Number(process.env.CHIME_SEED ?? Math.floor(Math.random() * 2 ** 31));
  for (let round = 0; round < 200; round++) {
    let x = seed + round;
    const random = (n) => (x = (Math.imul(x, 1103515245) + 12345) >>> 0) % 65536 % n;
    const { shown, take } = presence((error) => { throw error; });
    const there = new Map(); // refs by key
    const counted = new Set();
    shown.onJoin((key) => { assert(!counted.has(key), `${key} twice`); counted.add(key); });
    shown.onLeave((key) => assert(counted.delete(key), `${key} was not there`));
    const all = () => people(Object.fromEntries(there));
    for (let step = 0, ref = 0; step < 60; step++) {
      const joins = {};
      const leaves = {};
      for (let n = random(4); n > 0; n--) {
        const key = "abcde"[random(5)];
        const has = there.get(key) ?? [];
        if (has.length && random(2)) (leaves[key] ??= []).push(...has.splice(random(has.length), 1));
        if (random(2)) { (joins[key] ??= []).push(String(++ref)); has.push(String(ref)); }
        if (has.length) there.set(key, has);
        else there.delete(key);
      }
      for (const key of Object.keys(leaves)) { // what came and went at once is not told
        const both = leaves[key].filter((one) => joins[key]?.includes(one));
        leaves[key] = leaves[key].filter((one) => !both.includes(one));
        if (joins[key]) joins[key] = joins[key].filter((one) => !both.includes(one));
      }
      if (random(8) && step) take("presence_diff", { joins: people(joins), leaves: people(leaves) });
      else take("presence_state", all());
      const want = JSON.stringify([...there].map(([key, list]) => `${key} ${[...list].sort().join()}`).sort());
      const got = JSON.stringify(shown.list().map(({ key, metas }) => `${key} ${metas.map(({ phx_ref: r }) => r).sort().join()}`).sort());
      assert.equal(got, want, `seed ${seed}, round ${round}, step ${step}`);
      assert.deepEqual([...counted].sort(), [...there.keys()].sort(), `seed ${seed}, round ${round}, step ${step}`);
    }
  }
});
