// ChimeStream is to phoenix.js what a WebSocket is. What phoenix.js itself makes of it is tested in internal/e2e.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ChimeStream } from "../phoenix-stream.js";
import { Clock, FakeFetch, secret, settle } from "./fakes.mjs";

let servers = 0;

// begin makes a stream and keeps what it calls back with, in order. Each is of another server: what one does makes its client slower.
function begin(t, { url = `ws://chat${++servers}.test/socket/websocket?vsn=2.0.0`, protocols } = {}) {
  const clock = new Clock(t);
  const net = new FakeFetch();
  const stream = new (class extends ChimeStream { static fetch = net.fetch })(url, protocols);
  const heard = [];
  for (const name of ["open", "message", "error", "close"]) {
    stream[`on${name}`] = (event) => heard.push([name, stream.readyState, ...(name === "message" ? [event.data] : name === "close" ? [event.code, event.wasClean] : [])]);
  }
  t.after(() => stream.close());
  return { stream, net, clock, heard };
}

async function open(t, options) {
  const all = begin(t, options);
  await settle();
  await all.net.stream.hello();
  await settle();
  assert.deepEqual(all.heard.splice(0), [["open", 1]]);
  return all;
}

const join = '["1","1","room:1","phx_join",{}]';
const reply = '["1","1","room:1","phx_reply",{"status":"ok","response":{}}]';
const closed = (code) => JSON.stringify([null, null, "chime", "closed", { code, reason: "why" }]);

test("it finds the stream beside the WebSocket, whatever the scheme", async (t) => {
  for (const [url, want] of [
    ["ws://x.test/socket/websocket?vsn=2.0.0", "http://x.test/socket/sse?vsn=2.0.0"],
    ["wss://x.test:8443/a/b/websocket?n%5Ba%5D=1&vsn=2.0.0", "https://x.test:8443/a/b/sse?n%5Ba%5D=1&vsn=2.0.0"],
    ["https://x.test/websocket", "https://x.test/sse"],
  ]) {
    await t.test(url, async (t) => {
      const { net } = begin(t, { url });
      await settle();
      assert.equal(net.stream.url, want);
      assert.deepEqual(net.stream.headers, { Accept: "text/event-stream", "Chime-Received": "0" });
    });
  }
});

test("the token of the subprotocol becomes a header, and is in no URL", async (t) => {
  const token = "a+b/c?>\u00ff~";
  const { net, stream } = await open(t, { protocols: ["phoenix", "base64url.bearer.phx." + btoa(token).replace(/=/g, "")] });
  assert.equal(net.stream.headers.Authorization, `Bearer ${token}`);
  stream.send(join);
  await settle();
  assert.equal(net.post.headers.Authorization, `Bearer ${token}`);
  assert.equal(net.post.headers["Chime-Secret"], secret);
  assert.deepEqual([net.stream.url, net.post.url], Array(2).fill(`http://chat${servers}.test/socket/sse?vsn=2.0.0`));
});

test("nothing is called back while phoenix.js is still setting it up", async (t) => {
  const { stream, net, heard } = begin(t);
  assert.equal(stream.readyState, 0);
  assert.throws(() => stream.send(join), { name: "InvalidStateError" });
  assert.deepEqual(heard, []);
  await settle();
  await net.stream.fail();
  assert.deepEqual(heard, [["error", 3], ["close", 3, 1006, false]]);
});

test("frames are handed out as they came, without those of chime", async (t) => {
  const { net, heard } = await open(t);
  const retained = '[null,"@7","room:1","message_new",{"n":1.50, "b":[null]}]';
  await net.stream.say('[null,null,"chime","heartbeat",{"sent":0}]', reply, retained, '[null,null,"chime","unheard_of",{}]', '[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]');
  await settle();
  assert.deepEqual(heard.map(([, , data]) => data), [reply, retained, '[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]']);
});

test("retained bytes stay text, which has their position, for a topic whose join asked", async (t) => {
  const { stream, net, heard } = await open(t);
  const bytes = (topic, ref) => JSON.stringify([null, ref, topic, "image", { "@binary": "AP8=" }]);
  const kinds = async (...frames) => {
    await net.stream.say(...frames);
    await settle();
    return heard.splice(0).map(([, , data]) => (typeof data === "string" ? data : "bytes"));
  };
  stream.send('["1","1","a","phx_join",{"@last":0}]');
  stream.send('["2","2","b","phx_join",{}]');
  stream.send('["3","3","c","phx_join",7]');
  assert.deepEqual(await kinds(bytes("a", "@7"), bytes("b", "@8"), bytes("c", "@9"), bytes("a", null)), [bytes("a", "@7"), "bytes", "bytes", "bytes"]);
  stream.send('["4","4","a","phx_join",{}]');
  stream.send('["5","5","b","phx_join",{"@since":{"epoch":"e","offset":8}}]');
  assert.deepEqual(await kinds(bytes("a", "@10"), bytes("b", "@11")), ["bytes", bytes("b", "@11")]);
});

