// What a page of chime.js says and hears through a network, in Node and in browsers. It joins a room in which three
// messages were sent before, numbered 1 to 3, and goes on with 4 at once; it stays until a while has passed on one of the
// transports. It returns how long the first answer took since connect(), by which transport the page talks, what it was
// told of, which of its messages were answered, and which messages of the room it heard, in order. Without a
// transport nothing is to come but the word that nothing gets through.
export async function converse(socket, topic, transports) {
  const told = []
  const heard = []
  const answered = []
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  const room = socket.channel(topic)
  room.on("message_new", ({ n }) => heard.push(n))
  room.onGap(() => told.push("gap"))
  socket.on("error", ({ code, message }) => told.push(`${code}: ${message}`))
  let n = 3
  const say = async () => {
    const message = { n: ++n }
    await room.push("message_new", message, { timeout: 40_000 })
    answered.push(message.n)
  }
  const start = performance.now()
  socket.connect()
  const joined = room.join()
  if (transports.length === 0) {
    joined.catch(() => {})
    while (told.length === 0) await pause(50)
    return { told }
  }
  await joined
  await say()
  const ms = Math.round(performance.now() - start)
  for (let settled = 0; settled < 10; settled++) {
    await say()
    await pause(100)
    if (!transports.includes(socket.transport)) settled = -1
  }
  while (heard.length < n) await pause(50)
  return { ms, transport: socket.transport, told, answered, heard }
}
