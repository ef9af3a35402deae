import { farewell } from "./address.js";
import { ChimeError } from "./errors.js";
import { EventStream } from "./eventstream.js";
import { Link } from "./link.js";
import { jitter, RETRY_CAP_MS, retryAfter } from "./pauses.js";
import { parsed } from "./values.js";

export const ENVELOPE = 66; // most bytes of a POST's body around its frames
const POST_MS = 10_000;
const BYE_MS = 1_000;

/** A connection whose frames from the server come in a stream, and whose frames to the server go in POSTs: one at a time, so that
 * they arrive in order, and numbered, so that one that is sent again is applied once. Exported for phoenix-stream.js alone. */
export class StreamLink extends Link {
  #stream = new AbortController();
  #post = null;
  #most = Infinity; // entries in a batch; less after one that was refused as a whole
  #ackDue = false;
  #beatDue = false;
  #promotionDue = false;
  #pumping = false;
  #wake = () => {};

  constructor(address, hooks, session) {
    super("sse", address, hooks, session);
    this.#read();
  }

  get buffered() { return this.session ? this.session.after(this.session.known).reduce((sum, { bytes }) => sum + bytes, 0) : 0; }

  send(entry) {
    this.session.queue.push(entry);
    this.flush();
  }

  // resume: the first POST with the new secret promotes the connection, with or without frames.
  resume() {
    this.#promotionDue = true;
    this.flush();
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
    this.#beatDue = true;
    this.#pump();
  }

  say(text) {
    this.send({ text, bytes: text.length, uncounted: true });
    this.#wake();
  }

  shut(goodbye) {
    this.#post?.abort();
    this.#wake();
    if (!goodbye || !this.since) return this.#stream.abort();
    // The stream ends after the goodbye: before it, the server would see a broken connection.
    const timer = setTimeout(() => this.#stream.abort(), BYE_MS);
    farewell(this.address, this.session.secret, goodbye).then(() => {
      clearTimeout(timer);
      this.#stream.abort();
    });
  }

  async #read() {
    const headers = { Accept: "text/event-stream", "Chime-Received": String(this.session?.received ?? 0) };
    if (this.session) headers["Chime-Secret"] = this.session.secret;
    await null; // so that a failure comes after the socket has this link
    let response;
    try {
      response = await this.address.fetch(this.address.of("/sse"), { headers: this.address.headers(headers), cache: "no-store", signal: this.#stream.signal });
      const { status } = response;
      if (status !== 200 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        const body = parsed(await response.text());
        return this.end({ status, reason: body?.reason ?? `the stream was answered with status ${status}: 200 and text/event-stream are expected`, retryMs: retryAfter(response) });
      }
      const reader = response.body.getReader();
      const events = new EventStream();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return this.end({ code: 1006, reason: "the stream ended" });
        for (const data of events.push(value)) {
          this.take(data);
          await null; // as on a WebSocket: code that awaited a reply runs before the next frame is handled
        }
      }
    } catch (error) {
      this.end({ code: 1006, reason: error.message, unanswered: !response });
    }
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    await null; // pushes of one turn of the event loop make one batch
    for (let batch, given; !this.ended; await this.#deliver(batch, given)) {
      given = this.session.sent;
      batch = this.#batch();
      if (!batch.length && !this.#promotionDue && !this.#beatDue && !(this.#ackDue && this.session.received > this.session.acked)) break;
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
      const { status, body, retryMs } = await this.#send(before + 1, batch);
      if (this.ended) return;
      const has = status === 200 ? body?.applied : status === 409 ? body?.want - 1 : NaN;
      if (Number.isInteger(has) && (has !== before || before === last)) return this.#settle(has, batch, before);
      if (status === 400 || status === 413) {
        // Not those that a former connection sent: the server may have them by now, and would take another frame for one of them.
        if (tries === 0) this.session.uncount(batch.filter(({ number }) => number > given));
        return this.#refused(batch, status, body);
      }
      const final = status >= 400 && status < 500 && ![408, 409, 429].includes(status);
      if (final || (batch.length && Date.now() - started > this.silence)) {
        // Without the status: whether the client is refused is for the next connection to learn.
        return this.end({ code: 1006, reason: status ? `a POST was answered with status ${status}` : "a POST was not answered" });
      }
      await this.#pause(Math.min(retryMs ?? 0, RETRY_CAP_MS) + jitter(tries, 250, 5_000));
      if (!batch.length && this.session.after(before).length) return;
    }
  }

  #settle(has, batch, before) {
    if (has < before || has > this.session.sent) return this.end({ code: 1006, reason: `the server wants frame ${has + 1}, which is not kept here`, over: true });
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
    this.end({ code: 1006, reason, error, failed: bad ? [bad] : batch, over: true });
  }

  async #send(first, batch) {
    const post = (this.#post = new AbortController());
    const timer = setTimeout(() => post.abort(), POST_MS);
    const { received, secret } = this.session;
    this.#ackDue = this.#beatDue = this.#promotionDue = false;
    try {
      const response = await this.address.fetch(this.address.of("/sse"), {
        method: "POST",
        headers: this.address.headers({ "Content-Type": "application/json", "Chime-Secret": secret }),
        body: `{"first":${first},"received":${received},"frames":[${batch.map((entry) => entry.text).join(",")}]}`,
        signal: post.signal,
      });
      const body = parsed(await response.text());
      if (response.status === 200 && body && !this.ended) {
        this.confirmed = true;
        this.acknowledged(received);
      }
      return { status: response.status, body, retryMs: retryAfter(response) };
    } catch {
      return { status: 0 };
    } finally {
      clearTimeout(timer);
    }
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
