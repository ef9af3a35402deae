// A server that keeps client sockets, a network that loses, repeats and delays, and a clock: all of them played, and moved by whoever
// holds the World. It is written from docs/protocol.md, so that it shares no mistake with chime.js.

const json = JSON.stringify;

export class World {
  now = 1_000_000_000_000;
  wires = []; // WebSockets and streams on which something is still on its way
  posts = [];
  polls = []; // on their way to the server
  replies = []; // on their way back, as functions
  #timers = [];
  #timer = 0;

  constructor({ random, grace = Infinity, keeps = Infinity, attaches = true }) {
    this.random = random;
    this.server = new Server(this, { grace, keeps, attaches });
    const world = this;
    this.WebSocket = class {
      readyState = 0;
      constructor(url, protocols) {
        if (url !== "wss://chat.test/socket/websocket") throw new Error(`a WebSocket of ${url}, which proxies log`);
        const secret = protocols.find((protocol) => protocol.startsWith("chime.secret."))?.slice("chime.secret.".length);
        this.wire = new Wire(world, "websocket", { secret }, {
          item: ({ data, close }) => {
            if (this.readyState === 3) return;
            this.readyState = close === undefined ? 1 : 3;
            if (close === undefined) this.onmessage({ data });
            else this.onclose({ code: close, reason: "" });
          },
        });
      }
      send(data) { this.wire.up.push({ data }); }
      close(code) {
        if (this.readyState === 3) return;
        this.readyState = 3;
        this.wire.up.push({ close: code });
      }
    };
  }

  // hold puts this clock and chance in the place of the real ones, until the function that it returns is called.
  hold() {
    const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: Date.now, random: Math.random };
    globalThis.setTimeout = (fn, ms = 0) => {
      this.#timers.push({ id: ++this.#timer, at: this.now + Math.max(ms, 0), fn });
      return this.#timer;
    };
    globalThis.clearTimeout = (id) => { this.#timers = this.#timers.filter((timer) => timer.id !== id); };
    Date.now = () => this.now;
    Math.random = () => this.random(1_000) / 1_000;
    return () => {
      Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
      Object.assign(Date, { now: real.now });
      Object.assign(Math, { random: real.random });
    };
  }

  async pass(ms) {
    for (const end = this.now + ms; ;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      this.now = next ? Math.max(this.now, next.at) : end;
      if (!next) return;
      globalThis.clearTimeout(next.id);
      next.fn();
      await turn();
    }
  }

