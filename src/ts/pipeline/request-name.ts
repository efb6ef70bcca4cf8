// The name of a request: the same wherever and whenever the request runs.
//
// Invariant: no two requests have the same name.

/** The name of a request, for people and handlers, and as a key: no two requests have the same one. */
export function requestName(gateway: number, gatewayRun: number, ticket: number): string {
  return `${gatewayRun.toString(16)}-${gateway}-${ticket}`;
}
