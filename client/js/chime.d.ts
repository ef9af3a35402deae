// The types of chime.js, and what each name promises.

/** The transports that a socket may use: whatever the network lets through, the WebSocket first, or one of them only. */
export type TransportChoice = "auto" | Transport;

/**
 * The transport of a connection. "sse" is an event stream from the server, and POSTs to it; "longpoll" is requests that the server
 * answers when it has something, and POSTs.
 */
export type Transport = "websocket" | "sse" | "longpoll";

/**
 * - `closed`: not connected and not connecting. Also after another user of its secret took the client over (code `replaced`).
 * - `connecting`: trying, or waiting for the next try. Channels that were joined may still be, during the server's grace period.
 * - `open`: connected, and proven to carry both ways.
 * - `refused`: the server refused this client (401, 403, an end with code 4003). It stays away until `connect()` is called again.
 *
 * In `closed` and `refused` no channel is joined; see `disconnect()` for those that were.
 */
export type SocketState = "closed" | "connecting" | "open" | "refused";

/**
 * - `closed`: not joined and not joining: before `join()`, after `leave()`, refused, or ended by the server. Also when the socket was
 *   disconnected, refused or replaced: `connect()` then joins a channel again that was joined.
 * - `joining`: waits for the connection, the answer, or the next try.
 * - `joined`: messages arrive and pushes are sent at once; while the socket is `connecting`, as soon as it is connected.
 */
export type ChannelState = "closed" | "joining" | "joined";

/** A place in the history of a topic. It is valid for that topic only; offsets may be compared, and not computed with. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** What is known of a message besides its payload. */
export interface Meta {
  readonly event: string;
  /** The message's offset in the history of its topic; null if the server does not retain it. */
  readonly offset: number | null;
}

/** Any object of strings, numbers, booleans and objects and arrays of them. */
export interface Params {
  readonly [key: string]: unknown;
}

/** A WebSocket class, the browser's or another. */
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
   * The credential of the client; the server reads it with `chime.Token`. It is never part of a URL. A function is called at each
   * attempt to connect, and may be async, to fetch a fresh one. It is called with `true` when the server has refused (401) what it
   * returned last, so it may keep a token until then.
   */
  readonly token?: string | null | ((refused: boolean) => string | null | undefined | Promise<string | null | undefined>);
  /** Default `"auto"`. */
  readonly transport?: TransportChoice;
  /**
   * Default `true`: where WebSockets do not get through, tabs of one origin park no more than three of the six connections that a
   * browser has to a server on HTTP/1.1. Two tabs have a stream each; the others poll when one of them, which waits for all, says so.
   * With `false` this tab keeps its own connection, whatever the others do.
   */
  readonly shareConnections?: boolean;
  /** Default: the global one. Node 20 has none, and `"auto"` uses the stream there. */
  readonly WebSocket?: WebSocketClass;
  /** Default: the global one. Another function can add credentials or headers. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export interface PushOptions {
  /**
   * Milliseconds from the call of `push` to the answer, the wait for a connection included. Default 20,000, more than a server's
   * default grace period (15 s). With 0, Infinity, and more than the 24 days that a timer can have, there is no timeout.
   */
  readonly timeout?: number;
  /**
   * What is pushed again with the same key is said once, as long as the topic retains it: after `outcome_unknown` or `timeout` the same
   * push can be made again. 1 to 255 bytes of text, best from `crypto.randomUUID()`; another payload with it is an `error`. The payload
   * has to be an object, and the topic to have a history.
   */
  readonly key?: string;
}

/** One connection, or the attempt at it. Times are milliseconds, from its begin. */
export interface AttemptRecord {
  readonly transport: Transport;
  /** When it began, as of `Date.now()`. */
  readonly at: number;
  /** `trying`: nothing is known yet. `failed`: it was not proven to work, or another was first. `broke`: it was, and has ended. */
  readonly outcome: "trying" | "works" | "failed" | "broke";
  /** Until the server's hello, and until an answer showed that frames pass both ways. */
  readonly helloMs?: number;
  readonly provenMs?: number;
  readonly lastedMs?: number;
  /** Why it ended: a close code, an HTTP status, and words. */
  readonly code?: number;
  readonly status?: number;
  readonly reason?: string;
  /** A look at a transport that carried no channel: whether a better one works by now, or what the server answers where a browser hides it. */
  readonly trial?: true;
}

