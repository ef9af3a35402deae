const EVENTS = ["online", "pagehide", "pageshow", "visibilitychange"];

/** Follows the page: hooks.closed, hooks.frozen (into the back-forward cache), hooks.woke(online) and hooks.updated(state) of a new
 * service worker, which waits for the requests that the present one handles. Outside of a page nothing happens. */
export class Page {
  #hooks;
  #workers;

  constructor(hooks) {
    this.#hooks = hooks;
  }

  // A request that a service worker answers keeps that from being replaced.
  get worker() { return !!globalThis.navigator?.serviceWorker?.controller; }

  follow() {
    this.#listens("addEventListener");
  }

  leave() {
    this.#listens("removeEventListener");
  }

  handleEvent({ type, persisted, target }) {
    if (type === "updatefound") this.#found(target.installing);
    else if (type === "pagehide") persisted ? this.#hooks.frozen() : this.#hooks.closed();
    else if (type === "pageshow" ? persisted : type !== "visibilitychange" || globalThis.document?.visibilityState === "visible") this.#hooks.woke(type === "online");
  }

  async #listens(how) {
    for (const type of EVENTS) globalThis[how]?.(type, this);
    globalThis.document?.[how]?.("resume", this); // after a freeze; it does not bubble
    if (!this.worker) return;
    const registration = (this.#workers ??= await globalThis.navigator.serviceWorker.getRegistration());
    registration?.[how]("updatefound", this);
  }

  #found(worker) {
    worker?.addEventListener("statechange", () => this.#hooks.updated(worker.state));
  }
}
