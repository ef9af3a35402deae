// The room: the guest's pass, the connection, and sending. log.js shows the messages, people.js who is there, and health.js knows
// whether messages are taken.

import { Socket } from "/socket/chime.js";
import { Health } from "/health.js";
import { Log } from "/log.js";
import { People } from "/people.js";

const QUIET_MS = 400; // without a message: the history is complete, and screen readers are told of new messages
const ANSWER_MS = 20_000; // longer than the server's grace period: until then nothing has failed
const DOOR_MS = 8_000; // for an answer of the door, or the connection would wait for it for ever
const DOUBT_MS = 3_000; // without an answer to a message for so long, the server is asked whether it takes any
const PAGE = 50; // older messages that are fetched at one time
const REASONS = {
  timeout: "Not sent: there was no connection.",
  outcome_unknown: "It may have been sent: the connection was gone before an answer came.",
  too_large: "Not sent: it is too long.",
};
const NAMES = { websocket: "websocket", sse: "sse + post", longpoll: "long-poll" };
const OUTCOMES = { trying: "is tried", works: "works", broke: "worked, and broke", failed: "failed" };

const $ = (id) => document.getElementById(id);
const room = decodeURIComponent(location.pathname.split("/")[2] ?? "lobby");
const socket = new Socket("/socket", { token: pass });
const log = new Log({ list: $("log"), scroll: $("scroll"), newer: $("newer"), older: $("older"), again: send, takeBack, fetchOlder });
const health = new Health(showHealth);
const people = new People({ box: $("people"), count: $("count"), list: $("people-list"), typing: $("typing") });

const failed = new Set(); // messages that are sent again when messages are taken

let channel = null;
let me = rememberedGuest(); // {id, name, pass}: each tab is a guest of its own
let asked = ""; // the name that was entered
let wasOpen = false;
let quiet = 0;

document.title = `${room} · chime`;
$("room").textContent = $("door-room").textContent = $("room").title = room; // the bar may be too narrow for it
$("name").value = remembered();
$("name").focus();

socket.on("state", showState);
socket.on("transport", showTransport);
$("why").addEventListener("toggle", () => showTransport(socket.transport)); // what has happened since
socket.on("error", (error) => {
  console.info(`chime: ${error.message}`); // users see the state
});

document.addEventListener("click", ({ target }) => closePanels((panel) => !panel.contains(target)));
document.addEventListener("keydown", ({ key }) => key === "Escape" && closePanels(() => true));

$("force-stream").addEventListener("change", force);
force(); // browsers restore a switch on reload

$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name) enter(name);
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("message").value;
  if (!text.trim() || $("send").disabled) return;
  const message = { name: me.name, by: me.id, message: text, id: newID(), at: Date.now() };
  log.draft(message);
  send(message);
  $("message").value = "";
  grow();
  people.wrote();
  $("message").focus();
});

$("message").addEventListener("input", () => {
  grow();
  people.writes($("message").value !== "");
});
$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("leave").addEventListener("click", () => {
  channel.leave();
  socket.disconnect();
  toDoor("");
});

async function enter(name) {
  asked = name;
  remember(name);
  if (me?.name !== name) me = null;
  $("me").textContent = name;
  $("door").hidden = true;
  $("hall").hidden = false;
  listenQuietly();

  const entered = (channel = socket.channel(`chat_room:${room}`));
  entered.on("message_new", (message, { offset }) => {
    if ($("log").getAttribute("aria-busy") === "true") listenQuietly();
    log.said(plain(message), isMine(message), offset);
  });
  entered.on("message_redacted", ({ offset }) => log.takenBack(offset));
  entered.on("user_joined", (who) => log.note(`${who.name} has joined`));
  entered.on("user_left", (who) => log.note(`${who.name} has left`));
  people.watch(entered, () => me?.id);
  entered.onGap(() => { listenQuietly(); log.reset(); });
  entered.onState((state) => {
    if (state === "joined") listenQuietly();
    showState();
  });
  socket.connect();
  try {
    await entered.join();
    health.watch();
    $("send").disabled = false;
    $("message").focus();
  } catch (error) {
    if (entered !== channel) return; // the user left meanwhile
    socket.disconnect();
    toDoor(`Could not join: ${error.response?.reason ?? error.message}.`);
  }
}

function toDoor(problem) {
  channel = null;
  wasOpen = false;
  failed.clear();
  health.rest();
  $("send").disabled = true;
  $("hall").hidden = true;
  $("door").hidden = false;
  $("door-error").textContent = problem;
  $("door-error").hidden = !problem;
  log.clear();
  people.clear();
  showState();
  $("name").focus();
}

// pass gives the socket the pass of this tab, and has the server make one if there is none, or if it has refused this one: it may
// have another key since it was restarted.
async function pass(refused) {
  if (!me || refused) {
    const response = await fetch("/enter", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: asked }), signal: AbortSignal.timeout(DOOR_MS) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.reason);
    me = answer;
    rememberGuest(me);
  }
  return me.pass;
}

function isMine({ by }) {
  return Boolean(by) && by === me?.id;
}

