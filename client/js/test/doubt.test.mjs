// A connection that has worked is judged by what comes of it: what hangs, lags, flaps, or is cut for being idle.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Socket } from "../chime.js";
import { ChimeStream } from "../phoenix-stream.js";
import { Clock, greeting, Peer, settle } from "./fakes.mjs";
import { begin, outcome, transports } from "./setup.mjs";

const keeps = { grace_ms: 15_000 };

async function lives(t, transport, options = {}) {
  const all = begin(t, { transport, ...options });
  all.socket.connect();
  all.peer = await Peer.meet(all.net, transport, { ...keeps, secret: "s1" });
  all.room = all.socket.channel("room:1");
  all.room.join();
  all.joinRef = await all.peer.accept("room:1");
  all.again = (more) => Peer.meet(all.net, transport, { ...keeps, secret: "s2", resumed: true, received: 1, sent: 1, ...more });
  return all;
}

for (const transport of transports) {
  test(`a push without an answer has the connection asked after 3 s, and replaced within 6 (${transport})`, async (t) => {
    const { socket, room, peer, joinRef, clock } = await lives(t, transport);
    peer.mute();
    const asked = peer.probes.length;
    const first = outcome(room.push("a"));
    await peer.frames();
    await clock.pass(4_500);
    assert.equal(peer.probes.length, asked + 1);
    // One that carries down only is not saved by what comes down.
    for (let beats = 0; beats < 7; beats++) {
      await peer.say([joinRef, null, "room:1", "m", {}]);
      await clock.pass(1_000);
    }
    assert.equal(socket.state, "open");
    await clock.pass(4_000);
    assert.equal(socket.state, "connecting");
    const second = await all(t, transport);
    assert.ok(second <= 6_000, `${second} ms`);
    void first;
  });

  // all returns how long a connection that says nothing any more looks open to one that pushes.
  async function all(t, transport) {
    t.mock.timers.reset();
    const { socket, room, peer, clock } = await lives(t, transport);
    peer.mute();
    room.push("a").catch(() => {});
    await peer.frames();
    const started = Date.now();
    while (socket.state === "open") await clock.pass(250);
    return Date.now() - started;
  }

  test(`a push whose handler takes its time has the connection asked once (${transport})`, async (t) => {
    const { socket, room, peer, clock } = await lives(t, transport);
    const asked = peer.probes.length;
    room.push("slow").catch(() => {});
    await peer.frames();
    for (let left = 15; left > 0; left--) {
      await clock.pass(1_000);
      await peer.frames();
    }
    assert.deepEqual([socket.state, peer.probes.length], ["open", asked + 1]);
  });

  test(`a bare close code ends a connection, and no client socket (${transport})`, async (t) => {
    for (const code of [1000, 1001, 1005, 1012]) {
      const { socket, room, peer, clock, again } = await lives(t, transport);
      const pushed = room.push("a");
      const frame = await peer.last();
      if (transport === "websocket") await peer.down.drop(code);
      else await peer.drop();
      await clock.pass(250);
      const next = await again({ received: 2 });
      await next.reply(frame, { done: true });
      assert.deepEqual([await pushed, room.state], [{ done: true }, "joined"]);
      socket.disconnect();
      t.mock.timers.reset();
    }
  });

  for (const woken of [false, true]) {
    test(`${woken ? "after the page woke up" : "else"} another connection starts beside one that hangs every ${woken ? 1 : 2} s (${transport})`, async (t) => {
      const window = new EventTarget();
      Object.assign(globalThis, { addEventListener: (...all) => window.addEventListener(...all), removeEventListener: (...all) => window.removeEventListener(...all) });
      t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
      const { socket, peer, clock, sockets, net, again } = await lives(t, transport);
      const made = () => sockets.length + net.gets.length;
      peer.mute();
      if (woken) window.dispatchEvent(new Event("online"));
      else await peer.drop();
      await clock.pass(woken ? 500 : 250);
      assert.equal(made(), 2, "beside the one that is in doubt");
      await clock.pass(woken ? 1_000 : 2_000);
      assert.equal(made(), 3);
      await clock.pass(woken ? 1_000 : 2_000);
      assert.equal(made(), 4);
      peer.mute(false);
      await again();
      assert.equal(socket.state, "open");
    });
  }

  test(`an early end after a long outage is followed at once (${transport})`, async (t) => {
    const { socket, peer, clock, sockets, net, again } = await lives(t, transport);
    await peer.drop();
    for (let tries = 0; tries < 12; tries++) {
      await clock.pass(10_000);
      for (const one of sockets) if (one.readyState === 0) await one.drop();
      for (const one of net.gets.slice(1)) if (!one.answered && !one.aborted) await one.fail();
    }
    while (socket.diagnosis.attempts.at(-1).outcome !== "trying") await clock.pass(250);
    const next = await again();
    assert.equal(socket.state, "open");
    const made = sockets.length + net.gets.length;
    await next.close(1001, "disconnected");
    await clock.pass(500);
    assert.equal(sockets.length + net.gets.length, made + 1);
  });

  test(`silences that a network does not allow are filled (${transport})`, async (t) => {
    const { socket, peer, clock, again } = await lives(t, transport);
    await clock.pass(5_000);
    await peer.drop();
    await clock.pass(250);
    const next = await again();
    await clock.pass(5_100);
    await next.drop();
    await clock.pass(500);
    const third = await again();
    const asked = third.probes.length;
    for (let left = 30; left > 0; left--) {
      await clock.pass(1_000);
      await third.frames();
    }
    const ms = socket.diagnosis.pingMs;
    assert.ok(ms > 2_500 && ms < 4_000, `${ms} ms`);
    assert.ok(third.probes.length - asked >= 6, `${third.probes.length - asked} probes in 30 s`);
    assert.deepEqual(socket.diagnosis.blocked, []);
  });
}

