// A Session is one client socket: what outlives its connections. It numbers the frames that are sent, keeps each until the server
// is known to have it, and counts those received.
export class Session {
  secret; // of the connection that carries it
  graceMs; // how long the server keeps it without a connection
  until; // when that ends, at the earliest
  limits;
  heartbeat;
  transports;
  wait; // the name by which other tabs know it while it polls
  received = 0; // counted frames of the server
  acked = 0; // of them, those acknowledged
  sent = 0; // numbers given to frames of ours
  known = 0; // of them, those the server is known to have
  keepsAll; // an attempt is under way: its hello may be older than what arrives meanwhile, so nothing is forgotten
  queue = []; // entries, oldest first: numbered ones, then those not sent yet

  constructor(secret) {
    this.secret = secret;
  }

  // after returns what to send to a server that has frame n.
  after(n) {
    this.#forget();
    return this.queue.filter(({ number }) => !(number <= n));
  }

  // count gives an entry its number when it is first sent. From then on it has to be sent, since no other entry can have that number.
  count(entry) {
    if (!entry.sent && !entry.uncounted) entry.number = ++this.sent;
    entry.sent = true;
    entry.sentAt ??= Date.now();
  }

  // uncount takes back the newest numbers, which the server has not seen.
  uncount(entries) {
    for (const entry of entries) {
      if (entry.number) this.sent--;
      entry.sent = false;
      entry.number = undefined;
    }
  }

  // spares: the server ends this client socket, and has taken no frame after n. Those are sent again on the next one.
  spares(n) {
    for (const entry of this.queue) if (entry.number > n) entry.sent = false;
  }

  knows(n) {
    if (n > this.known && n <= this.sent) this.known = n;
    this.#forget();
  }

  // goesOn reports whether every frame after n is here.
  goesOn(n) {
    const oldest = this.queue.find(({ number }) => number)?.number ?? this.sent + 1;
    return n >= oldest - 1 && n <= this.sent;
  }

  #forget() {
    this.queue = this.queue.filter(({ number, dropped }) => (number ? this.keepsAll || number > this.known : !dropped));
  }
}
