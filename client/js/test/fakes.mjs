// The server's side of both transports, played by the test.

export const secret = "s3cret";

export const greeting = (more) => [null, null, "chime", "hello", {
  id: "c1", secret, heartbeat_ms: 15_000, grace_ms: 0, resumed: false, received: 0, sent: 0, transports: ["websocket", "sse"],
  limits: { message_bytes: 65_536, batch_bytes: 262_144, batch_messages: 100, topics: 100 }, ...more,
}];

// settle lets everything happen that needs no clock: promises and streams.
export async function settle() {
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve));
}

// Clock is the only clock the client sees. Chance always draws the middle, so full jitter is half of its bound.
export class Clock {
  #timers;

  constructor(t, now = 1_000_000_000_000) {
    this.#timers = t.mock.timers;
    this.#timers.enable({ apis: ["setTimeout", "Date"], now });
    t.mock.method(Math, "random", () => 0.5);
  }

  async pass(ms) {
    await settle();
    for (let left = ms; left > 0; left -= 250) {
      this.#timers.tick(Math.min(left, 250));
      await settle();
    }
  }
}

export class FakeWebSocket {
  static made = [];
  static mute = false;
  static get last() { return FakeWebSocket.made.at(-1); }

  name = "websocket";
  readyState = 0;
  sent = []; // frames
  probes = [];
  mute = FakeWebSocket.mute; // answers no probe
  closed = null; // the code the client closed it with
  onmessage = null;
  onclose = null;
  onerror = null;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeWebSocket.made.push(this);
  }

  // What only asks whether the connection works is answered, and not among what was sent, unless the test mutes it.
  send(text) {
    if (this.readyState !== 1) throw new Error("sent before open, or after close");
    const frame = JSON.parse(text);
    if (frame[3] !== "probe") return void this.sent.push(frame);
    this.probes.push(frame);
    if (!this.mute) queueMicrotask(() => this.onmessage?.({ data: JSON.stringify([null, null, "chime", "probe_ok", frame[4]]) }));
  }

  close(code) {
    this.closed = code;
    this.readyState = 3;
  }

  async hello(more) {
    this.readyState = 1;
    await this.say(greeting(more));
  }

  async say(...frames) {
    for (const frame of frames) {
      this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
      await settle();
    }
  }

  // end is that of the client socket, which the server says in a frame.
  async end(code, reason = "") {
    await this.say([null, null, "chime", "closed", { code, reason }]);
    await this.drop(code, reason);
  }

  async drop(code = 1006, reason = "") {
    this.readyState = 3;
    this.onerror?.({});
    this.onclose?.({ code, reason });
    await settle();
  }

  get frames() { return this.sent.filter(([, , topic]) => topic !== "chime"); }
  get acks() { return this.sent.filter(([, , , event]) => event === "ack").map(([, , , , { received }]) => received); }
}

// FakeFetch keeps what was asked; each request is answered by the test.
export class FakeFetch {
  requests = [];
  probes = []; // POSTs that only ask whether the stream works: they are answered, unless the test mutes it
  mute = false;
  heard = []; // all POSTs of frames, those among them
  holds = false; // whether the network passes on the first bytes of a stream alone
  polling = false; // whether the test answers polls; else they fail
  fetch = (url, init = {}) => new Promise((resolve, reject) => {
    const request = new Request(this, url, init, resolve, reject);
    if (request.path.endsWith("/poll") && !this.polling) return reject(new TypeError("Failed to fetch"));
    if (request.method === "POST" && request.path.endsWith("/sse")) this.heard.push(request);
    if (this.mute || this.heard.at(-1) !== request || request.frames.length || !request.probes.length) return void this.requests.push(request);
    this.probes.push(request);
    request.echo();
  });

  get gets() { return this.requests.filter((r) => r.method === "GET" && r.path.endsWith("/sse")); }
  get pollPosts() { return this.requests.filter((r) => r.method === "POST" && r.path.endsWith("/poll")); }
  get polls() { return this.requests.filter((r) => r.method === "GET" && r.path.endsWith("/poll")); }
  get posts() { return this.requests.filter((r) => r.method === "POST" && r.path.endsWith("/sse")); }
  get byes() { return this.requests.filter((r) => r.path.endsWith("/bye")); }
  get stream() { return this.gets.at(-1); }
  get post() { return this.posts.at(-1); }
}

class Request {
  name = "sse";
  #resolve;
  #reject;
  #controller = null;
  aborted = false;
  answered = false;

  constructor(net, url, { method = "GET", headers = {}, body, signal, keepalive = false }, resolve, reject) {
    Object.assign(this, { net, url: String(url), path: new URL(url).pathname, method, headers, text: body, keepalive });
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener("abort", () => {
      this.aborted = true;
      const error = new DOMException("aborted", "AbortError");
      reject(error);
      this.#controller?.error(error);
    });
  }

