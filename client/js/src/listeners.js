import { shown } from "./values.js";

export class Listeners {
  #all = new Set();

  get empty() { return this.#all.size === 0; }

  add(fn) {
    if (typeof fn !== "function") throw new TypeError(`chime: the listener is ${shown(fn)}: a function is needed`);
    const own = { fn }; // so that a function added twice is called twice, and each undo removes its own
    this.#all.add(own);
    return () => void this.#all.delete(own);
  }

  call(report, ...args) {
    for (const { fn } of [...this.#all]) {
      try {
        fn(...args);
      } catch (error) {
        report(error);
      }
    }
  }
}
