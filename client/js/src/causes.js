import { ChimeError } from "./errors.js";

const HEADERS = 6_000; // bytes of a token from which on a proxy may find the headers too large

const LOCAL = /^(localhost|[\d[])|\.local(:|$)/; // an address without a name is seldom a public one

const HINTS = {
  302: "a redirect is not followed: a login page?",
  404: "no Router is mounted there, or a proxy drops the path",
  405: "a middleware or proxy refuses the method",
  415: "a middleware or proxy refuses the Content-Type",
  500: "see the log of the server",
  502: "a proxy gets no answer",
};

/** unreachable is the error of an attempt: why each transport failed, and what to look at. */
export function unreachable(failures, address) {
  const reasons = [...new Set(failures.map(({ name, reason, code, status }) => `${name}: ${reason || code || status}`))];
  const main = failures.find(({ status, post }) => status || post) ?? failures.at(-1); // a browser's WebSocket reports neither
  const status = main.status ?? (main.post || undefined);
  const hint = hintOf(main, status, failures, address);
  return new ChimeError("unreachable", [...reasons, hint].filter(Boolean).join("; "), { status, transport: main.name });
}

/** localAccess is what the browser says of its permission to reach the local network: "denied", or whatever else. */
export async function localAccess({ host }) {
  if (!LOCAL.test(host)) return "";
  try {
    return (await navigator.permissions.query({ name: "local-network-access" })).state;
  } catch {
    return ""; // a browser without it
  }
}

function hintOf({ html, post }, status, failures, { token, page, local, host }) {
  if ([400, 413, 431].includes(status) && !post && token?.length > HEADERS) return `the token has ${token.length} bytes: many proxies take 8 KB of headers`;
  if (post === 403) return "a CSRF check or firewall refuses POSTs: exempt the mount";
  if (html && status === 200) return "a page answered: a login, or a proxy";
  if (HINTS[status]) return HINTS[status];
  if (!page || !failures.every(({ unanswered }) => unanswered)) return "";
  if (local === "denied") return `the browser denies ${page} local network access to ${host}`;
  return `if the server is up, its WithOrigins may not name ${page}`;
}