test("between two frames whoever awaits something goes on", async (t) => {
  const { stream, net } = await open(t);
  const order = [];
  stream.onmessage = async ({ data }) => {
    order.push(`${data} came`);
    for (let turn = 0; turn < 20; turn++) await null;
    order.push(`${data} was handled`);
  };
  await net.stream.say('[null,null,"a","b",1]', '[null,null,"a","b",2]');
  await settle();
  assert.deepEqual(order.map((text) => text.slice(19)), ["1] came", "1] was handled", "2] came", "2] was handled"]);
});

test("what is sent at once is one POST, numbered, and sent again until it is answered", async (t) => {
  const { stream, net, clock } = await open(t);
  const push = '["1","2","room:1","a",{"x": 1}]';
  stream.send(join);
  stream.send(push);
  assert.equal(stream.bufferedAmount, join.length + push.length);
  await settle();
  assert.equal(net.post.text, `{"first":1,"received":0,"frames":[${join},${push}]}`);
  await net.post.fail();
  stream.send('["1","3","room:1","b",{}]');
  await clock.pass(5_000);
  assert.equal(net.posts.length, 2);
  assert.equal(net.post.text, `{"first":1,"received":0,"frames":[${join},${push}]}`);
  await net.post.apply();
  assert.deepEqual([net.post.body.first, net.post.frames.length], [3, 1]);
  await net.post.apply();
  assert.equal(stream.bufferedAmount, 0);
});

test("a ping has no number, wherever it stands in a batch", async (t) => {
  const { stream, net } = await open(t);
  const ping = '[null,"9","phoenix","heartbeat",{}]';
  const firsts = [];
  for (const frames of [[ping], [join, ping], [ping, join, ping, join], [join]]) {
    for (const frame of frames) stream.send(frame);
    await settle();
    const counted = frames.filter((frame) => frame === join).length;
    firsts.push(net.post.body.first);
    await net.post.answer(200, { applied: net.post.body.first - 1 + counted, sent: 0 });
    assert.equal(stream.bufferedAmount, 0);
  }
  assert.deepEqual(firsts, [1, 1, 2, 4]);
  assert.equal(net.posts.length, 4);
});

test("a gap is filled from the frame the server wants", async (t) => {
  const { stream, net } = await open(t);
  const frames = ['[null,"1","phoenix","heartbeat",{}]', join, '[null,"2","phoenix","heartbeat",{}]', '["1","3","room:1","b",{}]'];
  for (const frame of frames) stream.send(frame);
  await settle();
  await net.post.answer(409, { want: 2 });
  assert.deepEqual([net.post.body.first, net.post.frames.at(-1)], [2, JSON.parse(frames[3])]);
  await net.post.answer(200, { applied: 2, sent: 0 });
  assert.equal(stream.bufferedAmount, 0);
});

test("what was received is acknowledged", async (t) => {
  const { net, clock } = await open(t);
  await net.stream.say(reply);
  await clock.pass(10_000);
  assert.deepEqual(net.post.body, { first: 1, received: 1, frames: [] });
  await net.post.answer(200, { applied: 0, sent: 1 });
  await net.stream.say(...Array(64).fill(reply));
  assert.equal(net.post.body.received, 65);
});

test("the server's word for the end is the close code, behind all that came before", async (t) => {
  for (const code of [1001, 1008, 1012, 1013]) {
    await t.test(String(code), async (t) => {
      const { net, heard } = await open(t);
      await net.stream.say(reply, closed(code));
      await settle();
      assert.deepEqual(heard, [["message", 1, reply], ["close", 3, code, true]]);
    });
  }
});

test("1000 is never made up: older clients would stay away", async (t) => {
  const { net, heard } = await open(t);
  await net.stream.say(closed(1000));
  await settle();
  assert.deepEqual(heard, [["error", 3], ["close", 3, 1006, false]]);
});