export interface Diagnosis {
  readonly transport: Transport | null;
  /** How long an answer of the server took, when the connection was proven. */
  readonly rttMs: number | null;
  /** In which order transports are tried. */
  readonly order: Transport[];
  /** Those that this network was seen to block within the last half hour: they are tried last, and again in the background. */
  readonly blocked: string[];
  /** After how much silence this client asks for an answer, where the network cuts what is idle for less than a heartbeat. */
  readonly pingMs: number | null;
  /** Whether a service worker controls the page: see docs/networks.md. */
  readonly serviceWorker: boolean;
  /** The last 20, oldest first. */
  readonly attempts: AttemptRecord[];
}

export interface JoinOptions {
  /** Milliseconds until the promise is rejected with `timeout`, while the channel goes on joining. Default 20,000; 0 is none. */
  readonly timeout?: number;
}

export interface HistoryOptions {
  /**
   * An offset, from 1, of this topic: the page ends before it. By default before the first message that the channel has handed out, or
   * has read by `history()`; after a gap, before the first of those that replace what it had.
   */
  readonly before?: number;
  /** How many messages at most, from 1. Default 50; the server has no more than 500 in a page, nor more than some 128 KiB. */
  readonly limit?: number;
  /** Milliseconds until the promise is rejected with `timeout`. Default 20,000; 0 is none. */
  readonly timeout?: number;
}

/** A message of the history. */
export interface OlderMessage<Payload = unknown> {
  readonly offset: number;
  /** When it was said, as `new Date()` takes it. */
  readonly at: string;
  readonly event: string;
  readonly payload: Payload;
}

/** A part of the history of a topic, without a hole. */
export interface HistoryPage<Payload = unknown> {
  /** The oldest first. */
  readonly messages: OlderMessage<Payload>[];
  /** There are messages before these. Where the server withholds some from this client, that may be so of a page without messages, too. */
  readonly more: boolean;
  /** What to give as `before` to go on, also where this page has no messages for this client; undefined if nothing comes before it. */
  readonly before: number | undefined;
  /**
   * The topic has lost none: where there are no more, this is where it began. If false, what was older is no longer kept. A message that
   * was redacted is not missed.
   */
  readonly complete: boolean;
  /** Of the offsets. Before an offset of another epoch there is nothing, and it is not complete. */
  readonly epoch: string;
}

/** Removes the listener: it is not called again. */
export type Undo = () => void;

/**
 * - `refused`: the server refused the join (`response` has the reason that the application gave), or the connection.
 * - `error`: the server answered a push or a join with an error, or ended a join with one: a handler panicked (`channel_crash`), more
 *   was sent than the handler could take (`overloaded`), or the channel gave a reason; see `response.reason`.
 * - `timeout`: a push was not answered in time, `sent` says whether it may have arrived nevertheless; or a join, which goes on.
 * - `outcome_unknown`: a push was sent, and before its answer the join ended, or the client socket: the grace period was over, or the
 *   server was killed, or shut down before its handler was done (`cause`). It may have been handled or not; to send it again is safe if the application's payloads have an id
 *   by which it recognises duplicates.
 * - `closed`: it was not sent: the channel was not joined, was left, or the socket was disconnected, refused or replaced (`cause`).
 * - `full`: it was not sent: 500 pushes of this channel have no answer yet.
 * - `too_large`: it was not applied: it exceeds the server's limit, of a frame or of a POST, on either transport.
 * - `invalid`: it was not applied: the server could not decode the frame. A WebSocket that ends for that reason, with the close code
 *   1007, does not say for which frame: a join that may be the cause fails with this code, and pushes with `outcome_unknown`.
 * - `duplicate`: another channel of this socket has joined this topic.
 * - `disconnected`: the connection broke; the socket connects again by itself. Of a channel: the client socket has ended too.
 * - `replaced`: another user of its secret took the client socket over.
 * - `unreachable`: no transport worked; `message` has the reason for each, as far as the browser reports it, and what to look at;
 *   `transport` and `status` are of the one that says most. The socket goes on trying; after a failed move by `force()` it stays on its
 *   present connection.
 * - `credentials`: the params or token function of the socket failed (`cause`). The socket goes on trying.
 * - `handler`: a listener of a channel threw (`cause`).
 */
export type ErrorCode =
  | "refused"
  | "error"
  | "timeout"
  | "outcome_unknown"
  | "closed"
  | "full"
  | "too_large"
  | "invalid"
  | "duplicate"
  | "disconnected"
  | "replaced"
  | "unreachable"
  | "credentials"
  | "handler";

