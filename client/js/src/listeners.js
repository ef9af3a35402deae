import { misuse } from "./values.js";

export class Listeners {
  #all = new Set();

  get empty() { return !this.#all.size; }

  add(fn) {
    if (typeof fn !== "function") throw misuse("the listener", fn, "a function");
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
