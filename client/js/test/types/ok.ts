// Uses every name of chime.d.ts as it is meant; it must compile.
import {
  Channel,
  ChimeError,
  Socket,
  type AttemptRecord,
  type ChannelState,
  type Diagnosis,
  type Draft,
  type ErrorCode,
  type HistoryOptions,
  type HistoryPage,
  type JoinOptions,
  type Meta,
  type OlderMessage,
  type Params,
  type Position,
  type Presence,
  type PresenceMeta,
  type Present,
  type PushOptions,
  type SocketOptions,
  type SocketState,
  type Transport,
  type TransportChoice,
  type Undo,
  type WebSocketClass,
} from "../../chime.js";

interface Post {
  name: string;
  message: string;
}

const params: Params = { name: "Ann", tags: ["a", "b"], nested: { n: 1 } };
const ws: WebSocketClass = WebSocket;
const choice: TransportChoice = "auto";
const options: SocketOptions = { params, token: async () => "t", transport: choice, WebSocket: ws, fetch };
const socket: Socket = new Socket("/socket", options);
new Socket(new URL("https://x.test"), { params: () => params, token: "t" });
new Socket("wss://x.test", { params: async () => params, token: (refused) => (refused ? null : "t"), fetch: (url, init) => fetch(url, { ...init, credentials: "include" }) });
new Socket("/socket");

const state: SocketState = socket.state;
const transport: Transport | null = socket.transport;
const undos: Undo[] = [
  socket.on("state", (state: SocketState, error?: ChimeError) => void [state === "refused", error?.code]),
  socket.on("transport", (transport) => void (transport === "sse")),
  socket.on("error", ({ code, message, status, response, cause }) => void [code, message, status, response.reason, cause]),
];
socket.connect();
socket.force("sse");

const room: Channel = socket.channel("room:1", () => ({ "@last": 20 }));
socket.channel("room:2");
const who: Presence = room.presence;
undos.push(
  room.on<Post>("message_new", (post, meta: Meta) => void [post.name, meta.offset, meta.event]),
  room.on("message_new", (post: Post) => void post.message),
  room.on("*", (payload: unknown, { event }) => void [payload, event]),
  room.onState((state: ChannelState, error) => void [state === "joined", error?.response]),
  room.onState((state, error) => void (state === "closed" && error?.code === "refused" && [error.status, socket.connect()])),
  room.onGap(() => {}),
  room.onDraft<{ from: string }>(({ id, payload, text, over }) => void [id.length, payload.from, text.length, over === true]),
  room.onDraft((draft: Draft) => void draft.event),
  who.onJoin((key: string, metas: readonly PresenceMeta[]) => void [key, metas[0]?.phx_ref]),
  who.onLeave((key, metas) => void [key, metas.length]),
  who.onSync(() => void who.list().map(({ key, metas }: Present) => [key, metas[0]?.doing])),
);

async function use(): Promise<void> {
  const { topic } = await room.join<{ topic: string }>();
  const patient: JoinOptions = { timeout: 0 };
  await room.join(patient);
  const { attempts, order, blocked }: Diagnosis = socket.diagnosis;
  const last: AttemptRecord | undefined = attempts.at(-1);
  void [last?.outcome === "broke", last?.provenMs, order[0] === "longpoll", blocked];
  const wait: PushOptions = { timeout: 1_000, key: crypto.randomUUID() };
  const { at } = await room.push<{ at: number }>("message_new", { message: topic }, wait);
  await room.push("typing");
  const older: HistoryOptions = { before: 17, limit: 20, timeout: 0 };
  const page: HistoryPage<Post> = await room.history<Post>(older);
  const first: OlderMessage<Post> | undefined = page.messages[0];
  void [(await room.history()).messages[0]?.payload, page.more, page.complete, page.epoch, first?.offset, first && new Date(first.at), first?.event, first?.payload.name];
  const position: Position | null = room.position;
  const recovered: boolean | null = room.recovered;
  socket.channel(room.topic, { "@since": position });
  const now: ChannelState = room.state;
  try {
    await room.push("message_new", at);
  } catch (error) {
    if (!(error instanceof ChimeError)) throw error;
    const code: ErrorCode = error.code;
    const again: boolean = code === "outcome_unknown" || !error.sent;
    const refused: boolean = code === "closed" && error.cause instanceof ChimeError && error.cause.code === "refused";
    void [again, refused];
  }
  await room.leave();
  socket.disconnect();
  for (const undo of undos) undo();
  void [state, transport, recovered, now];
}
void use;
export const mine = new ChimeError("closed", "by the application", { sent: false });