/**
 * Every failure of chime.js but a programmer's mistake: an invalid argument is a TypeError, thrown by the call, or with which the
 * promise of `join`, `push` or `history` is rejected. Then nothing was sent.
 */
export class ChimeError extends Error {
  constructor(code: ErrorCode, message: string, more?: { response?: unknown; status?: number; transport?: Transport; sent?: boolean; cause?: unknown });
  readonly code: ErrorCode;
  /** The server's answer, if there was one; commonly `{reason: string}`. */
  readonly response: any;
  /** The HTTP status or the close code, if there was one. */
  readonly status: number | undefined;
  /** Of `unreachable`: the transport that `status` is of, or the last one that failed. */
  readonly transport: Transport | undefined;
  /** Of a failed push: false if it was certainly not applied, so that pushing it again cannot double it. */
  readonly sent: boolean;
}

/**
 * One client of one server. It keeps a connection, and replaces it when it breaks, on whichever transport works: after a random delay
 * of at most 20 s, or of a quarter of the grace period during that, and at once when the browser comes online.
 *
 * Within the server's grace period (15 s by default) a new connection resumes the client socket: channels stay joined, and what either
 * side sent arrives, once and in order. Later, and after a restart of the server, the channels join again from their positions: see
 * `Channel.recovered` and the code `outcome_unknown`.
 *
 * In a page, from `connect()` to `disconnect()`, it says goodbye when the page is closed, keeps the client socket when the page enters
 * the back-forward cache, and checks the connection when the page is shown, comes online, or wakes from a sleep.
 */
export class Socket {
  /**
   * @param url where the server mounts its Router, such as `"/socket"`; relative to the page, or absolute with http, https, ws or wss.
   */
  constructor(url: string | URL, options?: SocketOptions);

  readonly state: SocketState;
  /** Null while there is no connection, or none that is proven to work. */
  readonly transport: Transport | null;
  /** What is known of the way to the server, for logs and for people who ask why. A copy, made at each call. */
  readonly diagnosis: Diagnosis;

  /**
   * Starts to connect, and returns at once. It does nothing while connecting or open. After `closed` and `refused` the channels that
   * were joined join again: see `disconnect()`.
   */
  connect(): void;

  /**
   * Says goodbye and stays away until `connect()`. All channels close at once; joins without an answer are rejected, and so are pushes
   * that wait. With `connect()` the channels that were joined join again, from their last position, unless they were left or another
   * channel has joined their topic. The same happens when the server refuses the client, or another connection replaces it; then
   * `onState` and the rejected joins have that error, of code `refused` or `replaced`.
   */
  disconnect(): void;

  /**
   * Chooses the transport from now on. If another one is in use the client moves, and nothing is lost or comes twice: the present
   * connection is used until the new one is there. If that fails, the socket stays on the present one and reports `unreachable`.
   */
  force(transport: TransportChoice): void;

  /**
   * A channel of this socket, not joined yet. Of several for one topic only one can be joined at a time. Topics and events are 1 to 255
   * bytes of UTF-8 without control characters; the topics `chime` and `phoenix` and events that begin with `phx_` or `@` are reserved.
   */
  channel(topic: string, params?: Params | (() => Params)): Channel;

  /** Calls `fn` after each change of state. `error` is the cause; there is none if the application caused the change. */
  on(name: "state", fn: (state: SocketState, error?: ChimeError) => void): Undo;
  on(name: "transport", fn: (transport: Transport | null) => void): Undo;
  /**
   * Calls `fn` for failures that reject no promise: `refused`, `replaced`, `unreachable`, `credentials`, `handler`; once for each cause,
   * until a connection works. Without a listener they are a `console.warn`, and exceptions of handlers go to `reportError`.
   */
  on(name: "error", fn: (error: ChimeError) => void): Undo;
}

/** A message that grows, as far as it has come. */
export interface Draft<Payload = unknown> {
  /** What its message has as `draft`. */
  readonly id: string;
  /** The event of its message. */
  readonly event: string;
  /** The message, without `draft` and `text`. */
  readonly payload: Payload;
  /** All of it so far. */
  readonly text: string;
  readonly over: boolean;
}

/** What one connection of a key is known by, as the server's channel gave it. It is never changed; an update is another one. */
export interface PresenceMeta {
  readonly phx_ref: string;
  readonly [name: string]: any;
}

/** A key that is present, and the metas of all connections of that key, in the order in which they came or were updated last. */
export interface Present {
  readonly key: string;
  readonly metas: readonly PresenceMeta[];
}

