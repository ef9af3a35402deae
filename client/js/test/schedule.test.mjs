// Whatever happens to the connections, and whenever: what the application sent is what the other side got, each once and in order.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Socket } from "../chime.js";
import { turn, World } from "./world.mjs";

const seed = Number(process.env.CHIME_SEED) || (Date.now() % 1_000_000_000);
const rounds = Number(process.env.CHIME_ROUNDS) || (process.env.CHIME_TEST_ALL ? 1_000 : 300);

function chance(seed) {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n;
  };
}

// play runs one schedule and returns what both sides saw.
async function play(seed, { server = {}, endings = false } = {}) {
  const random = chance(seed);
  const world = new World({ random, ...server });
  world.pending = [];
  const release = world.hold();
  const page = new Map();
  globalThis.addEventListener = (type, listener) => page.set(type, listener);
  globalThis.removeEventListener = (type) => page.delete(type);
  try {
    const transports = ["websocket", "sse", "longpoll"];
    const socket = new Socket("https://chat.test/socket", { WebSocket: world.WebSocket, fetch: world.fetch, transport: ["auto", ...transports][random(4)] });
    const seen = { states: [], kept: [], passing: [], errors: [], gaps: 0, fates: [], replies: [] };
    socket.on("error", (error) => seen.errors.push(error));
    const room = socket.channel("room");
    room.onState((state) => seen.states.push(state));
    room.onGap(() => seen.gaps++);
    room.on("said", (payload, { offset }) => (offset === null ? seen.passing : seen.kept).push(payload));
    room.join();
    socket.connect();
    await world.calm(() => room.state === "joined");
    assert.equal(room.state, "joined");
    world.server.retained.length = 0;

    let pushed = 0;
    let said = 0;
    const push = () => {
      const n = pushed++;
      room.push(["ask", "later"][random(2)], n, { timeout: 0 }).then(({ answer }) => (seen.fates[n] = answer === n ? "ok" : "wrong"), ({ code }) => (seen.fates[n] = code));
    };
    const actions = [
      [6, push],
      [4, () => world.server.broadcast(said++, true)],
      [2, () => world.server.broadcast(world.server.announced++, false)],
      [30, () => {
        const deliveries = world.deliveries();
        if (deliveries.length) deliveries[random(deliveries.length)]();
      }],
      [4, () => world.pending.splice(random(world.pending.length), 1)[0]?.()],
      [4, () => world.pass([10, 100, 400, 2_500][random(4)])],
      [2, () => world.wires.length && world.cut(world.wires.at(-1 - random(Math.min(3, world.wires.length))))],
      [3, () => world.spoil()],
      [2, () => socket.force(["auto", ...transports][random(4)])],
      [1, () => world.server.beats()],
      [1, () => page.get("online")?.handleEvent({ type: "online" })],
      [1, () => {
        page.get("pagehide")?.handleEvent({ type: "pagehide", persisted: true });
        if (random(2)) return world.pass(300).then(() => page.get("pageshow")?.handleEvent({ type: "pageshow", persisted: true }));
        page.get("pageshow")?.handleEvent({ type: "pageshow", persisted: true });
      }],
      ...(endings ? [[0.3, () => world.server.crash()], [0.3, () => world.server.end([1001, 1012, 1013][random(3)])], [0.5, () => world.pass(6_000)]] : []),
    ];
    const weights = actions.reduce((sum, [weight]) => sum + weight, 0);
    for (let step = 20 + random(120); step > 0; step--) {
      let at = random(weights * 10) / 10;
      const [, act] = actions.find(([weight]) => (at -= weight) < 0);
      await act();
      await turn();
    }
    page.get("pageshow")?.handleEvent({ type: "pageshow", persisted: true });
    const calm = await world.calm(() => {
      for (const reply of world.pending.splice(0)) reply();
      const heard = endings || server.attaches === false || seen.passing.length === world.server.announced; // or lost for good
      return socket.state === "open" && room.state === "joined" && seen.kept.length === said && Object.keys(seen.fates).length === pushed && heard;
    });
    const { applied, retained, announced, joins, opened } = world.server;
    const result = { calm, seen: { ...seen, states: [...seen.states] }, pushed, applied, retained, announced, joins, opened, state: `${socket.state}/${room.state}/${socket.transport}` };
    socket.disconnect();
    await world.calm(() => world.server.clients.size === 0, 1);
    return { ...result, left: world.server.clients.size };
  } finally {
    release();
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
}

const upTo = (n) => Array.from({ length: n }, (_, at) => at);

async function all(t, share, how, check) {
  t.diagnostic(`CHIME_SEED=${seed}`);
  for (let round = 0; round < rounds * share; round++) {
    try {
      check(await play(seed + round, how));
    } catch (error) {
      error.message += `\n(CHIME_SEED=${seed + round} CHIME_ROUNDS=1)`;
      throw error;
    }
  }
}

test("as long as the client socket lives nothing is lost, doubled or out of order, and the channel notices nothing", async (t) => {
  await all(t, 1, {}, ({ calm, seen, pushed, applied, announced, joins, left, state }) => {
    assert.ok(calm, `still waiting: ${state} ${JSON.stringify(seen)}, ${pushed} pushed, ${applied.length} applied`);
    assert.deepEqual(applied, upTo(pushed));
    assert.deepEqual(seen.fates, Array(pushed).fill("ok"));
    assert.deepEqual(seen.kept, upTo(seen.kept.length));
    assert.deepEqual(seen.passing, upTo(announced));
    assert.deepEqual([seen.states, joins, seen.gaps], [["joining", "joined"], 1, 0]);
    assert.equal(left, 0, "client sockets after the goodbye");
  });
});

test("where client sockets end, too, nothing is doubled, history is whole, and what may be lost is told", async (t) => {
  await all(t, 0.4, { server: { grace: 5_000 }, endings: true }, ({ calm, seen, pushed, applied, state }) => {
    assert.ok(calm, `still waiting: ${state} ${JSON.stringify(seen)}, ${pushed} pushed, ${applied.length} applied`);
    assert.deepEqual(seen.kept, upTo(seen.kept.length));
    assert.deepEqual(seen.passing, [...new Set(seen.passing)].sort((a, b) => a - b));
    assert.equal(new Set(applied).size, applied.length, "applied twice");
    for (const n of upTo(pushed)) {
      assert.match(seen.fates[n], /^(ok|outcome_unknown)$/);
      if (seen.fates[n] === "ok") assert.ok(applied.includes(n), `${n} was answered and not applied`);
    }
    assert.equal(seen.gaps, 0);
  });
});

test("a server that keeps no client sockets is as good as it was", async (t) => {
  await all(t, 0.2, { server: { attaches: false, grace: 0 } }, ({ calm, seen, pushed, applied, state }) => {
    assert.ok(calm, `still waiting: ${state} ${JSON.stringify(seen)}, ${pushed} pushed, ${applied.length} applied`);
    assert.deepEqual(seen.kept, upTo(seen.kept.length));
    assert.equal(new Set(applied).size, applied.length, "applied twice");
    for (const n of upTo(pushed)) assert.match(seen.fates[n], /^(ok|outcome_unknown)$/);
  });
});
