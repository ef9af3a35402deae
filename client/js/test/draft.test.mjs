// Messages that grow.
import assert from "node:assert/strict";
import { each, joined } from "./setup.mjs";

const push = (event, payload, ref = null) => [null, ref, "room:1", event, payload];
const entry = (draft, n, text) => ({ draft, event: "answer", payload: { by: "oracle" }, n, text });

async function watching(t, transport) {
  const all = await joined(t, transport, { response: { "@history": { epoch: "e1", offset: 8 } } });
  all.drafts = [];
  all.room.onDraft(({ id, event, payload, text, over }) => all.drafts.push([id, event, payload.by, text, over]));
  all.seen = () => all.drafts.splice(0);
  return all;
}

each("a draft is shown as it grows, and is over right before its message comes", async (t, transport) => {
  const { room, peer, drafts, seen } = await watching(t, transport);
  await peer.say(push("draft_start", entry("a", 0, "")), push("draft_delta", { draft: "a", n: 1, text: "so " }), push("draft_delta", { draft: "a", n: 2, text: "far" }));
  assert.deepEqual(seen(), [["a", "answer", "oracle", "", false], ["a", "answer", "oracle", "so ", false], ["a", "answer", "oracle", "so far", false]]);
  room.on("answer", ({ draft, text }) => drafts.push([draft, text]));
  await peer.say(push("draft_delta", { draft: "other", n: 7, text: "?" }), push("message", { draft: "a" }), push("answer", { draft: "a", by: "oracle", text: "so far." }, "@9"));
  assert.deepEqual(seen(), [["a", "answer", "oracle", "so far", true], ["a", "so far."]]);
  await peer.say(push("draft_delta", { draft: "a", n: 3, text: "?" }), push("draft_end", { draft: "a", reason: "late" }));
  assert.deepEqual(seen(), []);
});

each("a draft that is discarded is over", async (t, transport) => {
  const { peer, seen } = await watching(t, transport);
  await peer.say(push("draft_start", entry("a", 0, "")), push("draft_end", { draft: "a", reason: "empty" }));
  assert.deepEqual(seen(), [["a", "answer", "oracle", "", false], ["a", "answer", "oracle", "", true]]);
});

each("the state says which drafts there are, and a join which there are not", async (t, transport) => {
  const { room, peer, seen, clock, again } = await watching(t, transport);
  await peer.say(push("draft_state", { drafts: [entry("a", 3, "so "), entry("b", 0, "")] }));
  assert.deepEqual(seen(), [["a", "answer", "oracle", "so ", false], ["b", "answer", "oracle", "", false]]);
  await peer.say(push("draft_state", { drafts: [entry("a", 4, "so far")] }));
  assert.deepEqual(seen(), [["b", "answer", "oracle", "", true], ["a", "answer", "oracle", "so far", false]]);
  await peer.drop();
  await clock.pass(500);
  const next = await again();
  assert.deepEqual(seen(), [], "until it is known");
  await next.accept("room:1", { "@history": { epoch: "e1", offset: 8, recovered: true } });
  assert.deepEqual(seen(), [["a", "answer", "oracle", "so far", true]]);
  await next.say(push("draft_state", { drafts: [entry("c", 1, "x")] }), push("draft_state", null), push("draft_start", entry("d", 0, "")));
  assert.deepEqual(seen(), [["c", "answer", "oracle", "x", false], ["c", "answer", "oracle", "x", true], ["d", "answer", "oracle", "", false]]);
  void room.leave();
  assert.deepEqual(seen(), [["d", "answer", "oracle", "", true]]);
});
