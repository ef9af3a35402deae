// baseOf is what the addresses of a server begin with.
export function baseOf({ origin, pathname }) {
  return origin + pathname.replace(/\/+$/, "");
}

// addressOf is the address and the credentials of one attempt, with a fetch that has both.
export function addressOf(url, params, token, fetch) {
  const query = new URLSearchParams(url.search);
  for (const [key, value] of flat(params ?? {})) query.append(key, value);
  const search = String(query) && `?${query}`;
  const of = (path) => baseOf(url) + path + search;
  const { origin } = globalThis.location ?? {};
  return {
    token,
    host: url.host,
    page: origin === url.origin ? undefined : origin, // if it is another
    of,
    ask: (path, headers, more) => fetch(of(path), { ...more, headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers }),
  };
}

export function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replace(/[+/=]/g, (char) => ({ "+": "-", "/": "_" })[char] ?? "");
}

// flat writes nested params as a query does: {a: {b: [1, 2]}} → a[b][]=1&a[b][]=2
function* flat(value, key) {
  if (value === undefined) return;
  if (value === null || typeof value !== "object") yield [key, value ?? ""];
  else for (const [name, part] of Object.entries(value)) yield* flat(part, key === undefined ? name : `${key}[${Array.isArray(value) ? "" : name}]`);
}

// farewell ends a client socket on any transport. A page that is being closed sends a beacon, which the browser still delivers.
export async function farewell(address, secret, goodbye) {
  if (goodbye === "last" && globalThis.navigator?.sendBeacon?.(address.of("/bye"), secret)) return;
  try {
    await address.ask("/bye", { "Content-Type": "text/plain" }, { method: "POST", body: secret, keepalive: true });
  } catch {
    // Without it the client socket ends with its grace period.
  }
}
