import assert from "node:assert/strict";
import test from "node:test";
import { Tabs } from "../src/tabs.js";
import { settle } from "./fakes.mjs";

const mount = new URL("http://chat.test/socket");

// Browser has what the tabs of one browser share: locks, channels and connections.
class Browser {
  holders = new Map(); // name of a lock → the tab that has it
  queue = []; // requests for locks
  channels = new Set();
  asked = []; // requests of POST wait that have not been answered
  protocol = "http/1.1";

  constructor(t) {
    const browser = this;
    const former = { document: globalThis.document, BroadcastChannel: globalThis.BroadcastChannel, entries: performance.getEntriesByType };
    globalThis.document = {};
    globalThis.BroadcastChannel = class {
      constructor() { browser.channels.add(this); }
      postMessage(data) {
        assert.ok(browser.channels.has(this), "a channel that is closed was used");
        for (const other of browser.channels) if (other !== this) queueMicrotask(() => browser.channels.has(other) && other.onmessage({ data }));
      }
      close() { browser.channels.delete(this); }
    };
    performance.getEntriesByType = () => [{ name: "http://chat.test/socket/chime.js", nextHopProtocol: this.protocol }];
    Object.defineProperty(globalThis, "navigator", { configurable: true, writable: true, value: { locks: { request: (...args) => this.#request(...args) } } });
    t.after(() => {
      Object.assign(globalThis, { document: former.document, BroadcastChannel: former.BroadcastChannel });
      performance.getEntriesByType = former.entries;
      delete globalThis.navigator;
    });
  }

  #request(name, { ifAvailable, signal }, fn) {
    if (ifAvailable && this.holders.has(name)) return Promise.resolve(fn(null));
    return new Promise((resolve, reject) => {
      this.queue.push({ name, fn, resolve });
      signal?.addEventListener("abort", () => {
        this.queue = this.queue.filter((request) => request.resolve !== resolve);
        reject(signal.reason);
      });
      this.#grant();
    });
  }

  #grant() {
    for (const request of this.queue) {
      if (this.holders.has(request.name)) continue;
      this.queue = this.queue.filter((other) => other !== request);
      this.holders.set(request.name, request);
      Promise.resolve(request.fn({})).then((value) => {
        this.holders.delete(request.name);
        request.resolve(value);
        this.#grant();
      });
      return this.#grant();
    }
  }

  async open() {
    const tabs = new Tabs(mount);
    const ask = {};
    await tabs.enter({
      ask: (path, headers, { body, signal }) => new Promise((resolve, reject) => {
        const asked = { ids: JSON.parse(body).ids, hold: Number(headers["Chime-Hold"]), path };
        const done = () => (this.asked = this.asked.filter((other) => other !== asked));
        asked.answer = async (ids) => { done(); resolve({ status: 200, text: async () => JSON.stringify({ ids }) }); await settle(); };
        signal.addEventListener("abort", () => { done(); reject(signal.reason); });
        this.asked.push(asked);
      }),
    });
    await settle();
    return Object.assign(ask, { tabs, turns: 0, wait(name) { tabs.turn(name).then(() => ask.turns++); return settle(); } });
  }
}

test("two tabs have a place, and on HTTP/2 all do", async (t) => {
  const browser = new Browser(t);
  const all = [await browser.open(), await browser.open(), await browser.open()];
  assert.deepEqual(all.map(({ tabs }) => tabs.crowded), [false, false, true]);
  all[2].tabs.leave();
  browser.protocol = "h2";
  assert.equal((await browser.open()).tabs.crowded, false);
});

test("one waits for all that have none, and each polls when there is something for it", async (t) => {
  const browser = new Browser(t);
  const [, , a, b, c] = [await browser.open(), await browser.open(), await browser.open(), await browser.open(), await browser.open()];
  await a.wait("a");
  await b.wait("b");
  await c.wait("c");
  assert.deepEqual(browser.asked.map(({ ids, path }) => [ids, path]), [[["a", "b", "c"], "/wait"]]);
  assert.ok(browser.asked[0].hold <= 15_000);
  await browser.asked[0].answer(["b"]);
  assert.deepEqual([a.turns, b.turns, c.turns], [0, 1, 0]);
  assert.deepEqual(browser.asked.map(({ ids }) => ids), [["a", "c"]], "who polls is not waited for");
  await b.wait("b");
  assert.deepEqual(browser.asked.map(({ ids }) => ids), [["a", "c", "b"]]);
  await browser.asked[0].answer(["a", "c"]);
  assert.deepEqual([a.turns, b.turns, c.turns], [1, 1, 1]);
});

test("when the one that waits is closed another one does, and loses nobody", async (t) => {
  const browser = new Browser(t);
  const [, , a, b, c] = [await browser.open(), await browser.open(), await browser.open(), await browser.open(), await browser.open()];
  for (const [tab, name] of [[a, "a"], [b, "b"], [c, "c"]]) await tab.wait(name);
  a.tabs.leave();
  await settle();
  assert.deepEqual(browser.asked.map(({ ids }) => ids.sort()), [["b", "c"]]);
  await browser.asked[0].answer(["c"]);
  assert.deepEqual([b.turns, c.turns], [0, 1]);
});

test("a tab gets the place of one that is closed, and polls as one that has it", async (t) => {
  const browser = new Browser(t);
  const [first, , a, b] = [await browser.open(), await browser.open(), await browser.open(), await browser.open()];
  await a.wait("a");
  await b.wait("b");
  first.tabs.leave();
  await settle();
  assert.deepEqual([a.tabs.crowded, b.tabs.crowded, a.turns, b.turns], [false, true, 1, 0]);
  assert.deepEqual(browser.asked.map(({ ids }) => ids), [["b"]], "and the other waits for itself");
});

test("all poll after 15 s, whatever is said or not", async (t) => {
  const browser = new Browser(t);
  const now = t.mock.method(Date, "now", () => 0);
  const [, , a, b] = [await browser.open(), await browser.open(), await browser.open(), await browser.open()];
  await a.wait("a");
  await b.wait("b");
  await browser.asked[0].answer([]);
  assert.deepEqual([a.turns, b.turns], [0, 0]);
  now.mock.mockImplementation(() => 15_000);
  await browser.asked[0].answer([]);
  assert.deepEqual([a.turns, b.turns], [1, 1]);
});

test("where nobody can wait all poll all the same", async (t) => {
  const browser = new Browser(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [, , a, b] = [await browser.open(), await browser.open(), await browser.open(), await browser.open()];
  await a.wait("a");
  await b.wait("b");
  await browser.asked[0].answer(undefined);
  t.mock.timers.tick(5_000);
  await settle();
  assert.deepEqual([a.turns, b.turns], [1, 1]);
});
