// The types of chime.js, and what each name promises.

/** How a socket travels: WebSocket first and the stream where that fails, or one of the two whatever happens. */
export type TransportChoice = "auto" | "websocket" | "sse";

/** What carries a socket now. "sse" is the stream with POSTs for the way up. */
export type Transport = "websocket" | "sse";

/**
 * - `closed`: not connected, and not trying to be. Also after somebody else took this client over (code `replaced`).
 * - `connecting`: trying, or waiting for the next try. Channels that were joined may still be: the server waits for a while.
 * - `open`: connected; the server said hello.
 * - `refused`: the server does not want this client (401, 403, close code 4003). It stays away until `connect()` is called again.
 *
 * In `closed` and `refused` no channel is joined; see `disconnect()` for those that were.
 */
export type SocketState = "closed" | "connecting" | "open" | "refused";

/**
 * - `closed`: not joined, and not trying to be: before `join()`, after `leave()`, refused, or closed by the server. Also when the
 *   socket was disconnected, refused or replaced: `connect()` then brings back a channel that was joined.
 * - `joining`: wants to be joined; waits for the connection, the answer, or the next try.
 * - `joined`: messages arrive and pushes leave at once; while the socket is `connecting`, as soon as it is back.
 */
export type ChannelState = "closed" | "joining" | "joined";

/** A place in the history of a topic. It means nothing to another topic, and its offset is not to be computed with. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** What is known of a message besides its payload. */
export interface Meta {
  readonly event: string;
  /** Where the message stands in the history of its topic; null when the server does not retain it. */
  readonly offset: number | null;
  /** True when the message was already history when the channel joined. */
  readonly replayed: boolean;
}

/** Any object of strings, numbers, booleans and objects and arrays of them. */
export interface Params {
  readonly [key: string]: unknown;
}

/** A WebSocket class, the browser's own or another's. */
export interface WebSocketClass {
  new (url: string, protocols: string[]): {
    readonly readyState: number;
    onmessage: ((event: any) => void) | null;
    onclose: ((event: any) => void) | null;
    onerror: ((event: any) => void) | null;
    send(data: string): void;
    close(code?: number): void;
  };
}

export interface SocketOptions {
  /** Sent in the query of every request. A function is called at each attempt to connect, and may be async. */
  readonly params?: Params | (() => Params | Promise<Params>);
  /**
   * Who is connecting; the server finds it with `chime.Token`. It is never part of a URL. A function is called at each attempt to
   * connect, and may be async: the place to fetch a fresh one.
   */
  readonly token?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  /** Default `"auto"`. */
  readonly transport?: TransportChoice;
  /** Default: the global one. Node 20 has none, and `"auto"` uses the stream there. */
  readonly WebSocket?: WebSocketClass;
  /** Default: the global one. A function of one's own can add credentials or headers. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export interface PushOptions {
  /**
   * Milliseconds from the call of `push` to the answer, waiting for the connection included. Default 20,000, which is more than a
   * server waits for a client to come back unless it was told otherwise (15 s). 0, Infinity, and what is beyond the 24 days of a timer
   * wait until the answer or another failure.
   */
  readonly timeout?: number;
}

/** Undoes what gave it: the listener is not called again. */
export type Undo = () => void;

/**
 * - `refused`: the server refused the join (`response` says why, as far as the application wants that known), or the connection.
 * - `error`: the server answered a push, or a join, with an error, or ended a join with one, as when a handler panicked
 *   (`channel_crash`), more was sent than it could take (`overloaded`), or it left with a reason; `response.reason` says which.
 * - `timeout`: a push was not answered in time. `sent` tells whether it may have arrived nevertheless.
 * - `unknown_fate`: a push was sent, and before its answer the channel broke, or the client was over for the server: away for longer
 *   than it waits, or the server itself started anew (`cause`). It may have arrived; to send it again is safe if the application's
 *   payloads carry an id of their own.
 * - `closed`: it was never sent: the channel was not joined, was left, or the socket was disconnected, refused or replaced (`cause`).
 * - `full`: it was never sent: 500 pushes of this channel are unanswered.
 * - `too_large`: it was never applied: it exceeds the server's limit, of a frame or of a POST, whatever the transport is.
 * - `invalid`: it was never applied: the server could not take the frame for one. A WebSocket that ends for that, with the close code
 *   1007, does not say for which frame: a join that may have been it fails with this code, and pushes with `unknown_fate`.
 * - `duplicate`: another channel of this socket has joined this topic.
 * - `lost`: the connection broke; the socket is about to connect again. Of a channel: the client was over for the server besides.
 * - `replaced`: somebody else took this client over.
 * - `unreachable`: no transport worked; `message` says why for each, as far as the browser tells. The socket goes on trying; if it was
 *   a move by `force()`, it stays on the connection it has.
 * - `credentials`: the socket's params or token function failed (`cause`). The socket goes on trying.
 * - `handler`: a function given to `on`, `onState` or `onReset` threw (`cause`).
 */
export type ErrorCode =
  | "refused"
  | "error"
  | "timeout"
  | "unknown_fate"
  | "closed"
  | "full"
  | "too_large"
  | "invalid"
  | "duplicate"
  | "lost"
  | "replaced"
  | "unreachable"
  | "credentials"
  | "handler";

/**
 * Every failure chime.js speaks of, except a programmer's mistake: an argument that can't be meant is a TypeError, thrown by the call or,
 * of `join` and `push`, what the promise is rejected with. Nothing was sent then.
 */
