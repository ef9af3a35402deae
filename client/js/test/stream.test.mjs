// The event stream, wherever the network cuts it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { greeting, settle } from "./fakes.mjs";
import { begin } from "./setup.mjs";

const encoder = new TextEncoder();

// heard reads one stream, given in chunks, and returns the payloads of its messages. The reply to the join is the third event.
async function heard(t, chunks) {
  const { socket, net } = begin(t, { transport: "sse" });
  net.mute = true; // nothing comes between the chunks: the reply to the join is proof enough
  const room = socket.channel("room:1");
  const payloads = [];
  room.on("*", (payload) => payloads.push(payload));
  room.join();
  socket.connect();
  await settle();
  await net.stream.open();
  for (const chunk of chunks) {
    await net.stream.bytes(chunk);
    if (net.post && !net.post.answered) await net.post.apply();
  }
  const { state } = socket;
  socket.disconnect();
  t.mock.timers.reset();
  t.mock.restoreAll();
  assert.equal(state, "open");
  return payloads;
}

const hello = `: chime\n\ndata: ${JSON.stringify(greeting())}\n\n:\n\n`;
const reply = `id: 1\ndata: ["1","1","room:1","phx_reply",{"status":"ok","response":{}}]\n\n`;
const message = (payload) => `[null,null,"room:1","m",${JSON.stringify(payload)}]`;

// A stream that has everything the format allows, and what it says.
const awkward = (eol) => [
  ": padding", ": ", "", `data:${JSON.stringify(greeting())}`, "", // no space after the colon
  ":comment: with: colons", "", "",
  "event: ignored", "retry: 1000", "id: 1", `data: ["1","1","room:1","phx_reply",{"status":"ok","response":{}}]`, "",
  "id", "data", "", // an event without data is none
  "data:", "data:", "data: [null,", ":between", "data:null,", "data:  \"room:1\",", "data: \"m\",", "data: {\"lines\":6}]", "",
  `data: ${message("grüße, 世界 🎉")}`, "", "",
  "datas: [not a field of ours]", "dat: [nor this]", " data: [nor this]", `data: ${message("a: b")}`, "field without colon", "",
  `data: ${message("  two spaces ")}`, "",
  `data: ${message("\r\n\u2028\u0000")}`, "",
  `data: ${message("unfinished")}`, // no empty line: never an event
].join(eol) + eol;
const said = [{ lines: 6 }, "grüße, 世界 🎉", "a: b", "  two spaces ", "\r\n\u2028\u0000"];

for (const [name, eol] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
  const bytes = encoder.encode(awkward(eol));

  test(`lines end with ${name}: cut in two at every byte`, async (t) => {
    for (let cut = 1; cut < bytes.length; cut += 1) {
      assert.deepEqual(await heard(t, [bytes.slice(0, cut), bytes.slice(cut)]), said, `cut at ${cut}`);
    }
  });

  test(`lines end with ${name}: byte by byte`, async (t) => {
    assert.deepEqual(await heard(t, [...bytes].map((byte) => Uint8Array.of(byte))), said);
  });
}

test("line ends may be mixed, and chunks may have any size", async (t) => {
  const seed = Number(process.env.CHIME_SEED) || Date.now();
  t.diagnostic(`CHIME_SEED=${seed}`);
  let state = seed >>> 0;
  const random = (n) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 8) % n;
  for (let round = 0; round < 100; round++) {
    const lines = awkward("\n").split("\n");
    const last = lines.pop();
    // A lone CR before an empty line would make one line end of two, if that one ends with LF.
    const ended = lines.map((line, at) => line + (lines[at + 1] === "" ? ["\n", "\r\n"][random(2)] : ["\n", "\r\n", "\r"][random(3)]));
    const bytes = encoder.encode(ended.join("") + last);
    const chunks = [];
    for (let at = 0; at < bytes.length;) {
      const size = 1 + random(40);
      chunks.push(bytes.slice(at, at + size));
      at += size;
    }
    assert.deepEqual(await heard(t, chunks), said, `round ${round}, CHIME_SEED=${seed}`);
  }
});

test("a byte order mark is skipped, at the start only", async (t) => {
  const bom = Uint8Array.of(0xef, 0xbb, 0xbf);
  const rest = encoder.encode(hello + reply + `data: ${message("\ufeffkept")}\n\n`);
  assert.deepEqual(await heard(t, [bom, rest]), ["\ufeffkept"]);
  assert.deepEqual(await heard(t, [bom.slice(0, 1), bom.slice(1), rest]), ["\ufeffkept"]);
});

test("an empty chunk between CR and LF is nothing", async (t) => {
  const chunks = [hello, reply, "data: [null,null,\r", "", "\n", 'data: "room:1","m",1]\n\n'];
  assert.deepEqual(await heard(t, chunks), [1]);
});

test("many events in one chunk are all handled, in order", async (t) => {
  const many = Array.from({ length: 1_000 }, (_, n) => n);
  assert.deepEqual(await heard(t, [hello, reply + many.map((n) => `id: ${n + 2}\ndata: ${message(n)}\n\n`).join("")]), many);
});

test("what follows in the chunk after a listener disconnects is not handed out", async (t) => {
  const { socket, net } = begin(t, { transport: "sse" });
  net.mute = true; // nothing comes between the chunks: the reply to the join is proof enough
  const room = socket.channel("room:1");
  const payloads = [];
  room.on("m", (payload) => {
    payloads.push(payload);
    socket.disconnect();
  });
  room.join();
  socket.connect();
  await settle();
  await net.stream.open();
  await net.stream.bytes(hello);
  await net.stream.bytes(reply + `data: ${message(1)}\n\ndata: ${message(2)}\n\n`);
  assert.deepEqual(payloads, [1]);
});

test("a stream of one long line in small pieces is read in linear time", async (t) => {
  const long = "x".repeat(1_000_000);
  const bytes = encoder.encode(`data: ${message(long)}\n\n`);
  const chunks = [hello, reply];
  for (let at = 0; at < bytes.length; at += 1_000) chunks.push(bytes.slice(at, at + 1_000));
  assert.deepEqual(await heard(t, chunks), [long]);
});
