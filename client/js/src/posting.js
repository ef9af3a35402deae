import { farewell } from "./address.js";
import { ChimeError } from "./errors.js";
import { Link } from "./link.js";
import { brief, retryAfter } from "./pauses.js";
import { parsed } from "./values.js";

export const ENVELOPE = 66; // most bytes of a POST's body around its frames
const POST_MS = 10_000;
const FIRST_MS = 2_000; // the same, doubled with each try, until one was answered: it may have got a connection that is dead
const BYE_MS = 1_000;
const REDIRECTED = 302; // browsers do not say with which status
const LAG_MS = 3_000; // how long nothing may come although a POST's answer says that the server has sent more

// A PostingLink is a connection whose frames to the server go in POSTs: one at a time, so that they arrive in order, and numbered,
// so that one that is sent again is applied once. Its kinds receive; down ends what they receive with.
export class PostingLink extends Link {
  down = new AbortController();
  answered = false;
  post = 0; // the status of the last POST
  #post;
  #lag;
  #most = Infinity; // entries in a batch; less after one that was refused as a whole
  #ackDue;
  #postDue; // even without frames
  #pumping;
  #wake = () => {};

  send(entry) {
    this.session.queue.push(entry);
    this.flush();
  }

  // resume: the first POST with the new secret promotes the connection, with or without frames.
  resume() {
    this.beat();
  }

  flush() {
    this.#pump();
  }

  ack() {
    this.#ackDue = true;
    this.#pump();
  }

  // beat: only a POST shows the server that somebody reads the stream. The heartbeat has woken the radio already.
  beat() {
    this.#postDue = true;
    this.#pump();
  }

  say(text) {
    this.send({ text, bytes: text.length, uncounted: true });
    this.#wake();
  }