  // What only asks whether the connection works is not among the frames.
  get body() { const body = JSON.parse(this.text); return { ...body, frames: body.frames.filter(([, , , event]) => event !== "probe") }; }
  get frames() { return this.body.frames; }
  get probes() { return JSON.parse(this.text).frames.filter(([, , , event]) => event === "probe"); }

  async answer(status, body = "", headers = {}) {
    this.answered = true;
    const text = typeof body === "string" ? body : JSON.stringify(body);
    this.#resolve(new Response(text || null, { status, headers }));
    await settle();
  }

  // apply answers as a server that took the whole batch.
  async apply(more) {
    const counted = this.frames.filter(([, , topic]) => topic !== "chime" && topic !== "phoenix");
    const down = this.net.stream;
    const echoes = this.net.mute || down.aborted ? [] : this.probes.map(([, , , , payload]) => [null, null, "chime", "probe_ok", payload]);
    await this.answer(200, { applied: this.body.first - 1 + counted.length, sent: 0, ...more });
    if (echoes.length) await down.say(...echoes).catch(() => {}); // a stream that was ended takes no more
  }

  // echo is apply at once, for a POST that only asks.
  echo() {
    this.answered = true;
    const { stream } = this.net;
    this.#resolve(new Response(JSON.stringify({ applied: this.body.first - 1, sent: 0 }), { status: 200 }));
    stream.#controller?.enqueue(new TextEncoder().encode(this.probes.map(([, , , , payload]) => `data: ${JSON.stringify([null, null, "chime", "probe_ok", payload])}\n\n`).join("")));
  }

  // reply answers a poll.
  reply(first, ...frames) { return this.answer(200, { first, frames }, { "Content-Type": "application/json" }); }

  async fail(message = "network error") {
    this.answered = true;
    this.#reject(new TypeError(message));
    await settle();
  }

  async open() {
    const body = new ReadableStream({ start: (controller) => (this.#controller = controller) });
    this.#resolve(new Response(body, { status: 200, headers: { "Content-Type": "text/event-stream" } }));
    await settle();
  }

  // hello is followed by the second bytes of the stream, unless the network holds those.
  async hello(more) {
    await this.open();
    await this.bytes(`: chime\n\ndata: ${JSON.stringify(greeting(more))}\n\n`);
    await settle(); // it is asked whether it works
    if (!this.net.holds && !this.aborted) await this.bytes(":\n\n");
  }

  async say(...frames) {
    const events = frames.map((frame) => `data: ${typeof frame === "string" ? frame : JSON.stringify(frame)}\n\n`);
    await this.bytes(events.join(""));
  }

  async bytes(chunk) {
    this.#controller.enqueue(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk);
    await settle();
  }

  async drop() {
    this.#controller.close();
    await settle();
  }
}

// Peer is a server on either transport: what is said over one means the same over the other.
export class Peer {
  #net;
  #seen = new Set();
  #frames = [];

  constructor(net) {
    this.#net = net;
  }

  // meet waits for the client's newest connection and greets it.
  static async meet(net, transport, more) {
    await settle();
    const peer = new Peer(net);
    peer.down = transport === "websocket" ? FakeWebSocket.last : net.stream;
    peer.before = net.posts.length;
    await peer.down.hello(more);
    await peer.frames();
    return peer;
  }

  say(...frames) { return this.down.say(...frames); }
  drop() { return this.down.drop(); }

  // close is the server's word that the client socket has ended, or this connection.
  async close(code, reason = "") {
    await this.say([null, null, "chime", "closed", { code, reason }]);
    if (this.down.name === "websocket") await this.down.drop(code, reason);
  }

  // mute answers no probe any more.
  mute(yes = true) {
    this.#net.mute = this.down.mute = yes;
  }

  get probes() { return [...this.#net.heard, ...(this.down.name === "websocket" ? [this.down] : [])].flatMap(({ probes }) => probes); }

  // frames are all the client sent on this connection; POSTs are answered until no more come.
  async frames() {
    await settle();
    if (this.down.name === "websocket") return this.down.frames;
    for (let fresh; (fresh = this.#net.posts.slice(this.before).find((post) => !this.#seen.has(post)));) {
      this.#seen.add(fresh);
      this.#frames.push(...fresh.frames);
      await fresh.apply();
    }
    return this.#frames;
  }

  async last() {
    return (await this.frames()).at(-1);
  }

  // accept answers the join that topic is waiting for, and returns its join_ref.
  async accept(topic, response = {}) {
    const [joinRef, ref] = (await this.frames()).findLast((frame) => frame[2] === topic && frame[3] === "phx_join");
    await this.say([joinRef, ref, topic, "phx_reply", { status: "ok", response }]);
    return joinRef;
  }

  async reply(frame, response = {}, status = "ok") {
    await this.say([frame[0], frame[1], frame[2], "phx_reply", { status, response }]);
  }
}
