// A client that speaks the wire of docs/from-amber.md, and no other. It knows no
// replies: it joins, and hopes. The server shows that it is there by the bare
// text "ping"; without one for 100 s, and after any other end, the client opens
// a new connection and joins its topics again.
export class AmberSocket {
  #url
  #options
  #ws = null
  #wanted = false
  #timer = 0
  #channels = new Map()
  pings = 0
  opened = 0
  onping = () => {}
  onopen = () => {}
  onclose = () => {}
  onframe = () => {} // whatever text comes

  constructor(url, options = {}) {
    this.#url = url
    this.#options = { WebSocket: globalThis.WebSocket, patience: 100_000, again: 500, ...options }
  }

  connect() {
    this.#wanted = true
    const ws = (this.#ws = new this.#options.WebSocket(this.#url))
    ws.onopen = () => {
      this.opened++
      this.#listen()
      for (const channel of this.#channels.values()) channel.join()
      this.onopen()
    }
    ws.onmessage = ({ data }) => this.#receive(data)
    ws.onerror = () => {} // close follows
    ws.onclose = ({ code }) => {
      clearTimeout(this.#timer)
      if (this.#wanted) this.#timer = setTimeout(() => this.connect(), this.#options.again)
      this.onclose(code)
    }
  }

  disconnect() {
    this.#wanted = false
    clearTimeout(this.#timer)
    this.#ws?.close()
  }

  channel(topic) {
    const handlers = new Map()
    const channel = {
      topic,
      payload: undefined,
      on: (subject, fn) => handlers.set(subject, fn),
      handle: (subject, payload) => handlers.get(subject)?.(payload),
      join: (payload = channel.payload) => {
        channel.payload = payload
        this.#channels.set(topic, channel)
        this.send({ event: "join", topic, ...(payload && { payload }) })
      },
      push: (subject, payload) => this.send({ event: "message", topic, subject, payload }),
      leave: () => {
        this.#channels.delete(topic)
        this.send({ event: "leave", topic })
      },
    }
    return channel
  }

  send(frame) {
    if (this.#ws.readyState === 1) this.#ws.send(typeof frame === "string" ? frame : JSON.stringify(frame))
  }

  // terminate breaks the connection, where the WebSocket class can.
  terminate() {
    this.#ws.terminate()
  }

  #receive(data) {
    this.onframe(data)
    if (data === "ping") {
      this.pings++
      this.#listen()
      return this.onping()
    }
    const { event, topic, subject, payload } = JSON.parse(data)
    if (event === "message") this.#channels.get(topic)?.handle(subject, payload)
  }

  #listen() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#ws.close(), this.#options.patience)
  }
}