test("a stream behind what POSTs say the server has sent is given up after 3 s without a word", async (t) => {
  const { socket, room, net, peer, joinRef, clock } = await lives(t, "sse");
  room.push("a").catch(() => {});
  await settle();
  await net.post.apply({ sent: 5 });
  await clock.pass(2_000);
  await peer.say([joinRef, null, "room:1", "m", {}]); // slow is not held back
  await clock.pass(2_500);
  assert.equal(socket.state, "open");
  await clock.pass(6_000);
  assert.equal(socket.state, "connecting");
  assert.match(socket.diagnosis.attempts[0].reason, /nothing came for 3000 ms, but more was sent/);
});

test("heartbeats that come in bunches are of a stream that is held back", async (t) => {
  const { socket, net, peer, clock } = await lives(t, "sse");
  const beat = async () => {
    await peer.say([null, null, "chime", "heartbeat", { sent: 1, received: 1 }]);
    if (!net.post.answered) await net.post.apply();
  };
  for (let bunches = 0; bunches < 2; bunches++) {
    assert.equal(socket.state, "open");
    await clock.pass(30_000);
    await beat();
    await beat();
  }
  assert.equal(socket.state, "connecting");
});

// chance is Math.random with a seed, so that a failure can be seen again.
function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const drain = [null, null, "chime", "drain", { retry_ms: 0 }];
const closed = (code) => [null, null, "chime", "closed", { code, reason: "" }];
const ends = {
  "says hello and ends": [greeting(keeps)],
  "resumes and ends": [greeting({ ...keeps, resumed: true })],
  "says hello and that it is over": [greeting(keeps), closed(1013)],
  "drains with no time to wait": [greeting(keeps), drain, closed(1012)],
  "says nothing": [],
};

for (const [what, frames] of Object.entries(ends)) {
  for (const client of ["websocket", "sse", "auto", "phoenix-stream"]) {
    test(`a server that ${what}, for ever, is asked 12 times in 20 s at the most, and then less (${client})`, async (t) => {
      for (let seed = 1; seed <= 4; seed++) {
        const clock = new Clock(t);
        Math.random.mock.mockImplementation(chance(seed));
        const at = [];
        class Brief {
          readyState = 0;
          constructor() {
            at.push(Date.now());
            queueMicrotask(() => {
              this.readyState = 1;
              for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
              this.readyState = 3;
              this.onclose({ code: 1006, reason: "" });
            });
          }
          send() {}
          close() {}
        }
        const fetch = async (url, { method = "GET" } = {}) => {
          if (method === "GET") at.push(Date.now());
          if (method === "GET" && url.includes("/sse")) return new Response(frames.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join(""), { headers: { "Content-Type": "text/event-stream" } });
          return new Response("", { status: 404 });
        };
        let stop;
        if (client === "phoenix-stream") stop = phoenix(fetch, `ws://brief${servers++}.test/socket/websocket`);
        else {
          const socket = new Socket("https://chat.test/socket", { WebSocket: Brief, fetch, transport: client });
          socket.on("error", () => {});
          socket.connect();
          stop = () => socket.disconnect();
        }
        await clock.pass(40_000);
        stop();
        const [early, late] = [at.filter((when) => when < at[0] + 20_000).length, at.filter((when) => when >= at[0] + 20_000).length];
        if (what !== "says nothing") assert.ok(early <= 12 && late <= early, `${early} connections in 20 s, then ${late}, seed ${seed}`);
        else assert.ok(early <= 36 && late < early, `${early} requests in 20 s, then ${late}, seed ${seed}`); // an attempt is one of each transport
        t.mock.timers.reset();
        t.mock.restoreAll();
      }
    });
  }
}

let servers = 0;

// phoenix is what phoenix.js does with its transport: it tries again at once, after one that was open from the start.
function phoenix(fetch, url) {
  const waits = [10, 50, 100, 150, 200, 250, 500, 1_000, 2_000, 5_000];
  let [tries, stopped, stream] = [0, false, null];
  const connect = () => {
    if (stopped) return;
    stream = new (class extends ChimeStream { static fetch = fetch })(url);
    stream.onopen = () => (tries = 0);
    stream.onclose = () => setTimeout(connect, waits[Math.min(tries++, waits.length - 1)]);
  };
  connect();
  return () => {
    stopped = true;
    stream.close();
  };
}
