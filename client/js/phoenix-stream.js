// phoenix-stream.js is a transport for the Phoenix client of npm, for networks that block WebSockets:
//
//   import { Socket } from "phoenix";
//   import { ChimeStream } from "/socket/phoenix-stream.js";
//
//   const socket = new Socket("/socket", { transport: ChimeStream });
//
// To phoenix.js it is a WebSocket. To the server it is a client of the chime dialect on a stream: it numbers the frames it sends,
// sends a batch without an answer again, and acknowledges what it receives.
import { Pauses, StreamLink } from "./chime.js";

const pauses = new Map(); // URL → the pauses between its streams: phoenix.js tries at once after each that was open, however briefly

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** One connection of a Phoenix socket. */
export class ChimeStream {
  static name = "ChimeStream"; // phoenix.js logs and stores it; a minifier would change it
  static fetch = (...request) => globalThis.fetch(...request); // a browser's fetch refuses any other `this`

  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  binaryType = "arraybuffer";
  skipHeartbeat = true; // the server sends heartbeats, and StreamLink answers them: no need of a POST for each of our own
  #state = CONNECTING;
  #link;
  #timer = 0;
  #pauses;
  #callbacks = [];
  #positioned = new Set(); // topics whose join had @since or @last
  #clock = new MessageChannel(); // not a timer: a page in the background has hardly any

  constructor(url, protocols = []) {
    this.#clock.port1.onmessage = () => this.#callbacks.shift()?.();
    const address = addressOf(url, protocols, this.constructor.fetch);
    this.#pauses = pauses.get(address.base) ?? new Pauses();
    pauses.set(address.base, this.#pauses);
    const ms = this.#pauses.again();
    if (ms) this.#timer = setTimeout(() => this.#connect(address), ms);
    else this.#connect(address);
  }

  get readyState() { return this.#state; }

  get bufferedAmount() {
    const session = this.#link?.session;
    return session ? session.after(session.known).reduce((sum, { bytes }) => sum + bytes, 0) : 0;
  }

  #connect(address) {
    this.#link = new StreamLink(address, {
      hello: () => this.#link.prove(),
      proven: () => {
        this.#pauses.opened();
        this.#soon(() => this.#opened());
      },
      frame: (frame, text) => {
        const event = { data: (this.#inText(frame) ? null : binaryOf(frame)) ?? text };
        this.#soon(() => this.onmessage?.(event));
      },
      broke: (why) => {
        // phoenix.js opens a new client socket and never resumes this one: end it instead of waiting for its grace period.
        if (why.code === 1006 && !why.over) this.#link.shut("goodbye");
        if (this.#link.since) this.#pauses.ended(this.#link.proven ? Date.now() - this.#link.since : 0);
        this.#pauses.asked(why.retryMs);
        this.#soon(() => this.#broke(why));
      },
    });
  }

  send(data) {
    if (this.#state === CONNECTING) throw new DOMException("send: the stream is connecting: it must be open", "InvalidStateError");
    if (this.#state !== OPEN) return; // as a WebSocket does
    const text = typeof data === "string" ? data : textOf(data);
    const [, , topic, event, payload] = JSON.parse(text);
    if (event === "phx_join") this.#joining(topic, payload);
    this.#link.send({ text, bytes: new TextEncoder().encode(text).length, uncounted: topic === "phoenix" });
  }

  close(code = 1005, reason = "") {
    if (this.#state >= CLOSING) return;
    this.#state = CLOSING;
    this.#callbacks.length = 0; // frames that were received and not handed out are dropped
    clearTimeout(this.#timer);
    this.#link?.close("goodbye");
    this.#soon(() => this.#closed({ code, reason, wasClean: true }));
  }

  #joining(topic, payload) {
    if (payload?.["@since"] !== undefined || payload?.["@last"] !== undefined) this.#positioned.add(topic);
    else this.#positioned.delete(topic);
  }

  // A binary frame has no place for a position: as on a WebSocket, bytes that have one are text, for a join with @since or @last.
  #inText([, ref, topic]) { return ref !== null && ref.startsWith("@") && this.#positioned.has(topic); }

  // soon calls back later, once per turn of the event loop: code that awaits a reply runs before the next frame is handed out.
  #soon(fn) {
    this.#callbacks.push(fn);
    this.#clock.port2.postMessage(null);
  }

  #opened() {
    this.#state = OPEN; // before the callback, which sends what waited
    this.onopen?.({});
  }

  // broke: 1000 would keep older versions of phoenix.js from reconnecting, so it becomes 1006.
  #broke({ code, reason = "", status }) {
    this.#state = CLOSED;
    const wasClean = code !== undefined && code !== 1006 && code !== 1000;
    if (!wasClean) this.onerror?.({ error: new Error(status ? `${status}: ${reason}` : reason) });
    this.#closed({ code: wasClean ? code : 1006, reason, wasClean });
  }

  #closed(event) {
    this.#state = CLOSED;
    this.#clock.port1.close();
    this.onclose?.(event);
  }
}

// addressOf returns the address and the token of a stream, from the URL of a WebSocket and the subprotocol that has the token.
function addressOf(endpoint, protocols, fetch) {
  const url = new URL(endpoint, globalThis.location?.href);
  const base = `${url.protocol.replace("ws", "http")}//${url.host}${url.pathname.replace(/\/websocket$/, "")}`;
  const prefix = "base64url.bearer.phx.";
  const encoded = [protocols].flat().find((protocol) => protocol.startsWith(prefix))?.slice(prefix.length);
  const token = encoded && atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  return {
    base,
    ask: (path, headers, more) => fetch(base + path + url.search, { ...more, headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers }),
  };
}

// Bytes come as text, {"@binary": base64}; phoenix.js expects a binary frame, which has no ref. If the value is not base64 the
// payload is handed out as it is: an exception would end the connection, and again at each replay.
function binaryOf([joinRef, ref, topic, event, payload]) {
  const reply = event === "phx_reply";
  const value = reply ? payload?.response : payload;
  const base64 = value?.["@binary"];
  if (typeof base64 !== "string" || Object.keys(value).length !== 1) return null;
  const [kind, ...names] = reply ? [1, joinRef, ref, topic, payload.status] : joinRef === null ? [2, topic, event] : [0, joinRef, topic, event];
  const parts = names.map((name) => new TextEncoder().encode(name ?? ""));
  let bytes;
  try {
    bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
  const frame = [kind, ...parts.map((part) => part.length)];
  for (const part of [...parts, bytes]) for (const byte of part) frame.push(byte);
  return Uint8Array.from(frame).buffer;
}

function textOf(data) {
  const frame = new Uint8Array(data);
  let at = 5;
  const [joinRef, ref, topic, event] = [...frame.subarray(1, at)].map((length) => new TextDecoder().decode(frame.subarray(at, (at += length))));
  let bytes = "";
  for (const byte of frame.subarray(at)) bytes += String.fromCharCode(byte);
  return JSON.stringify([joinRef || null, ref || null, topic, event, { "@binary": btoa(bytes) }]);
}