test("a stream that breaks, is refused or falls silent is an error and a close", async (t) => {
  for (const [name, happen] of [
    ["ends", ({ net }) => net.stream.drop()],
    ["silent", ({ clock }) => clock.pass(35_000)],
    ["no frame", ({ net }) => net.stream.say("nonsense")],
    ["unknown", async ({ stream, net }) => {
      stream.send(join);
      await settle();
      await net.post.answer(410, { reason: "no such client socket" });
    }],
    ["refused frame", async ({ stream, net }) => {
      stream.send(join);
      await settle();
      await net.post.answer(400, { frame: 1, reason: "no frame" });
    }],
  ]) {
    await t.test(name, async (t) => {
      const all = await open(t);
      await happen(all);
      await settle();
      assert.deepEqual(all.heard.map(([event, state]) => [event, state]), name === "no frame" ? [["close", 3]] : [["error", 3], ["close", 3]]);
      assert.notEqual(all.heard.at(-1)[2], 1000);
      all.stream.send(join); // no exception: phoenix.js may not know yet
    });
  }
  await t.test("connect refused", async (t) => {
    const { net, heard } = begin(t);
    await settle();
    await net.stream.answer(403, { reason: "who are you?" });
    await settle();
    assert.deepEqual(heard, [["error", 3], ["close", 3, 1006, false]]);
  });
});

test("close says goodbye, drops what has come, and is confirmed once", async (t) => {
  const { stream, net, heard } = await open(t);
  stream.onmessage = (event) => {
    heard.push(event.data);
    stream.close(1000, "enough");
    stream.close();
    assert.equal(stream.readyState, 2); // onclose comes later
  };
  await net.stream.say(reply, reply);
  await settle();
  assert.deepEqual(heard, [reply, ["close", 3, 1000, true]]);
  assert.equal(net.byes.length, 1);
  assert.equal(net.byes[0].text, secret);
  await net.byes[0].answer(204);
  assert.equal(net.stream.aborted, true);
  stream.close();
  await settle();
  assert.equal(heard.length, 2);
});

test("close before the stream is open gives it up", async (t) => {
  const { stream, net, heard } = begin(t);
  stream.close();
  await settle();
  assert.deepEqual(heard, [["close", 3, 1005, true]]);
  assert.equal(net.byes.length, 0);
});

test("bytes are binary frames to phoenix.js, of each kind", async (t) => {
  const { stream, net, heard } = await open(t);
  const ascii = (text) => [...text].map((char) => char.charCodeAt(0));
  stream.send(Uint8Array.from([0, 1, 2, 6, 1, ...ascii("112room:1a"), 0xde, 0xad, 0, 255]).buffer);
  stream.send(Uint8Array.from([0, 0, 0, 6, 1, ...ascii("room:1b")]).buffer);
  await settle();
  assert.deepEqual(net.post.frames, [["1", "12", "room:1", "a", { "@binary": "3q0A/w==" }], [null, null, "room:1", "b", { "@binary": "" }]]);
  const bytes = { "@binary": "3q0A/w==" };
  await net.stream.say(
    ...[["1", "12", "room:1", "phx_reply", { status: "ok", response: bytes }], ["1", null, "room:1", "p", bytes], [null, "@5", "room:1", "ü", bytes]].map((frame) => JSON.stringify(frame)),
    JSON.stringify([null, null, "room:1", "m", { ...bytes, and: "more" }]),
    JSON.stringify([null, null, "room:1", "n", { "@binary": "!" }]),
  );
  await settle();
  const data = heard.map(([, , data]) => (typeof data === "string" ? data : [...new Uint8Array(data)]));
  assert.deepEqual(data, [
    [1, 1, 2, 6, 2, ...ascii("112room:1ok"), 0xde, 0xad, 0, 255],
    [0, 1, 6, 1, ...ascii("1room:1p"), 0xde, 0xad, 0, 255],
    [2, 6, 2, ...ascii("room:1"), 0xc3, 0xbc, 0xde, 0xad, 0, 255],
    '[null,null,"room:1","m",{"@binary":"3q0A/w==","and":"more"}]',
    '[null,null,"room:1","n",{"@binary":"!"}]',
  ]);
});

test("its types name the members it has", () => {
  const types = readFileSync(new URL("../phoenix-stream.d.ts", import.meta.url), "utf8");
  const named = [...types.matchAll(/^  (?:readonly )?(\w+)[(:]/gm)].map(([, member]) => member);
  const stream = new (class extends ChimeStream { static fetch = () => new Promise(() => {}) })("ws://x.test/websocket");
  const has = [...Object.keys(stream), ...Object.getOwnPropertyNames(ChimeStream.prototype)];
  stream.close();
  assert.deepEqual(named.sort(), has.sort());
  assert.match(types, /static fetch:/);
});