  fetch = (url, { method = "GET", headers, body, signal }) => new Promise((resolve, reject) => {
    const abort = (fn) => signal?.addEventListener("abort", fn);
    if (!/^https:\/\/chat\.test\/socket\/(sse|poll|bye)$/.test(url)) throw new Error(`${method} ${url}, which proxies log`);
    if (method === "GET" && url.endsWith("/poll")) {
      const poll = { secret: headers["Chime-Secret"], received: Number(headers["Chime-Received"]), hold: headers["Chime-Hold"] !== "0", over: false };
      poll.answer = (status, answer) => {
        if (poll.over) return;
        poll.over = true;
        this.replies.push((lost) => (lost ? reject(new TypeError("lost")) : resolve(answerOf(status, answer, "application/json"))));
      };
      poll.lose = () => {
        poll.over = true;
        reject(new TypeError("lost"));
      };
      this.polls.push(poll);
      abort(() => poll.lose());
    } else if (method === "GET") {
      const chunks = [];
      let begun = false;
      let wake = null;
      const wire = new Wire(this, "sse", { secret: headers["Chime-Secret"], received: Number(headers["Chime-Received"]) }, {
        item: (item) => {
          if (item.status) resolve(answerOf(item.status, {}));
          else chunks.push(item);
          resolve({
            status: 200, headers: { get: () => "text/event-stream" },
            body: { getReader: () => ({
              read: async () => {
                while (!chunks.length) await new Promise((go) => (wake = go));
                const { data, close } = chunks.shift();
                if (close === 1006) throw new TypeError("cut");
                const comment = begun ? "" : ":\n\n"; // the second one comes with the hello, too
                begun = true;
                if (data !== undefined) return { value: new TextEncoder().encode(`${comment}data: ${data}\n\n${comment}`) };
                return { done: true };
              },
            }) },
          });
          wake?.();
        },
      });
      abort(() => {
        reject(new Error("aborted"));
        chunks.push({ close: 1006 });
        wake?.();
        wire.up.push({ close: 1006 });
      });
    } else {
      const post = { path: url.replace(/.*\//, ""), secret: headers["Chime-Secret"] ?? body, body, aborted: false };
      post.answer = (status, answer) => resolve(answerOf(status, answer));
      post.lose = () => reject(new TypeError("lost"));
      this.posts.push(post);
      abort(() => {
        post.aborted = true; // the server may get it nevertheless
        reject(new Error("aborted"));
      });
    }
  });

  // What can happen next on the network, as functions.
  deliveries() {
    const list = [];
    for (const wire of this.wires) {
      if (wire.up.length) list.push(() => this.server.hears(wire, wire.up.shift()));
      if (wire.down.length) list.push(() => wire.client.item(wire.down.shift()));
    }
    for (const post of this.posts) list.push(() => this.#post(post, true));
    for (const poll of this.polls) list.push(() => {
      this.polls.splice(this.polls.indexOf(poll), 1);
      if (!poll.over) this.server.polled(poll);
    });
    for (const reply of this.replies) list.push(() => this.replies.splice(this.replies.indexOf(reply), 1)[0]());
    return list;
  }

  #post(post, last, answered = true) {
    if (last) this.posts.splice(this.posts.indexOf(post), 1);
    const [status, body] = this.server.post(post);
    if (answered) post.answer(status, body);
  }

  cut(wire) {
    if (wire.name === "longpoll") return wire.parked?.lose();
    for (const way of [wire.up, wire.down]) {
      way.length = this.random(way.length + 1);
      way.push({ close: 1006 });
    }
  }

  // A POST that does not come, comes twice, or whose answer does not come.
  spoil() {
    if (this.replies.length && this.random(2)) return this.replies.splice(this.random(this.replies.length), 1)[0](true);
    if (this.polls.length && this.random(2)) return this.polls.splice(this.random(this.polls.length), 1)[0].lose();
    if (!this.posts.length) return;
    const post = this.posts[this.random(this.posts.length)];
    const how = this.random(4);
    if (how === 0) this.posts.splice(this.posts.indexOf(post), 1);
    if (how === 1) this.#post(post, true, false);
    if (how === 2) return this.#post(post, false, false); // and once more, whenever
    if (how < 2) return post.lose();
    post.lose(); // the client hears nothing, the server will
  }

  // calm lets everything arrive, until nothing is under way and done says so.
  async calm(done, minutes = 5) {
    let steps = 0;
    for (const end = this.now + minutes * 60_000; this.now < end;) {
      if (++steps > 100_000) throw new Error("they go on for ever");
      const [deliver] = this.deliveries();
      if (deliver) deliver();
      else if (await turn(), this.deliveries().length) continue;
      else if (done()) return true;
      else {
        await this.pass(250);
        this.server.beats();
      }
      await turn();
    }
    return false;
  }
}

export const turn = () => new Promise((resolve) => setImmediate(resolve));

const answerOf = (status, body, type = null) => ({ status, headers: { get: (name) => (name === "Content-Type" ? type : null) }, text: async () => json(body) });

// A Wire is one WebSocket or stream: what is under way in it, both ways, in order. One of polls has what the next reply takes along.
class Wire {
  down = [];
  parked = null;
  constructor(world, name, request, client) {
    Object.assign(this, { world, name, client, up: [{ request }] });
    if (name !== "longpoll") world.wires.push(this);
  }
  say(frame) {
    if (this.ended) return;
    this.down.push({ data: json(frame) });
    this.replies();
  }
  end(code) {
    if (this.ended) return;
    if (code !== 1006 && !(this.name === "websocket" && code === 4001)) this.say([null, null, "chime", "closed", { code, reason: "" }]);
    this.ended = true;
    if (this.name !== "longpoll") this.down.push({ close: code });
    this.replies();
  }
  // replies answers the poll that is parked, if there is something: counted frames are taken anew from those that are not
  // acknowledged, so that a reply that was lost is given again.
  replies() {
    const { owner, parked } = this;
    if (!parked || parked.over) return;
    const out = owner.wire === this ? owner.out.slice(parked.received) : [];
    const frames = [...this.down.splice(0).map(({ data }) => JSON.parse(data)).filter(([, , topic]) => topic === "chime"), ...out];
    if (!frames.length && parked.hold) return;
    if (!frames.length) frames.push([null, null, "chime", "heartbeat", { sent: owner.out.length, received: owner.received }]);
    this.parked = null;
    parked.answer(200, { first: parked.received + 1, frames });
  }
}

class Server {
  opened = 0; // client sockets
  joins = 0;
  applied = []; // payloads of pushes
  retained = []; // payloads of the topic's history; offsets are from 1
  announced = 0; // ephemeral messages
  #world;
  #clients = new Set();
  #secrets = 0;
  #limits;

  constructor(world, limits) {
    this.#world = world;
    this.#limits = limits;
  }

  // Client sockets that have not ended.
  get clients() { return this.#clients; }

  hears(wire, { request, data, close }) {
    if (request) return this.#attach(wire, request);
    if (wire.ended) return;
    if (close !== undefined) {
      wire.end(1006);
      const { client } = wire;
      if (wire.owner?.wire !== wire) return this.#break(wire);
      return this.#detach(wire.owner);
    }
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    const { owner } = wire;
    if (owner.over) return;
    if (event === "probe") return wire.say([null, null, "chime", "probe_ok", payload]);
    if (event === "goodbye") return owner.left.has(wire) ? undefined : this.#over(owner, 1000);
    if (owner.wire !== wire) {
      if (event === "ack" && owner.issued.some((issued) => issued.wire === wire)) return this.#promote(owner, wire, payload.received);
      if (!owner.left.has(wire)) throw new Error(`a candidate's first word is ${data}`);
      return; // it was moved away from
    }
    if (event === "ack") return this.#acked(owner, payload.received);
    this.#take(owner, ++wire.number, [joinRef, ref, topic, event, payload]);
  }

  post({ path, secret, body }) {
    const owner = [...this.#clients].find((client) => client.secret === secret || client.issued.some((issued) => issued.secret === secret));
    if (path === "bye") {
      if (owner) this.#over(owner, 1000);
      return [204, {}];
    }
    if (!owner) return [410, {}];
    const { first, received, frames } = JSON.parse(body);
    const issued = owner.issued.find((issued) => issued.secret === secret);
    const name = path === "poll" ? "longpoll" : path;
    if ((issued ?? owner).name !== name) return [410, {}];
    if (issued) this.#promote(owner, issued.wire, received, issued);
    else this.#acked(owner, received);
    if (owner.over) return [410, {}];
    if (first > owner.received + 1) return [409, { want: owner.received + 1 }];
    let number = first;
    for (const frame of frames) {
      if (frame[2] !== "chime") this.#take(owner, number++, frame);
      else if (frame[3] === "probe") owner.wire?.say([null, null, "chime", "probe_ok", frame[4]]);
    }
    return [200, { applied: owner.received, sent: owner.out.length }];
  }

  polled(poll) {
    const { secret, received } = poll;
    const owner = secret && [...this.#clients].find((client) => !client.over && (client.secret === secret || client.issued.some((issued) => issued.secret === secret)));
    const issued = owner && owner.issued.find((issued) => issued.secret === secret);
    const wire = issued ? issued.wire : owner?.wire;
    if (owner && (issued ?? owner).name === "longpoll") {
      if (issued) this.#promote(owner, issued.wire, received, issued);
      else this.#acked(owner, received);
      if (owner.over || !wire) return poll.answer(410, {});
      wire.parked?.answer(200, { first: wire.parked.received + 1, frames: [] });
      wire.parked = poll;
      return wire.replies();
    }
    if (secret && !owner) return poll.answer(410, {});
    const fresh = new Wire(this.#world, "longpoll", {}, null);
    fresh.parked = poll;
    this.#attach(fresh, { secret });
  }

  // A message of the topic, kept in its history or not, from outside any client.
  broadcast(payload, kept) {
    if (kept) this.retained.push(payload);
    const ref = kept ? `@${this.retained.length}` : null;
    for (const client of this.#clients) if (client.joinRef) this.#send(client, [null, ref, "room", "said", payload]);
  }

  beats() {
    for (const { wire, out, received, over } of this.#clients) if (!over) wire?.say([null, null, "chime", "heartbeat", { sent: out.length, received }]);
  }

  // crash is the end of a server that says nothing: of its client sockets and numbers, but not of its history.
  crash() {
    for (const wire of this.#world.wires) wire.end(1006);
    this.#clients.clear();
  }

  end(code) {
    for (const client of this.#clients) this.#over(client, code);
  }

  #attach(wire, { secret }) {
    const known = (client) => client.secret === secret || client.issued.some((issued) => issued.secret === secret);
    const owner = this.#limits.attaches && [...this.#clients].find((client) => !client.over && known(client));
    const fresh = `s${++this.#secrets}`;
    if (!owner) {
      this.opened++;
      const client = { id: `c${this.opened}`, wire, name: wire.name, secret: fresh, issued: [], left: new Set(), received: 0, base: 0, out: [], joinRef: null, over: false };
      this.#clients.add(client);
      Object.assign(wire, { owner: client, number: 0 });
      return this.#hello(wire, client, fresh, false);
    }
    Object.assign(wire, { owner, number: owner.received });
    owner.issued.push({ secret: fresh, wire, name: wire.name });
    this.#hello(wire, owner, fresh, true);
  }

  #hello(wire, { id, received, out }, secret, resumed) {
    const grace = this.#limits.attaches ? Math.min(this.#limits.grace, 120_000) : 0;
    const limits = { message_bytes: 65_536, batch_bytes: 400, batch_messages: 3, topics: 100 };
    wire.say([null, null, "chime", "hello", { id, secret, heartbeat_ms: 15_000, grace_ms: grace, limits, transports: [], resumed, received, sent: out.length }]);
  }

  #promote(owner, wire, received, issued = owner.issued.find((issued) => issued.wire === wire)) {
    if (received > owner.out.length) throw new Error(`${received} of ${owner.out.length} frames are acknowledged`);
    const newer = owner.issued.slice(owner.issued.indexOf(issued) + 1);
    for (const other of [owner, ...owner.issued]) {
      if (other === issued || newer.includes(other) || !other.wire) continue;
      owner.left.add(other.wire);
      other.wire.say([null, null, "chime", "moved", {}]);
      other.wire.end(4001);
    }
    Object.assign(owner, { wire, name: issued.name, secret: issued.secret, issued: newer });
    if (received < owner.out.length - this.#limits.keeps) return this.#over(owner, 1013);
    this.#acked(owner, received);
    if (!wire || wire.ended) return this.#detach(owner);
    if (wire.name !== "longpoll") for (const [at, frame] of owner.out.entries()) if (at >= received) wire.say(frame);
  }

  #acked(owner, received) {
    if (received > owner.out.length) throw new Error(`${received} of ${owner.out.length} frames are acknowledged`);
    owner.base = Math.max(owner.base, received);
  }

  #break(wire) {
    for (const issued of wire.owner?.issued ?? []) if (issued.wire === wire) issued.wire = null;
  }

  #detach(owner) {
    owner.wire = null;
    if (owner.received + owner.out.length === 0 && !owner.issued.length) return this.#over(owner, 1006);
    if (this.#limits.grace === Infinity) return;
    setTimeout(() => owner.wire === null && this.#over(owner, 1013), this.#limits.grace);
  }

  #over(owner, code) {
    owner.over = true;
    this.#clients.delete(owner);
    for (const { wire } of [owner, ...owner.issued]) wire?.end(code);
  }

  #send(owner, frame) {
    owner.out.push(frame);
    owner.wire?.say(frame);
  }

  #take(owner, number, [joinRef, ref, topic, event, payload]) {
    if (number <= owner.received) return;
    if (number !== owner.received + 1) throw new Error(`frame ${number} comes after ${owner.received}`);
    owner.received = number;
    const reply = (response) => this.#send(owner, [joinRef, ref, topic, "phx_reply", { status: "ok", response }]);
    if (event === "phx_join") {
      this.joins++;
      owner.joinRef = joinRef;
      const since = payload["@since"]?.offset ?? this.retained.length;
      const missed = this.retained.slice(since);
      reply({ "@history": { epoch: "e", offset: since, ...(payload["@since"] && { recovered: true }) } });
      missed.forEach((message, at) => this.#send(owner, [null, `@${since + at + 1}`, "room", "said", message]));
      return;
    }
    if (joinRef !== owner.joinRef) return;
    this.applied.push(payload);
    if (event === "ask") reply({ answer: payload });
    else this.#world.pending?.push(() => reply({ answer: payload })); // later, in any order
  }
}