  shut(goodbye) {
    this.#post?.abort();
    clearTimeout(this.#lag);
    this.#wake();
    const down = () => this.down.abort();
    if (!goodbye || !this.since) return down();
    // The stream ends after the goodbye: before it, the server would see a broken connection.
    const timer = setTimeout(down, BYE_MS);
    farewell(this.address, this.secret, goodbye).then(() => {
      clearTimeout(timer);
      down();
    });
  }

  ask(type, own, more) {
    const headers = { ...own, Accept: type, "Chime-Received": String(this.session?.received ?? 0) };
    if (this.session) headers["Chime-Secret"] = this.session.secret;
    return this.address.ask(this.path, headers, { cache: "no-store", redirect: "manual", ...more });
  }

  // get asks for what comes from the server. An answer of another type than expected ends the connection, and null is returned;
  // one with a status after which to ask again is returned too.
  async get(type, own, again) {
    await null; // so that a failure comes after the socket has this link
    const response = await this.ask(type, own, { signal: this.down.signal });
    const status = response.status || REDIRECTED;
    const found = response.headers.get("Content-Type") ?? "";
    if (status === 200 && found.startsWith(type)) return response;
    if (again?.(status)) return response;
    const body = parsed(await response.text());
    const html = found.startsWith("text/html");
    // Where there was a hello, the status is not that of the connection: whether the client is refused is for the next one to learn.
    this.end({ [this.since ? "code" : "status"]: status, html, reason: body?.reason ?? `answered with status ${status}${html ? " and a page" : ""}: 200 and ${type} are expected`, retryMs: retryAfter(response) });
    return null;
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    await null; // pushes of one turn of the event loop make one batch
    for (let batch, given; !this.ended; await this.#deliver(batch, given)) {
      given = this.session.sent;
      batch = this.#batch();
      if (!batch.length && !this.#postDue && !(this.#ackDue && this.session.received > this.session.acked)) break;
    }
    this.#pumping = false;
  }

  #batch() {
    const { session } = this;
    const batch = [];
    let bytes = ENVELOPE;
    for (const entry of session.after(session.known)) {
      bytes += entry.bytes + 1;
      if (batch.length && (bytes > session.limits.batch_bytes || batch.length >= Math.min(this.#most, session.limits.batch_messages))) break;
      session.count(entry);
      batch.push(entry);
    }
    return batch;
  }

  // deliver sends one batch again and again until its outcome is known. Numbers beyond given were first given in this batch. One
  // without frames only acknowledges: that it does not get through is for the server to judge, and frames that wait do the same.
  async #deliver(batch, given) {
    const started = Date.now();
    const before = this.session.known; // the number of the last frame in front of the batch
    const last = before + batch.filter((entry) => !entry.uncounted).length;
    for (let tries = 0; !this.ended; tries++) {
      const { status, body, retryMs } = await this.#send(before + 1, batch, this.answered ? POST_MS : FIRST_MS << tries);
      if (this.ended) return;
      this.post = status;
      const has = status === 200 ? body?.applied : status === 409 ? body?.want - 1 : NaN;
      if (Number.isInteger(has) && (has !== before || before === last)) return this.#settle(has, batch, before);
      if (status === 400 || status === 413) {
        // Not those that a former connection sent: the server may have them by now, and would take another frame for one of them.
        if (tries === 0) this.session.uncount(batch.filter(({ number }) => number > given));
        return this.#refused(batch, status, body);
      }
      const final = status && !isPassing(status) && status !== 200 && status !== 409;
      if (final || (batch.length && Date.now() - started > this.silence)) {
        // The status is not that of the connection: whether the client is refused is for the next one to learn.
        return this.end({ reason: status ? `a POST was answered with status ${status}` : "no answer to a POST", post: status });
      }
      await this.#pause(brief(retryMs, tries));
      if (!batch.length && this.session.after(before).length) return;
    }
  }

  #settle(has, batch, before) {
    if (has < before || has > this.session.sent) return this.end({ reason: `the server wants frame ${has + 1}, not kept here`, over: true });
    this.session.knows(has);
    for (const entry of batch) { // one without a number was taken with those before it
      if (entry.number > has) break;
      entry.dropped = true;
    }
  }

  // refused: nothing of the batch was applied. If the answer names no frame, because the batch as a whole is too large, halve
  // the batch until the bad one is alone. Its number stays unused, so all other frames need a new client socket.
  #refused(batch, status, body) {
    const bad = batch[body?.frame - 1];
    if (batch.length > 1 && (status === 413 || !bad)) return void (this.#most = batch.length >> 1);
    const reason = `the server refused a frame: ${body?.reason ?? status}`;
    const error = new ChimeError(status === 413 ? "too_large" : "invalid", reason, { response: body, status });
    this.end({ reason, error, failed: bad ? [bad] : batch, over: true });
  }

  async #send(first, batch, ms) {
    const post = (this.#post = new AbortController());
    const timer = setTimeout(() => post.abort(), ms);
    const { received } = this.session;
    this.#ackDue = this.#postDue = false;
    try {
      const response = await this.address.ask(this.path, { "Content-Type": "application/json", "Chime-Secret": this.secret }, {
        method: "POST",
        body: `{"first":${first},"received":${received},"frames":[${batch.map((entry) => entry.text).join(",")}]}`,
        signal: post.signal, redirect: "manual",
      });
      const body = parsed(await response.text());
      if (response.status === 200 && body && !this.ended) {
        this.confirmed = true;
        this.acknowledged(received);
        this.shows("answered");
        this.#follows(body.sent);
      }
      return { status: response.status || REDIRECTED, body, retryMs: retryAfter(response) };
    } catch {
      return { status: 0 };
    } finally {
      clearTimeout(timer);
    }
  }

  // follows: what the server has sent by now must be on its way. While frames come, more may be: a slow network is no fault.
  #follows(sent) {
    if (this.ended || !(sent > this.session.received)) return;
    const due = Date.now() + LAG_MS;
    this.#lag ||= setTimeout(() => {
      this.#lag = 0;
      const now = Date.now();
      if (this.session.received >= sent) return;
      if (this.heardAt > due - LAG_MS || now > due + LAG_MS) return this.#follows(sent); // the second: this page slept
      this.end({ reason: `nothing came for ${LAG_MS} ms, but more was sent`, held: true });
    }, LAG_MS);
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

// isPassing reports whether the same request may be answered otherwise a little later.
export function isPassing(status) {
  return status >= 500 || status === 408 || status === 429;
}
