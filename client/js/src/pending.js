const UNSURE_MS = 3_000; // without an answer for so long, it is asked whether the connection works

/** What was sent, or is to be, and waits for its reply: entries, by their ref. */
export class Pending {
  #entries = new Map();
  #link;
  #timer;

  // link returns the connection in use, if there is one.
  constructor(link) {
    this.#link = link;
  }

  add(entry) {
    this.#entries.set(entry.ref, entry);
    this.#watch();
  }

  // take returns the entry that a reply is for, by the ref alone: some error replies have no join_ref.
  take(ref) {
    const entry = this.#entries.get(ref);
    if (entry) this.forget(entry);
    return entry;
  }

  forget(entry) {
    entry.dropped = true;
    this.#entries.delete(entry.ref);
  }

  // drop is for the entries of one member, or all.
  drop(cause, member) {
    for (const entry of [...this.#entries.values()].filter((entry) => !member || entry.member === member)) {
      this.forget(entry);
      entry.interrupted(cause);
    }
  }

  #watch() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      const link = this.#link();
      const unsure = [...this.#entries.values()].filter(({ sentAt = Infinity }) => sentAt >= (link?.sureAt ?? 0)); // all others have arrived
      if (link?.proven && unsure.some(({ sentAt }) => sentAt <= Date.now() - UNSURE_MS)) link.doubt();
      if (unsure.length) this.#watch();
    }, UNSURE_MS / 2);
  }
}