// fetchOlder returns messages from before an offset, as log.js shows them.
async function fetchOlder(before) {
  const page = await channel.history({ before, limit: PAGE });
  const { messages, more, complete } = page;
  const texts = messages.filter(({ event }) => event === "message_new");
  return {
    messages: texts.map(({ payload, offset }) => ({ message: plain(payload), own: isMine(payload), offset })),
    from: page.before ?? before,
    state: more ? "" : complete ? "begun" : "gone",
  };
}

async function takeBack(offset) {
  await channel.push("message_delete", { offset });
}

// send sends a message, and sends it again with the same id, so that nobody sees it twice if it did arrive.
async function send(message) {
  log.fate(message, "pending");
  failed.delete(message);
  const doubt = setTimeout(() => health.doubt(), DOUBT_MS);
  try {
    const { id, message: text } = message;
    await channel.push("message_new", { message: text, id }, { timeout: ANSWER_MS, key: id });
    log.said(message, true);
  } catch (error) {
    const reason = error.code === "timeout" && error.sent ? "It may have been sent: no answer came." : REASONS[error.code];
    if (error.response?.reason === "internal") {
      failed.add(message);
      health.doubt();
    }
    log.fate(message, "failed", reason ?? `Not sent: ${error.response?.reason ?? "there is no connection"}.`);
  } finally {
    clearTimeout(doubt);
  }
}

// showHealth shows whether messages are taken. Those that were not are sent again when they are.
function showHealth() {
  showState();
  if (!health.wrong) for (const message of failed) send(message);
}

function showState() {
  const joined = channel?.state === "joined";
  const [state, text] =
    socket.state === "refused" ? ["refused", "Refused by the server"]
    : socket.state === "closed" ? ["closed", "Not connected"]
    : socket.state === "connecting" ? ["connecting", wasOpen ? "Reconnecting…" : "Connecting…"]
    : !joined ? ["joining", "Joining…"]
    : health.wrong ? ["unwell", `Nothing can be sent (${health.wrong})`]
    : ["open", "Connected"];
  wasOpen ||= joined;
  $("state").dataset.state = state;
  $("state").textContent = text;
  showEmpty();
}

// showEmpty shows that the room is empty once that is known: it is joined, and no history came.
function showEmpty() {
  $("empty").hidden = !["open", "unwell"].includes($("state").dataset.state) || $("log").getAttribute("aria-busy") === "true";
}

function showTransport(name) {
  $("why").hidden = !name;
  $("transport").dataset.transport = name ?? "";
  $("transport").textContent = NAMES[name] ?? "";
  $("reasons").replaceChildren(...why(socket.diagnosis).map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

// why says in words what socket.diagnosis knows: why this transport, and what became of each that was tried, the newest first.
function why({ transport, rttMs, blocked, pingMs, attempts, serviceWorker }) {
  const lines = transport ? [`This page talks by ${NAMES[transport]}; an answer takes ${rttMs} ms.`] : [];
  if (blocked.length) lines.push(`This network blocks ${blocked.map((name) => NAMES[name]).join(" and ")}. It is tried again now and then.`);
  if (pingMs) lines.push(`This network cuts what is silent, so something is sent every ${Math.round(pingMs / 1_000)} s.`);
  if (serviceWorker) lines.push("A service worker stands between this page and the network.");
  for (const { transport: name, at, outcome, provenMs, lastedMs, reason } of attempts.slice(-6).reverse()) {
    const what = [OUTCOMES[outcome], provenMs === undefined ? "" : `proven after ${provenMs} ms`, lastedMs === undefined ? "" : `ended after ${lastedMs} ms`];
    lines.push(`${new Date(at).toLocaleTimeString()} ${NAMES[name]}: ${what.filter(Boolean).join(", ")}${reason ? `: ${reason}` : ""}`);
  }
  return lines;
}

function closePanels(which) {
  for (const panel of document.querySelectorAll("details[open]")) if (which(panel)) panel.open = false;
}

function force() {
  socket.force($("force-stream").checked ? "sse" : "auto");
}

// listenQuietly keeps a screen reader from reading the history aloud, which ends with the first pause.
function listenQuietly() {
  const busy = (yes) => {
    $("log").setAttribute("aria-busy", yes);
    showEmpty();
  };
  busy(true);
  clearTimeout(quiet);
  quiet = setTimeout(busy, QUIET_MS, false);
}

function grow() {
  const area = $("message");
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`; // its borders
}

// plain makes no assumption about what another client sent.
function plain({ name, by = "", message, id, at }) {
  return { name: String(name), by: String(by), message: String(message), id: String(id), at: Number(at) };
}

// newID does without crypto.randomUUID, which pages served by plain http to another machine do not have.
function newID() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A browser may forbid storage; then the user enters a name each time.
function remembered() {
  try { return localStorage.getItem("chime.name") ?? ""; } catch { return ""; }
}

function remember(name) {
  try { localStorage.setItem("chime.name", name); } catch { /* see above */ }
}

// A page that is loaded again is the same guest, in this tab and no other.
function rememberedGuest() {
  try { return JSON.parse(sessionStorage.getItem("chime.guest")); } catch { return null; }
}

function rememberGuest(guest) {
  try { sessionStorage.setItem("chime.guest", JSON.stringify(guest)); } catch { /* see above */ }
}
