// Long-polling: what a client on it asks for, and when. schedule.test.mjs has it among the other transports, at random.
import assert from "node:assert/strict";
import { test } from "node:test";
import { greeting, settle } from "./fakes.mjs";
import { begin } from "./setup.mjs";

const heartbeat = [null, null, "chime", "heartbeat", { sent: 1, received: 1 }];

// lives is a joined channel on polls, of which one is parked.
async function lives(t) {
  const all = begin(t, { transport: "longpoll" });
  all.net.polling = true;
  all.room = all.socket.channel("room:1");
  all.heard = [];
  all.room.on("*", (payload) => all.heard.push(payload));
  all.room.join();
  await settle();
  const [poll] = all.net.polls;
  assert.deepEqual([poll.headers["Chime-Secret"], poll.headers["Chime-Received"], poll.headers["Chime-Hold"]], [undefined, "0", "0"]);
  await poll.reply(1, greeting({ grace_ms: 15_000, secret: "s1" }));
  const [post] = all.net.pollPosts;
  assert.deepEqual([post.headers["Chime-Secret"], post.body.first, post.frames.length, post.probes.length], ["s1", 1, 1, 1], "the join does not wait for the proof");
  await post.answer(200, { applied: 1, sent: 1 });
  assert.equal(all.socket.state, "connecting");
  await all.net.polls[1].reply(1, ["1", "1", "room:1", "phx_reply", { status: "ok", response: {} }]);
  assert.deepEqual([all.socket.state, all.socket.transport, all.room.state], ["open", "longpoll", "joined"]);
  return all;
}

const said = (n) => [null, null, "room:1", "m", n];

test("a poll acknowledges, and another is asked for at once", async (t) => {
  const { net, heard } = await lives(t);
  assert.deepEqual([net.polls[2].headers["Chime-Secret"], net.polls[2].headers["Chime-Received"], net.polls[2].headers["Chime-Hold"]], ["s1", "1", undefined]);
  await net.polls[2].reply(2, said(1), heartbeat, said(2));
  assert.deepEqual([heard, net.polls[3].headers["Chime-Received"]], [[1, 2], "3"]);
  assert.equal(net.pollPosts.length, 1, "no POST answers a heartbeat or acknowledges");
});

test("a reply that is lost is asked for again, and what was heard already is not handed out twice", async (t) => {
  const { net, heard, clock, socket } = await lives(t);
  await net.polls[2].fail();
  await clock.pass(125);
  assert.equal(net.polls[3].headers["Chime-Received"], "1");
  await net.polls[3].reply(2, said(1));
  await net.polls[4].reply(2, said(1), said(2));
  assert.deepEqual([heard, socket.state], [[1, 2], "open"]);
});

test("a gap ends the client socket: what is missing will not come", async (t) => {
  const { net, heard, socket } = await lives(t);
  await net.polls[2].reply(3, said(2));
  assert.deepEqual([heard, socket.state, net.byes.length], [[], "connecting", 1]);
});

test("a poll that the network cuts for its age is asked to be held for less", async (t) => {
  const { net, clock } = await lives(t);
  await clock.pass(10_000);
  await net.polls[2].fail();
  await clock.pass(250);
  assert.equal(net.polls[3].headers["Chime-Hold"], "6000");
});

test("a server that has no time is asked again when it says", async (t) => {
  const { net, clock, socket } = await lives(t);
  await net.polls[2].answer(503, { reason: "busy" }, { "Retry-After": "2" });
  await clock.pass(2_124);
  assert.equal(net.polls.length, 3);
  await clock.pass(1);
  assert.deepEqual([net.polls.length, socket.state], [4, "open"]);
});

test("one that is refused is a broken connection: the next attempt learns whether we are", async (t) => {
  const { net, clock, socket, seen } = await lives(t);
  await net.polls[2].answer(401, { reason: "expired" });
  assert.deepEqual([socket.state, seen.errors], ["connecting", []]);
  await clock.pass(250);
  await net.polls[3].answer(401, { reason: "expired" });
  assert.deepEqual([socket.state, seen.errors.map(({ status }) => status)], ["refused", [401]]);
});

test("a server that has the connection still goes on without a hello", async (t) => {
  const { net, clock, socket, room, heard } = await lives(t);
  await net.polls[2].answer(410, { reason: "elsewhere" });
  await clock.pass(250);
  assert.deepEqual([net.polls[3].headers["Chime-Secret"], net.polls[3].headers["Chime-Hold"]], ["s1", "0"]);
  await net.polls[3].reply(2, said(1));
  const post = net.pollPosts.at(-1);
  assert.equal(post.headers["Chime-Secret"], "s1");
  await post.answer(200, { applied: 1, sent: 2 });
  assert.deepEqual([socket.state, room.state, heard], ["open", "joined", [1]]);
});

test("a server that does not know the secret is asked for a new client socket", async (t) => {
  const { net, clock, room } = await lives(t);
  await net.polls[2].answer(410, { reason: "unknown" });
  await clock.pass(250);
  await net.polls[3].answer(410, { reason: "unknown" });
  await clock.pass(250);
  assert.equal(net.polls[4].headers["Chime-Secret"], undefined);
  await net.polls[4].reply(1, greeting({ grace_ms: 15_000, secret: "s2" }));
  assert.deepEqual([room.state, net.pollPosts.at(-1).headers["Chime-Secret"], net.pollPosts.at(-1).frames[0][3]], ["joining", "s2", "phx_join"]);
});

for (const [until, ms] of [["it is active", 1_200], ["5 s are over", 5_000]]) test(`a new service worker has the requests that go through the old one end until ${until}`, async (t) => {
  class Target extends EventTarget {}
  const registration = new Target();
  const worker = Object.assign(new Target(), { state: "installing" });
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { serviceWorker: { controller: {}, getRegistration: async () => registration } } });
  t.after(() => (navigator ? Object.defineProperty(globalThis, "navigator", navigator) : delete globalThis.navigator));
  const { net, clock, socket, room } = await lives(t);
  assert.equal(socket.diagnosis.serviceWorker, true);
  registration.installing = worker;
  registration.dispatchEvent(new Event("updatefound"));
  await clock.pass(1_000);
  assert.equal(socket.state, "open", "while it is installed nothing is in its way");
  worker.state = "installed";
  worker.dispatchEvent(new Event("statechange"));
  const [parked, last] = net.polls.slice(-2);
  assert.deepEqual([parked.aborted, socket.state, room.state], [true, "connecting", "joined"]);
  assert.deepEqual([last.headers["Chime-Secret"], last.headers["Chime-Received"], last.headers["Chime-Hold"], last.aborted], ["s1", "1", "0", false], "the old worker waits for the answer to the parked one: this has it answered");
  await last.fail();
  const polls = net.polls.length;
  await clock.pass(ms - 1);
  assert.equal(net.polls.length, polls);
  if (ms < 5_000) {
    worker.state = "activated";
    worker.dispatchEvent(new Event("statechange"));
  }
  await clock.pass(1);
  assert.equal(net.polls.length, polls + 1);
});
