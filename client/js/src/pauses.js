// How long to wait before something is tried again.

export const RETRY_CAP_MS = 60_000; // the longest Retry-After or retry_ms that is obeyed
export const STEADY_MS = 10_000; // a connection or a join that lasted this long has worked: the count of tries starts over

// Full jitter, so that the clients of a server that stopped do not come back at the same moment.
export function jitter(tries, first, cap) {
  return Math.random() * Math.min(cap, first * 2 ** tries);
}

// retryAfter is the least that an answer asks to wait.
export function retryAfter(response) {
  const value = response.headers.get("Retry-After");
  const ms = Number(value) * 1_000 || Date.parse(value) - Date.now();
  return ms >= 0 ? ms : undefined;
}
