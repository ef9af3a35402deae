// What the scripts have in common that show one behaviour of a client each: a
// script exits 0 if the behaviour is as it should be.

// Each wait says what it waits for, so that a failure names it.
export function within(what, start, seconds = 30) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timed out: " + what)), seconds * 1000)
    start((value) => { clearTimeout(timer); resolve(value) }, (why) => { clearTimeout(timer); reject(why) })
  })
}

// Records what comes, in order, and lets one wait for the next.
export class Log {
  #got = []
  #waiting = []

  put(entry) {
    const next = this.#waiting.shift()
    if (next) next(entry); else this.#got.push(entry)
  }

  next(what) {
    if (this.#got.length) return Promise.resolve(this.#got.shift())
    return within(what, (resolve) => this.#waiting.push(resolve))
  }

  // All that has come and was not taken.
  rest() { return this.#got.splice(0) }
}

// The end of a behaviour, whichever it is.
const ends = []
export const atEnd = (fn) => ends.push(fn)

// Runs the behaviour of that name, or says which there are.
export async function run(behaviours, name) {
  if (!Object.hasOwn(behaviours, name)) {
    console.log("behaviours: " + JSON.stringify(Object.keys(behaviours)))
    process.exit(name === "list" ? 0 : 2)
  }
  try {
    await behaviours[name]()
  } catch (error) {
    console.log(error.stack ?? error)
    process.exit(1)
  }
  for (const fn of ends) fn()
  process.exit(0)
}