export class ChimeError extends Error {
  constructor(code: ErrorCode, message: string, more?: { response?: unknown; status?: number; sent?: boolean; cause?: unknown });
  readonly code: ErrorCode;
  /** The server's answer, where there was one; commonly `{reason: string}`. */
  readonly response: any;
  /** The HTTP status or the close code, where there was one. */
  readonly status: number | undefined;
  /** Of a failed push: false when it has certainly not been applied, so that to push it again cannot double it. */
  readonly sent: boolean;
}

/**
 * One client of one server. It keeps a connection, and replaces it when it breaks, on whichever transport works: after a random delay
 * that grows to at most 20 s, or a quarter of the time that the server waits, and at once when the browser comes online.
 *
 * If it is back while the server still waits (15 s unless the server says otherwise) nothing has happened: channels stay joined, and
 * what either side sent arrives, once and in order. Later, and after a restart of the server, the channels join again from
 * their positions: see `Channel.recovered` and the code `unknown_fate`.
 *
 * In a page, from `connect()` to `disconnect()`, it says goodbye when the page is closed, keeps the client when the page is put aside for
 * the back button, and finds out whether the connection still lives when the page is shown, comes online, or wakes from a sleep.
 */
export class Socket {
  /**
   * @param url where the server's Router is mounted, such as `"/socket"`; relative to the page, or absolute with http, https, ws or wss.
   */
  constructor(url: string | URL, options?: SocketOptions);

  readonly state: SocketState;
  /** Null while there is no connection. */
  readonly transport: Transport | null;

  /**
   * Starts to connect, and returns at once. It does nothing while connecting or open. After `closed` and `refused` it brings the
   * channels back that were joined: see `disconnect()`.
   */
  connect(): void;

  /**
   * Says goodbye and stays away until `connect()`. All channels close at once; joins still awaited are rejected, and so are pushes that
   * wait. With `connect()` those that had been joined join again by themselves, from their last position, unless they were left or
   * another channel took their topic. All this holds too when the server refuses the client, or another connection replaces it; only
   * that `onState` and the rejected joins then have that error: of code `refused` or `replaced`.
   */
  disconnect(): void;

  /**
   * Chooses the transport from now on. If another one is in use the client moves, and nothing is lost or comes twice: what is there
   * goes on until the new connection is. Should that one not be had, the socket stays where it is and reports `unreachable`.
   */
  force(transport: TransportChoice): void;

  /**
   * A channel of this socket, not joined yet. Of several for one topic only one can be joined at a time. A topic, like an event, is 1 to
   * 255 bytes of UTF-8 without control characters; the topics `chime` and `phoenix`, and events that begin with `phx_`, are not the
   * application's.
   */
  channel(topic: string, params?: Params | (() => Params)): Channel;

  /** Calls `fn` after each change of state. `error` says why, unless the change was asked for. */
  on(name: "state", fn: (state: SocketState, error?: ChimeError) => void): Undo;
  on(name: "transport", fn: (transport: Transport | null) => void): Undo;
  /**
   * Calls `fn` for what no promise tells: `refused`, `replaced`, `unreachable`, `credentials`, `handler`. Without a listener exceptions of
   * handlers go to `reportError`.
   */
  on(name: "error", fn: (error: ChimeError) => void): Undo;
}

/**
 * One topic. The same Channel can be joined, left and joined again; it keeps its listeners and its position throughout.
 *
 * Messages come in order, and a retained one at most once: when the channel has to join again it does so from its last position, and
 * what it missed follows, `replayed`. Listeners should be added before `join()`, since replay follows on its heels.
 */
export class Channel {
  private constructor();

  readonly topic: string;
  readonly state: ChannelState;
  /** Of the last retained message that was handed out; null before there is one, and in topics without history. */
  readonly position: Position | null;
  /**
   * Of the last join: true when it went on without a gap, false when it could not (see `onReset`), null when there was nothing to go on
   * from: it was the first since `join()`, without a position.
   */
  readonly recovered: boolean | null;

  /**
   * Asks to be let in, now or as soon as the socket is connected. It resolves with what the server's HandleJoined accepted with, and
   * rejects with code `refused` or `error` when it did not, `closed` when `leave()` or `disconnect()` came first, `refused` or `replaced` when
   * that befell the socket. There is no timeout: while the client lives the answer is on its way, and without `connect()` the
   * promise stays pending. Later breaks and returns are told by `onState`; the promise settles once.
   *
   * Params are sent with each join; a function is called at each. Two keys are for the server itself: `"@last"`: how many messages of
   * history to replay at first; `"@since"`: a Position to go on from, such as one that a page was rendered with.
   */
  join<Response = unknown>(): Promise<Response>;

  /** Leaves at once, and resolves when the server knows, or is gone. It never rejects. */
  leave(): Promise<void>;

  /**
   * Sends `payload`, any JSON, as it is at the call; default `{}`. Bytes are `{"@binary": …}`, in padded base64. It resolves with the reply.
   * Pushes leave in the order of the calls; while the channel is `joining` they wait. See `ErrorCode` for what it rejects with; one that is
   * rejected with `sent: false` was not applied.
   */
  push<Response = unknown>(event: string, payload?: unknown, options?: PushOptions): Promise<Response>;

  /** Calls `fn` for each message of that event, or of all events for `"*"`. A function that throws harms nothing else. */
  on<Payload = unknown>(event: string, fn: (payload: Payload, meta: Meta) => void): Undo;

  /** Calls `fn` after each change of state. `error` says why, unless the change was asked for. */
  onState(fn: (state: ChannelState, error?: ChimeError) => void): Undo;

  /**
   * Calls `fn` when messages were missed that history no longer has, or may have been: also when a topic without history had to be joined
   * again. Throw away what is shown: the newest messages follow, and replace it; where there is no history nothing does, so fetch it anew.
   */
  onReset(fn: () => void): Undo;
}
