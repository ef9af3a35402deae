// How long to wait before something is tried again.

const RETRY_CAP_MS = 60_000; // the longest Retry-After or retry_ms that is obeyed
export const STEADY_MS = 10_000; // a connection or a join that lasted this long has worked: the count of tries starts over
const LONGEST_MS = 20_000;
const FLAPS = 2; // after more connections that ended young, the pauses are longer also while the server keeps the client socket

/** The pauses between the connections of one client. They grow with what fails, and not with what worked. */
export class Pauses {
  #tries = 0;
  #flaps = 0; // connections in a row that the server greeted, and that did not last
  #useless = 0; // of them, those that ended before they carried anything
  #leastMs = 0; // what the server last asked to wait for, until a connection opens
  until = 0; // when a time that the server named is over

  reset() {
    this.#tries = this.#flaps = 0;
  }

  opened() {
    this.#leastMs = this.until = this.#useless = 0;
  }

  // ended: the next pause begins with the number of connections that did not last, whatever failed before this one opened. It
  // lived for no time if it was not proven to work.
  ended(lived) {
    if (lived >= STEADY_MS) return this.reset();
    this.#tries = this.#flaps++;
    if (!lived) this.#useless++;
  }

  asked(ms = this.#leastMs) {
    this.#leastMs = Math.min(ms, RETRY_CAP_MS);
    this.until = Date.now() + this.#leastMs;
  }

  // again is the pause for one whose own clock has waited after what failed: none after what worked.
  again() {
    return this.#flaps || this.#leastMs ? this.next() : 0;
  }

  // next waits at least for what the server has asked for, and always for a part of a time that grows, at random: what it asks of
  // all is the same, and it may ask again and again.
  next(asked, most = LONGEST_MS) {
    this.asked(asked);
    const cap = this.#useless > FLAPS ? LONGEST_MS : this.#flaps > FLAPS ? Math.min(2 * most, LONGEST_MS) : most;
    return this.#leastMs + jitter(this.#tries++, 500, cap);
  }
}

// Full jitter, so that the clients of a server that stopped do not come back at the same moment.
export function jitter(tries, first, cap) {
  return Math.random() * Math.min(cap, first * 2 ** tries);
}

export function pass(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// brief is the pause before a request is made again.
export function brief(retryMs = 0, tries) {
  return Math.min(retryMs, RETRY_CAP_MS) + jitter(tries, 250, 5_000);
}

// retryAfter is the least that an answer asks to wait.
export function retryAfter(response) {
  const value = response.headers.get("Retry-After");
  const ms = Number(value) * 1_000 || Date.parse(value) - Date.now();
  return ms >= 0 ? ms : undefined;
}
