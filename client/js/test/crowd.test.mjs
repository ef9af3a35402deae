// Many clients of one server that fails, or stops: they must neither hammer it nor move in step.
import assert from "node:assert/strict";
import test from "node:test";
import { Pauses, Socket } from "../chime.js";
import { Clock, greeting, settle } from "./fakes.mjs";

// chance is Math.random with a seed, so that a failure can be seen again.
function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// crowd makes n clients that are connected. From fail() on, every upgrade is refused and every stream answered by refuse.
async function crowd(t, n, refuse) {
  const clock = new Clock(t);
  Math.random.mock.mockImplementation(chance(1));
  const all = { clock, made: [], requests: [], sockets: [], failing: false };
  class FailingWebSocket {
    readyState = 0;
    constructor() {
      all.made.push(this);
      queueMicrotask(() => {
        if (!all.failing) {
          this.readyState = 1;
          this.onmessage({ data: JSON.stringify(greeting()) });
          return;
        }
        all.requests.push(Date.now());
        this.onclose({ code: 1006, reason: "" });
      });
    }
    send(text) {
      const [, , , event, payload] = JSON.parse(text);
      if (event === "probe") queueMicrotask(() => this.onmessage({ data: JSON.stringify([null, null, "chime", "probe_ok", payload]) }));
    }
    close() {}
  }
  const fetch = async () => {
    all.requests.push(Date.now());
    return refuse();
  };
  for (let i = 0; i < n; i++) {
    const socket = new Socket("https://chat.test/socket", { WebSocket: FailingWebSocket, fetch });
    all.sockets.push(socket);
    socket.connect();
  }
  t.after(() => all.sockets.forEach((socket) => socket.disconnect()));
  await settle();
  assert.ok(all.sockets.every(({ state }) => state === "open"));
  return all;
}

// worst is the most requests of all moments from a time on, each 250 ms long: the clock passes in such steps.
function worst(requests, from) {
  const count = new Map();
  for (const at of requests.filter((at) => at >= from)) count.set(Math.floor(at / 250), (count.get(Math.floor(at / 250)) ?? 0) + 1);
  return Math.max(0, ...count.values());
}

test("20 clients of a server whose WithConnect fails ask it less and less, and not in step", async (t) => {
  const all = await crowd(t, 20, () => new Response('{"reason":"unavailable"}', { status: 503, headers: { "Retry-After": "2" } }));
  all.failing = true;
  const begun = Date.now();
  for (const ws of [...all.made]) ws.onmessage({ data: JSON.stringify([null, null, "chime", "closed", { code: 1001, reason: "disconnected" }]) }); // in the same moment
  await all.clock.pass(60_000);
  const rounds = all.requests.length / 3 / 20; // each try is an upgrade, a stream and a poll
  assert.ok(rounds > 5 && rounds <= 12, `each came ${rounds} times in a minute`);
  assert.ok(worst(all.requests, begun + 5_000) <= 3 * 6, `${worst(all.requests, begun + 5_000)} requests at one moment`);
  const second = all.requests.filter((at) => at >= begun + 30_000).length;
  assert.ok(second < all.requests.length / 3, `${second} of ${all.requests.length} requests came in the second half`);
});

test("clients that were drained keep to what they were told until one finds a server", async (t) => {
  const all = await crowd(t, 20, () => { throw new TypeError("connection refused"); });
  all.failing = true;
  for (const ws of [...all.made]) {
    ws.onmessage({ data: JSON.stringify([null, null, "chime", "drain", { retry_ms: 2_000 }]) });
    ws.onclose({ code: 1012, reason: "drain" });
  }
  const begun = Date.now();
  await all.clock.pass(1_999);
  assert.equal(all.requests.length, 0);
  await all.clock.pass(8_001);
  const tries = all.requests.length / 3 / 20;
  assert.ok(tries > 1 && tries <= 4, `each came ${tries} times in 10 s: every pause is 2 s at least`);
  assert.ok(worst(all.requests, begun) <= 3 * 14, `${worst(all.requests, begun)} requests at one moment`);
});

test("after the third connection in a row that carried nothing the pauses grow beyond the least that a grace period asks for", (t) => {
  t.mock.method(Math, "random", () => 1);
  const pauses = new Pauses();
  const next = () => {
    pauses.ended(0);
    return pauses.next(undefined, 600);
  };
  assert.deepEqual([next(), next(), next(), next()], [500, 600, 2_000, 4_000]);
});