/**
 * The keys that are present in a topic. They are known 10 to 110 ms after the join, and stay while the channel is `joining` again: then what has
 * changed meanwhile is told, and nothing else. After `leave()`, and when the server has ended the join, nobody is, and no
 * listener is called for that.
 */
export interface Presence {
  /** All who are present, in the order in which this client learned of them. */
  list(): Present[];
  /** Calls `fn` for each key that comes, and before the first `onSync` for each that is there; not for a further connection of it. */
  onJoin(fn: (key: string, metas: readonly PresenceMeta[]) => void): Undo;
  /** Calls `fn` for each key that has gone, with all its connections; `metas` are those that it had. */
  onLeave(fn: (key: string, metas: readonly PresenceMeta[]) => void): Undo;
  /** Calls `fn` after each change, behind `onJoin` and `onLeave`: a page that shows `list()` needs no other listener. */
  onSync(fn: () => void): Undo;
}

/**
 * One topic. The same Channel can be joined, left and joined again; it keeps its listeners and its position.
 *
 * Messages come in order, and a retained one at most once: when the channel has to join again it does so from its position, and the
 * messages that it missed follow. Add listeners before `join()`, since the replay follows its reply immediately.
 */
export class Channel {
  private constructor();

  readonly topic: string;
  readonly state: ChannelState;
  /** Where the last join began, or the last retained message that was handed out; null before a join, and in a topic without history. */
  readonly position: Position | null;
  /**
   * Of the last join: true if nothing is missing since the position it sent, false if something may be (see `onGap`), null if it sent
   * none, being the first since `join()`.
   */
  readonly recovered: boolean | null;
  /** The presence of the topic, where the server's channel has a `channel.Presence`. */
  readonly presence: Presence;

  /**
   * Joins, now or as soon as the socket is connected. It resolves with the reply of the server's HandleJoined, and rejects with code
   * `refused` or `error` if that did not accept, `closed` if `leave()` or `disconnect()` came first, `refused` or `replaced` if that
   * happened to the socket, `timeout` if there is no answer in time: then the channel goes on joining until `leave()`, and another
   * call waits again. It settles once; later changes are reported by `onState`. A socket that was never connected is connected;
   * after `disconnect()`, or a refusal, `connect()` is needed.
   *
   * Params are sent with each join; a function is called at each. Two keys are for the server itself: `"@last"`, how many messages of
   * the history to replay at the first join, and `"@since"`, a Position from which to go on, such as one that a page was rendered with.
   */
  join<Response = unknown>(options?: JoinOptions): Promise<Response>;

  /** Leaves at once, and resolves when the server has confirmed it, or the client socket has ended. It never rejects. */
  leave(): Promise<void>;

  /**
   * Sends `payload`, any JSON, as it is at the call; default `{}`. Bytes are `{"@binary": …}`, in padded base64. It resolves with the
   * reply. Pushes are sent in the order of the calls; while the channel is `joining` they wait. See `ErrorCode` for the rejections; a
   * push that is rejected with `sent: false` was not applied.
   */
  push<Response = unknown>(event: string, payload?: unknown, options?: PushOptions): Promise<Response>;

  /**
   * Reads older messages, which no listener is called for; each call goes on where the former ended, or with `before` somewhere else. Calls
   * made at once are answered one after the other. While the channel is `joining` they wait; where the join ends before the answer, they
   * are sent again with the next. It rejects as `push` does, with `error` and the reason `no history` in a topic without one, and never with
   * `outcome_unknown`.
   */
  history<Payload = unknown>(options?: HistoryOptions): Promise<HistoryPage<Payload>>;

  /** Calls `fn` for each message of that event, or of all events for `"*"`. An exception of `fn` affects nothing else. */
  on<Payload = unknown>(event: string, fn: (payload: Payload, meta: Meta) => void): Undo;

  /** Calls `fn` after each change of state. `error` is the cause; there is none if the application caused the change. */
  onState(fn: (state: ChannelState, error?: ChimeError) => void): Undo;

  /**
   * Calls `fn` when there is or may be a gap: the history does not have all messages since the last position, or a topic without
   * history had to be joined again. Discard what is shown: the newest messages of the history follow and replace it; in a topic without
   * history nothing follows, so fetch it again.
   */
  onGap(fn: () => void): Undo;

  /**
   * Calls `fn` whenever a draft of the topic has begun, has grown or is over: then its message follows at once, or there will be none.
   * Page code shows it by its `id`, and needs none of the events of drafts.
   */
  onDraft<Payload = unknown>(fn: (draft: Draft<Payload>) => void): Undo;
}
